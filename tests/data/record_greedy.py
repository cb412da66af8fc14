#!/usr/bin/env python3
"""Records what llama.cpp computes, for tests/it/numerics.rs to compare with.

Usage, from the repository root:

    CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python \
        llama-cpp-python==0.3.36 numpy jinja2
    python tests/data/record_greedy.py MODEL.gguf... --commit LLAMA_CPP_COMMIT

For each model, named by its file, two fixtures are written beside this script:

greedy/NAME.json
    Ten prompts, as text and as token ids, each with a greedy continuation of up to 64 tokens
    (it ends early only with an end-of-generation token, which is recorded too). For each step the
    five best candidates with their logits, best first, so that near-ties can be seen. Prompts for
    models with a chat template are rendered with the template in the file, as a conversation of one
    user message; the others are plain text. BOS comes first where the vocabulary asks for it.

kld/NAME.json and kld/NAME.bin
    One forward pass over the first 512 tokens of kld/text.txt. The JSON holds the token ids and,
    for each position but the last, the negative log-likelihood of the next token (natural
    logarithm, from the whole vocabulary, in float64). The binary holds for each position the 64
    best candidates, best first: 64 ids (u32), then 64 times -log(p) * 2048 rounded to an integer
    (u16, saturating), all little-endian, 384 bytes a position.

Settings are fixed, and repeated in each JSON: two threads, batches of 512, no flash attention,
f16 KV cache, CPU only. llama.cpp's results differ in the last bits between CPUs and batch sizes;
that is what the tests' tolerances are for.
"""

import argparse
import ctypes
import hashlib
import json
from pathlib import Path

import jinja2
import llama_cpp
import numpy as np

STEPS = 64
BATCH = 512
CONTEXT = 1024
THREADS = 2
GREEDY_TOP = 5
KLD_TOP = 64
KLD_POSITIONS = 512
F16 = 1  # ggml_type
SILENT = llama_cpp.llama_log_callback(lambda _level, _text, _data: None)

CHAT_PROMPTS = [
    ("capital", "Tell me about Kuwait: its capital, its history and its economy."),
    ("email", "Write a professional 100-word email introducing our product."),
    ("python", "Write a Python function that returns the n-th Fibonacci number."),
    ("rust", "Explain what ownership means in Rust, with a short example."),
    ("arithmetic", "I had 24 apples, gave away a third, then bought 9 more. How many now? Think."),
    ("list", "Count from one to thirty in words, separated by commas."),
    ("arabic", "اكتب فقرة قصيرة عن البحر."),
    ("chinese", "请介绍一下北京的历史。"),
    ("json", 'Give me a JSON array of three made-up people with "name", "age" and "city".'),
    ("emoji", "Translate to emoji 🎉 and explain: a birthday party with cake and music.\n\nThanks!"),
]

PLAIN_PROMPTS = [
    ("capital", "The capital of Kuwait is"),
    ("story", "Once upon a time, in a small village by the sea, there lived"),
    ("python", "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n"),
    ("rust", "// Returns the larger of two numbers.\nfn max(a: i32, b: i32) -> i32 {\n"),
    ("numbers", "1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144,"),
    ("science", "Photosynthesis is the process by which green plants"),
    ("arabic", "الكويت دولة تقع في"),
    ("chinese", "北京是中国的首都，"),
    ("json", '{"name": "Ada", "age": 36, "languages": ["en", "fr"]}\n{"name": "Ibn", "age":'),
    ("emoji", "Happy birthday! 🎉🎂 I hope you have a"),
]


class Oracle:
    """One model in llama.cpp, through its C interface."""

    def __init__(self, path: Path):
        model_params = llama_cpp.llama_model_default_params()
        model_params.n_gpu_layers = 0
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
        if not self.model:
            raise SystemExit(f"llama.cpp can not load {path}")
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)
        self.vocab_size = llama_cpp.llama_vocab_n_tokens(self.vocab)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = CONTEXT
        params.n_batch = BATCH
        params.n_ubatch = BATCH
        params.n_threads = THREADS
        params.n_threads_batch = THREADS
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        params.type_k = F16
        params.type_v = F16
        params.offload_kqv = False
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def metadata(self, key: str) -> str | None:
        buffer = ctypes.create_string_buffer(1 << 16)
        size = llama_cpp.llama_model_meta_val_str(self.model, key.encode(), buffer, len(buffer))
        return buffer.value.decode() if size >= 0 else None

    def tokenize(self, text: str, parse_special: bool) -> list[int]:
        """Token ids, with BOS in front where the vocabulary wants it."""
        raw = text.encode()
        ids = (llama_cpp.llama_token * (len(raw) + 8))()
        count = llama_cpp.llama_tokenize(
            self.vocab, raw, len(raw), ids, len(ids), True, parse_special
        )
        assert count > 0
        return list(ids[:count])

    def text(self, ids: list[int]) -> str:
        out = b""
        for token in ids:
            buffer = ctypes.create_string_buffer(256)
            size = llama_cpp.llama_token_to_piece(self.vocab, token, buffer, 256, 0, False)
            out += buffer.raw[:size]
        return out.decode(errors="replace")

    def is_end(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self.vocab, token))

    def restart(self) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def forward(self, ids: list[int], start: int, all_rows: bool) -> np.ndarray:
        """Appends `ids` at position `start`; logits of the last or of all rows, [rows, vocab]."""
        batch = self.batch
        batch.n_tokens = len(ids)
        for row, token in enumerate(ids):
            batch.token[row] = token
            batch.pos[row] = start + row
            batch.n_seq_id[row] = 1
            batch.seq_id[row][0] = 0
            batch.logits[row] = all_rows or row == len(ids) - 1
        if llama_cpp.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        rows = range(len(ids)) if all_rows else [len(ids) - 1]
        out = np.empty((len(rows), self.vocab_size), dtype=np.float32)
        for index, row in enumerate(rows):
            pointer = llama_cpp.llama_get_logits_ith(self.context, row)
            out[index] = np.ctypeslib.as_array(pointer, shape=(self.vocab_size,))
        return out


def best(logits: np.ndarray, count: int) -> np.ndarray:
    """Ids of the `count` largest logits, largest first, the smaller id first among equals."""
    candidates = np.argpartition(-logits, count)[:count]
    return candidates[np.lexsort((candidates, -logits[candidates]))]


def raise_exception(message: str) -> None:
    raise ValueError(message)


def render(template: str, user: str) -> str:
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = raise_exception
    messages = [{"role": "user", "content": user}]
    return environment.from_string(template).render(
        messages=messages, add_generation_prompt=True, bos_token="", eos_token="", tools=None
    )


def greedy(oracle: Oracle) -> list[dict]:
    template = oracle.metadata("tokenizer.chat_template")
    records = []
    for name, user in CHAT_PROMPTS if template else PLAIN_PROMPTS:
        prompt = render(template, user) if template else user
        prompt_ids = oracle.tokenize(prompt, parse_special=template is not None)
        oracle.restart()
        ids, steps = [], []
        logits = oracle.forward(prompt_ids, 0, all_rows=False)[0]
        while True:
            top = best(logits, GREEDY_TOP)
            ids.append(int(top[0]))
            steps.append([[int(t), round(float(logits[t]), 4)] for t in top])
            if len(ids) == STEPS or oracle.is_end(ids[-1]):
                break
            logits = oracle.forward(ids[-1:], len(prompt_ids) + len(ids) - 1, all_rows=False)[0]
        record = {"name": name, "prompt": prompt, "prompt_ids": prompt_ids}
        if template:
            record["messages"] = [{"role": "user", "content": user}]
        record |= {"text": oracle.text(ids), "ids": ids, "steps": steps}
        records.append(record)
    return records


def kld(oracle: Oracle, text: str) -> tuple[dict, bytes]:
    ids = oracle.tokenize(text, parse_special=False)[:KLD_POSITIONS]
    assert len(ids) == KLD_POSITIONS, "kld/text.txt is too short for this vocabulary"
    oracle.restart()
    logits = oracle.forward(ids, 0, all_rows=True).astype(np.float64)
    nll, packed = [], bytearray()
    for position, row in enumerate(logits):
        peak = row.max()
        negative_log = peak + np.log(np.exp(row - peak).sum()) - row
        top = best(row, KLD_TOP)
        packed += top.astype("<u4").tobytes()
        packed += np.minimum(np.round(negative_log[top] * 2048), 65535).astype("<u2").tobytes()
        if position + 1 < len(ids):
            nll.append(round(float(negative_log[ids[position + 1]]), 5))
    return {"ids": ids, "nll": nll}, bytes(packed)


def dump(value: dict, path: Path) -> None:
    """Writes JSON with a line for each field, and in `steps` for each step: fit for a diff."""

    def compact(part) -> str:
        return json.dumps(part, ensure_ascii=False, separators=(",", ":"))

    def fields(record: dict) -> str:
        return ",\n".join(f"{compact(key)}:{field(key, part)}" for key, part in record.items())

    def field(key: str, part) -> str:
        if key == "prompts":
            return "[\n" + ",\n".join("{" + fields(prompt) + "}" for prompt in part) + "]"
        if key == "steps":
            return "[\n" + ",\n".join(compact(step) for step in part) + "]"
        return compact(part)

    path.write_text("{" + fields(value) + "}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--commit", required=True, help="of the llama.cpp that was built")
    arguments = parser.parse_args()
    here = Path(__file__).parent
    text = (here / "kld/text.txt").read_text()
    llama_cpp.llama_log_set(SILENT, None)
    for path in arguments.models:
        oracle = Oracle(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        head = {
            "model": path.stem,
            "sha256": digest,
            "oracle": {
                "llama_cpp": arguments.commit,
                "llama_cpp_python": llama_cpp.__version__,
                "system": llama_cpp.llama_print_system_info().decode().strip(" |"),
                "n_threads": THREADS,
                "n_batch": BATCH,
                "n_ubatch": BATCH,
                "flash_attn": False,
                "kv": "f16",
            },
        }
        dump(head | {"prompts": greedy(oracle)}, here / f"greedy/{path.stem}.json")
        figures, packed = kld(oracle, text)
        record = head | {"positions": KLD_POSITIONS, "top": KLD_TOP} | figures
        dump(record, here / f"kld/{path.stem}.json")
        (here / f"kld/{path.stem}.bin").write_bytes(packed)
        print(path.stem, "recorded")


if __name__ == "__main__":
    main()
