#!/usr/bin/env python3
"""Mizan and llama.cpp side by side, on the same files, in one run.

    cargo build --release
    python3 benches/compare_llama.py target/release/mizan MODEL.gguf... [--threads 2] [--rounds 5]

Without `llama_cpp` at hand it is built from PyPI's source for this processor, once, into
`target/llama.cpp` (needs a C++ compiler; takes minutes).

The two take turns, one round each, so that both meet the same machine: other load, clock speed and
page cache. Each measurement is preceded by one that is not counted. Workloads, `mizan bench decode`'s:

    prefill       512 tokens of one stream                        the forward pass alone, with the
    decode        128 tokens of one stream, one by one            logits of the last token only
    batched       16 streams at once, 128 in and 64 out each      tokens in and out, a second
    long          one stream, 2,000 in and 64 out                 tokens in and out, a second
    first tokens  4 streams at once whose prompts share 400 of    until the last stream has its
                  432 tokens                                      first token, seconds

In the last three ours runs scheduler, sampler and prefix cache; theirs is `llama_decode` alone, which
flatters it a little. Their context has one KV stream for each sequence (`kv_unified = false`), as many
sequences in a batch as there are, f16 keys and values, and of flash attention on and off whichever
is faster for the workload. As in llama-server, each of their slots computes its own prompt. Ids are
not text, and depend on nothing. Printed are medians as a Markdown table; --json writes every round.
"""

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

VERSION = "0.3.36"
PROMPT, TOKENS = 512, 128
STREAMS, STREAM_PROMPT, STREAM_TOKENS = 16, 128, 64
LONG = 2000
SHARING, SHARED = 4, 400 + 32
WORKLOADS = {
    "prefill": f"prefill {PROMPT}",
    "decode": f"decode {TOKENS}",
    "batched": f"{STREAMS} streams, {STREAM_PROMPT} in / {STREAM_TOKENS} out",
    "long": f"{LONG:,} in / {STREAM_TOKENS} out",
    "first_tokens": f"{SHARING} first tokens, shared prompt (ms)",
}

try:
    import llama_cpp
except ImportError:
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("CARGO_TARGET_DIR", root / "target")) / "llama.cpp"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        venv.create(folder, clear=True, with_pip=True)
        source = ["--no-binary", "llama-cpp-python", f"llama-cpp-python=={VERSION}"]
        native = {**os.environ, "CMAKE_ARGS": "-DGGML_NATIVE=ON"}
        subprocess.run([python, "-m", "pip", "install", *source], check=True, env=native)
        (folder / "complete").touch()
    os.execv(python, [str(python), *sys.argv])

FLASH_ATTENTION = {
    "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
}
SILENT = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)


class Context:
    """`sequences` sequences of up to `length` tokens each, in llama.cpp."""

    def __init__(self, model: "Model", sequences: int, length: int, flash_attention: str):
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = sequences * (length + 255) // 256 * 256
        params.n_seq_max = sequences
        params.kv_unified = False
        params.n_batch = max(PROMPT, sequences * length)
        params.n_ubatch = PROMPT
        params.n_threads = params.n_threads_batch = model.threads
        params.flash_attn_type = FLASH_ATTENTION[flash_attention]
        self.context = llama_cpp.llama_init_from_model(model.model, params)
        if not self.context:
            raise SystemExit("llama.cpp makes no context")
        self.batch = llama_cpp.llama_batch_init(params.n_batch, 0, 1)
        self.vocab_size = model.vocab_size
        self.sequences = sequences

    def close(self) -> None:
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)

    def restart(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def step(self, start: int, end: int) -> None:
        """Positions `start..end` of every sequence, with the logits of the last of each."""
        batch = self.batch
        batch.n_tokens = self.sequences * (end - start)
        row = 0
        for sequence in range(self.sequences):
            for position in range(start, end):
                number = sequence * 4096 + position
                batch.token[row] = number * 2_654_435_761 % self.vocab_size
                batch.pos[row] = position
                batch.n_seq_id[row] = 1
                batch.seq_id[row][0] = sequence
                batch.logits[row] = position == end - 1
                row += 1
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        llama_cpp.llama_synchronize(self.context)

    def timed(self, prompt: int, tokens: int) -> float:
        """Seconds for a prompt, whose logits give the first token, and the tokens after it."""
        self.restart()
        started = time.perf_counter()
        self.step(0, prompt)
        for position in range(prompt, prompt + tokens - 1):
            self.step(position, position + 1)
        return time.perf_counter() - started


class Model:
    """A model in llama.cpp, through its C interface."""

    def __init__(self, path: Path, threads: int):
        params = llama_cpp.llama_model_default_params()
        params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
        if not self.model:
            raise SystemExit(f"llama.cpp can not load {path}")
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.threads = threads

    def measure(self, workload: str, flash_attention: str) -> float:
        """Tokens a second; of `first_tokens` seconds."""
        sequences, prompt, tokens = {
            "prefill": (1, PROMPT, 1),
            "decode": (1, 1, TOKENS),
            "batched": (STREAMS, STREAM_PROMPT, STREAM_TOKENS),
            "long": (1, LONG, STREAM_TOKENS),
            "first_tokens": (SHARING, SHARED, 1),
        }[workload]
        context = Context(self, sequences, prompt + tokens, flash_attention)
        context.timed(prompt, min(tokens, 4))
        seconds = context.timed(prompt, tokens)
        context.close()
        if workload == "first_tokens":
            return seconds
        count = {"prefill": PROMPT, "decode": TOKENS}.get(workload, sequences * (prompt + tokens))
        return count / seconds


def mizan(binary: Path, model: Path, threads: int) -> dict[str, float]:
    """The same of `mizan bench decode`, which warms up before its one round."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        command = [binary, "bench", "decode", model, "--rounds", 1, "--threads", threads]
        command += ["--json", figures, "--data", folder]
        subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
        read = json.loads(figures.read_text())
    keys = {workload: "tokens_per_second" for workload in WORKLOADS} | {"first_tokens": "seconds"}
    return {workload: read[workload][key][0] for workload, key in keys.items()}


def better(workload: str, a: float, b: float) -> bool:
    return a < b if workload == "first_tokens" else a > b


def compare(path: Path, arguments: argparse.Namespace) -> dict:
    theirs = Model(path, arguments.threads)
    flash = {}
    for workload in WORKLOADS:
        on, off = (theirs.measure(workload, setting) for setting in ("on", "off"))
        flash[workload] = "on" if better(workload, on, off) else "off"
    rounds = []
    for number in range(arguments.rounds):
        ours = mizan(arguments.binary, path, arguments.threads)
        rounds.append({
            workload: {"mizan": ours[workload], "llama.cpp": theirs.measure(workload, flash[workload])}
            for workload in WORKLOADS
        })
        told = ", ".join(f"{w} {r['mizan']:.4g} to {r['llama.cpp']:.4g}" for w, r in rounds[-1].items())
        print(f"{path.stem}, round {number + 1}: {told}", file=sys.stderr)
    return {"model": path.stem, "flash_attention": flash, "rounds": rounds}


def row(result: dict, workload: str) -> str:
    def median(of) -> float:
        return statistics.median(of(measured[workload]) for measured in result["rounds"])

    ours, theirs = (median(lambda r, who=who: r[who]) for who in ("mizan", "llama.cpp"))
    # Of ratios round by round: each pair met the same machine.
    ratio = median(lambda r: r["mizan"] / r["llama.cpp"])
    figures = f"{ours:.0f} | {theirs:.0f}"
    if workload == "first_tokens":
        ratio, figures = 1 / ratio, f"{1000 * ours:.0f} | {1000 * theirs:.0f}"
    return f"| {result['model']} | {WORKLOADS[workload]} | {figures} | {ratio:.2f} |"


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
    parser.add_argument("--json", type=Path, help="also write every round to this file")
    arguments = parser.parse_args()
    arguments.binary = arguments.binary.resolve()
    llama_cpp.llama_log_set(SILENT, ctypes.c_void_p())
    results = [compare(model.absolute(), arguments) for model in arguments.models]
    print(f"{processor()}, {arguments.threads} threads, medians of {arguments.rounds} rounds,")
    print(f"tokens a second, llama-cpp-python {llama_cpp.__version__}.\n")
    print("| model | workload | Mizan | llama.cpp | ratio |")
    print("|---|---|---:|---:|---:|")
    for result in results:
        for workload in WORKLOADS:
            print(row(result, workload))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
