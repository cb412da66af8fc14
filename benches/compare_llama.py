#!/usr/bin/env python3
"""Mizan and llama.cpp side by side: prefill of 512 tokens and decode of 128, on the same files.

Usage, with a natively built llama.cpp (`CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary
llama-cpp-python llama-cpp-python`):

    cargo build --release
    python benches/compare_llama.py target/release/mizan MODEL.gguf... [--threads 2] [--rounds 5]

The two take turns, one round each, so that both meet the same machine: other load, clock speed and
page cache. Each round starts with a pass that is not measured. As `llama-bench` does for `pp512`
and `tg128`, both compute the forward pass alone, from an empty context, on ids that are not text,
with the logits of the last token only (prefill) or of every token (decode). Printed are the medians
as a Markdown table, and with --json every round. llama.cpp runs as its own tool runs it, with flash
attention left to its choice; f16 KV cache on both sides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import llama_cpp

PROMPT = 512
TOKENS = 128
SILENT = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)
FLASH_ATTENTION = {
    "auto": llama_cpp.LLAMA_FLASH_ATTN_TYPE_AUTO,
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
}


class LlamaCpp:
    """A model in llama.cpp, through its C interface."""

    def __init__(self, path: Path, threads: int, flash_attention: str):
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        if not self.model:
            raise SystemExit(f"llama.cpp can not load {path}")
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = PROMPT
        params.n_batch = PROMPT
        params.n_ubatch = PROMPT
        params.n_threads = threads
        params.n_threads_batch = threads
        params.flash_attn_type = FLASH_ATTENTION[flash_attention]
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.batch = llama_cpp.llama_batch_init(PROMPT, 0, 1)
        vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(vocab)

    def step(self, start: int, end: int) -> None:
        """Positions `start..end`, with the logits of the last."""
        batch = self.batch
        batch.n_tokens = end - start
        for row, position in enumerate(range(start, end)):
            # As in `mizan bench decode`: ids that differ, and that depend on nothing.
            batch.token[row] = position * 2_654_435_761 % self.vocab_size
            batch.pos[row] = position
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = 0
            batch.logits[row] = position == end - 1
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        llama_cpp.llama_synchronize(self.context)

    def restart(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def round(self) -> tuple[float, float]:
        """Tokens a second of prefill and of decode, after a pass of each to warm up."""
        self.restart()
        self.step(0, PROMPT)
        self.restart()
        started = time.perf_counter()
        self.step(0, PROMPT)
        prefill = PROMPT / (time.perf_counter() - started)
        self.restart()
        started = time.perf_counter()
        for position in range(TOKENS):
            self.step(position, position + 1)
        return prefill, TOKENS / (time.perf_counter() - started)


def mizan_round(binary: Path, model: Path, threads: int) -> tuple[float, float]:
    """The same of `mizan bench decode`, which warms up before its one round."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        counts = ["--prompt", PROMPT, "--tokens", TOKENS, "--rounds", 1, "--threads", threads]
        command = [binary, "bench", "decode", model, *counts, "--json", figures, "--data", folder]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        read = json.loads(figures.read_text())
    return read["prefill"]["tokens_per_second"][0], read["decode"]["tokens_per_second"][0]


def compare(model: Path, arguments: argparse.Namespace) -> dict:
    theirs = LlamaCpp(model, arguments.threads, arguments.flash_attention)
    rounds = {"mizan": [], "llama.cpp": []}
    for number in range(arguments.rounds):
        rounds["mizan"].append(mizan_round(arguments.binary, model, arguments.threads))
        rounds["llama.cpp"].append(theirs.round())
        print(
            f"{model.stem} round {number + 1}: "
            + ", ".join(f"{who} pp {r[-1][0]:.1f} tg {r[-1][1]:.1f}" for who, r in rounds.items()),
            file=sys.stderr,
        )
    return {
        "model": model.stem,
        **{
            who: {"prefill": [r[0] for r in measured], "decode": [r[1] for r in measured]}
            for who, measured in rounds.items()
        },
    }


def row(result: dict, phase: str, name: str) -> str:
    ours = statistics.median(result["mizan"][phase])
    theirs = statistics.median(result["llama.cpp"][phase])
    return f"| {result['model']} | {name} | {ours:.1f} | {theirs:.1f} | {ours / theirs:.2f}× |"


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown processor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("binary", type=Path, help="a release build of mizan")
    parser.add_argument("models", nargs="+", type=Path, help="GGUF files")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--flash-attention", choices=FLASH_ATTENTION, default="auto")
    parser.add_argument("--json", type=Path, help="also write every round to this file")
    arguments = parser.parse_args()
    arguments.binary = arguments.binary.resolve()
    llama_cpp.llama_log_set(SILENT, None)
    results = [compare(model.absolute(), arguments) for model in arguments.models]
    print(f"{processor()}, {arguments.threads} threads, medians of {arguments.rounds} rounds,")
    print(f"tokens a second, llama-cpp-python {llama_cpp.__version__}.\n")
    print("| model | | Mizan | llama.cpp | ratio |")
    print("|---|---|---:|---:|---:|")
    for result in results:
        print(row(result, "prefill", f"pp{PROMPT}"))
        print(row(result, "decode", f"tg{TOKENS}"))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
