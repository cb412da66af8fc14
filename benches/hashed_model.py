#!/usr/bin/env python3
"""Writes a model whose weights come from an integer formula: nothing is downloaded, and any program
that knows the formula has the same bits, at any size.

    python3 benches/hashed_model.py OUT --shape llama-3.1-8b --as hf|bf16|q8_0|q4_k_m

`hf` makes the folder OUT (config.json, bf16 safetensors, tokenizer.json); the others the GGUF file OUT.
Needs numpy. Processes share the work; little of it is in memory at once. Eight billion weights
take about a minute of one core.

The weight at flat index `i` (in Hugging Face's order) of tensor number `t`: tensors are numbered from 1
in the order of transformers' `named_parameters`.

    x = i ^ (t * 0x9E3779B1);  x ^= x>>16; x *= 0x7FEB352D; x ^= x>>15; x *= 0x846CA68B; x ^= x>>16  (u32)
    s = sum of the four bytes of x - 510

    bf16    bf16(s * 2^-13); norms bf16(1 + s * 2^-12), in every file, in GGUF as f32
    Q8_0    trunc(s / 4) * 2^-11
    Q4_K    2^-13 * (24 + (y & 15)) * ((x >> 28) - 7.5)     y: the x of the first of each 32 weights
    Q6_K    2^-14 * (8 + (y & 15)) * ((x >> 26) - 32)       y: of each 16

`q4_k_m` has Q6_K where llama.cpp's Q4_K_M has it. In GGUF the rows of Q and K are permuted, as
`convert_hf_to_gguf.py` does for Llama. The tokenizer has the 256 bytes, made-up words, and at the end
the two ids that begin and end a text.
"""

import argparse
import json
import math
import multiprocessing
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

BF16, Q8_0, Q4_K, Q6_K, F32 = "BF16", "Q8_0", "Q4_K", "Q6_K", "F32"
# Number in a GGUF file, weights of a block, bytes of a block.
TYPES = {BF16: (30, 1, 2), Q8_0: (8, 32, 34), Q4_K: (12, 256, 144), Q6_K: (14, 256, 210), F32: (0, 1, 4)}
# `general.file_type`.
FILE_TYPES = {"bf16": 32, "q8_0": 7, "q4_k_m": 15}

# Weights that a process works on at once: small enough for its core's cache.
CHUNK = 1 << 17
# Chunks of one task.
TASK_CHUNKS = 64
ALIGNMENT = 32


@dataclass(frozen=True)
class Shape:
    """Sizes of a Llama model, with the rope of version 3.1."""

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    context: int
    rope_base: float
    # Positions of the original rope, which is stretched by `rope_factor`.
    rope_original: int
    rope_factor: float = 8.0
    rope_low: float = 1.0
    rope_high: float = 4.0
    norm_eps: float = 1e-5

    def rope_divisors(self) -> np.ndarray:
        """By what the frequencies of a head are divided, as `convert_hf_to_gguf.py` has it."""
        divisors = []
        for index in range(0, self.head_dim, 2):
            wavelength = 2 * math.pi * self.rope_base ** (index / self.head_dim)
            if wavelength < self.rope_original / self.rope_high:
                divisors.append(1.0)
            elif wavelength > self.rope_original / self.rope_low:
                divisors.append(self.rope_factor)
            else:
                smooth = self.rope_original / wavelength - self.rope_low
                smooth /= self.rope_high - self.rope_low
                divisors.append(1 / ((1 - smooth) / self.rope_factor + smooth))
        return np.array(divisors, np.float32)


SHAPES = {
    "llama-3.1-8b": Shape(4096, 14336, 32, 32, 8, 128, 128256, 131072, 500000.0, 8192),
    # For trials on a processor.
    "small": Shape(1024, 2816, 8, 16, 4, 64, 8192, 8192, 500000.0, 2048),
    # For tests: the matrices of the smallest sizes that Q4_K and the kernels take.
    "tiny": Shape(256, 512, 4, 4, 2, 64, 512, 512, 10000.0, 64),
}


@dataclass(frozen=True)
class Tensor:
    number: int
    hf_name: str
    gguf_name: str
    # One row for norms.
    rows: int
    cols: int
    is_norm: bool = False
    # Heads whose rows GGUF has in another order; 0: none.
    permuted_heads: int = 0


def tensors(shape: Shape) -> list[Tensor]:
    """All of a model, in the order of their numbers."""
    found: list[Tensor] = []

    def add(hf: str, gguf: str, rows: int, cols: int, **more) -> None:
        found.append(Tensor(len(found) + 1, f"{hf}.weight", f"{gguf}.weight", rows, cols, **more))

    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    add("model.embed_tokens", "token_embd", shape.vocab, shape.hidden)
    for layer in range(shape.layers):
        hf, gguf = f"model.layers.{layer}", f"blk.{layer}"
        add(f"{hf}.self_attn.q_proj", f"{gguf}.attn_q", q, shape.hidden, permuted_heads=shape.heads)
        add(f"{hf}.self_attn.k_proj", f"{gguf}.attn_k", kv, shape.hidden, permuted_heads=shape.kv_heads)
        add(f"{hf}.self_attn.v_proj", f"{gguf}.attn_v", kv, shape.hidden)
        add(f"{hf}.self_attn.o_proj", f"{gguf}.attn_output", shape.hidden, q)
        add(f"{hf}.mlp.gate_proj", f"{gguf}.ffn_gate", shape.inner, shape.hidden)
        add(f"{hf}.mlp.up_proj", f"{gguf}.ffn_up", shape.inner, shape.hidden)
        add(f"{hf}.mlp.down_proj", f"{gguf}.ffn_down", shape.hidden, shape.inner)
        add(f"{hf}.input_layernorm", f"{gguf}.attn_norm", 1, shape.hidden, is_norm=True)
        add(f"{hf}.post_attention_layernorm", f"{gguf}.ffn_norm", 1, shape.hidden, is_norm=True)
    add("model.norm", "output_norm", 1, shape.hidden, is_norm=True)
    add("lm_head", "output", shape.vocab, shape.hidden)
    return found


def stored_as(tensor: Tensor, shape: Shape, form: str) -> str:
    """The type of a tensor in a file of this form."""
    if form == "hf":
        return BF16
    if tensor.is_norm:
        return F32
    if form != "q4_k_m":
        return {"bf16": BF16, "q8_0": Q8_0}[form]
    if tensor.gguf_name == "output.weight":
        return Q6_K
    if not tensor.gguf_name.endswith(("attn_v.weight", "ffn_down.weight")):
        return Q4_K
    # `use_more_bits` of llama.cpp's llama-quant.cpp.
    layer, layers = int(tensor.gguf_name.split(".")[1]), shape.layers
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return Q6_K if more else Q4_K


def hashed(tensor: int, rows: np.ndarray, cols: int) -> np.ndarray:
    """`x` of whole rows. `[len(rows), cols]`"""
    x = (rows * cols).astype(np.uint32)[:, None] + np.arange(cols, dtype=np.uint32)
    x ^= np.uint32(tensor * 0x9E3779B1 & 0xFFFFFFFF)
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return x


def byte_sums(x: np.ndarray) -> np.ndarray:
    """`s + 510`, 0 to 1020."""
    pairs = x & np.uint32(0x00FF00FF)
    pairs += (x >> np.uint32(8)) & np.uint32(0x00FF00FF)
    return (pairs + (pairs >> np.uint32(16))) & np.uint32(0xFFFF)


def to_bf16(values: np.ndarray) -> np.ndarray:
    """The upper halves of f32 values, rounded to nearest, ties to even."""
    bits = values.astype(np.float32).view(np.uint32)
    rounding = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + rounding) >> np.uint32(16)).astype(np.uint16)


SUMS = np.arange(-510, 511)
WEIGHTS = to_bf16(SUMS * 2.0**-13)
NORMS = to_bf16(1 + SUMS * 2.0**-12)
CODES = np.trunc(SUMS / 4).astype(np.int8)


def f16(value: float) -> np.ndarray:
    return np.array([value], np.float16).view(np.uint8)


def packed(tensor: Tensor, kind: str, x: np.ndarray) -> np.ndarray:
    """The bytes of a file for the rows of `x`."""
    if kind == BF16:
        return (NORMS if tensor.is_norm else WEIGHTS)[byte_sums(x)].view(np.uint8)
    if kind == F32:
        return (NORMS[byte_sums(x)].astype(np.uint32) << np.uint32(16)).view(np.uint8)
    if kind == Q8_0:
        blocks = np.empty((x.size // 32, 34), np.uint8)
        blocks[:, :2] = f16(2.0**-11)
        blocks[:, 2:] = CODES[byte_sums(x)].view(np.uint8).reshape(-1, 32)
        return blocks
    if kind == Q4_K:
        return packed_q4_k(x)
    return packed_q6_k(x)


def packed_q4_k(x: np.ndarray) -> np.ndarray:
    """Blocks of 256, as `block_q4_K` of ggml-common.h."""
    blocks = np.empty((x.size // 256, 144), np.uint8)
    blocks[:, 0:2], blocks[:, 2:4] = f16(2.0**-13), f16(7.5 * 2.0**-13)
    # Six bits each; those of the upper four lie in what the others leave. Minima are the scales.
    scales = 24 + (x.reshape(-1, 8, 32)[:, :, 0] & np.uint32(15)).astype(np.uint8)
    low, high = scales[:, :4], scales[:, 4:]
    blocks[:, 4:8] = blocks[:, 8:12] = low | (high >> 4) << 6
    blocks[:, 12:16] = (high & 15) | (high & 15) << 4
    codes = (x >> np.uint32(28)).astype(np.uint8).reshape(-1, 4, 2, 32)
    blocks[:, 16:] = (codes[:, :, 0] | codes[:, :, 1] << 4).reshape(-1, 128)
    return blocks


def packed_q6_k(x: np.ndarray) -> np.ndarray:
    """Blocks of 256, as `block_q6_K` of ggml-common.h."""
    blocks = np.empty((x.size // 256, 210), np.uint8)
    codes = (x >> np.uint32(26)).astype(np.uint8).reshape(-1, 2, 4, 32)
    low, high = codes & 15, codes >> 4
    blocks[:, :128].reshape(-1, 2, 2, 32)[:] = low[:, :, :2] | low[:, :, 2:] << 4
    shifted = high << np.array([0, 2, 4, 6], np.uint8)[:, None]
    blocks[:, 128:192] = np.bitwise_or.reduce(shifted, axis=2).reshape(-1, 64)
    blocks[:, 192:208] = 8 + (x.reshape(-1, 16, 16)[:, :, 0] & np.uint32(15)).astype(np.uint8)
    blocks[:, 208:] = f16(2.0**-14)
    return blocks


def values(tensor: Tensor, kind: str) -> np.ndarray:
    """What the file says the weights are, from the formula and not from the file's bytes: f32, in
    Hugging Face's order. `[rows, cols]`, `[cols]` for norms"""
    x = hashed(tensor.number, np.arange(tensor.rows, dtype=np.int64), tensor.cols)
    if tensor.is_norm or kind == BF16:
        halves = (NORMS if tensor.is_norm else WEIGHTS)[byte_sums(x)].astype(np.uint32)
        found = (halves << np.uint32(16)).view(np.float32)
        return found[0] if tensor.is_norm else found
    if kind == Q8_0:
        return CODES[byte_sums(x)] * np.float32(2.0**-11)
    size, unit, least, bits, middle = {
        Q4_K: (32, 2.0**-13, 24, 4, 7.5), Q6_K: (16, 2.0**-14, 8, 6, 32.0),
    }[kind]
    scales = least + (x[:, ::size] & np.uint32(15))
    codes = (x >> np.uint32(32 - bits)).astype(np.float32) - np.float32(middle)
    return np.repeat(scales, size, axis=1).astype(np.float32) * codes * np.float32(unit)


def rows_in_file(tensor: Tensor, form: str, start: int, end: int) -> np.ndarray:
    """Which rows in Hugging Face's order the file's rows from `start` to `end` are."""
    rows = np.arange(start, end, dtype=np.int64)
    if form == "hf" or not tensor.permuted_heads:
        return rows
    size = tensor.rows // tensor.permuted_heads
    head, within = rows // size, rows % size
    return head * size + within % 2 * (size // 2) + within // 2


@dataclass(frozen=True)
class Task:
    """Rows of a tensor, and where their bytes go."""

    path: Path
    tensor: Tensor
    kind: str
    form: str
    start: int
    end: int
    offset: int


def run(task: Task) -> None:
    tensor, at = task.tensor, task.offset
    step = max(1, CHUNK // tensor.cols)
    with open(task.path, "r+b", buffering=0) as file:
        file.seek(at)
        for start in range(task.start, task.end, step):
            rows = rows_in_file(tensor, task.form, start, min(start + step, task.end))
            part = memoryview(packed(tensor, task.kind, hashed(tensor.number, rows, tensor.cols)))
            part = part.cast("B", (part.nbytes,))
            while part.nbytes:
                part = part[file.write(part):]


def bytes_of(tensor: Tensor, kind: str) -> int:
    _, weights, size = TYPES[kind]
    return tensor.rows * tensor.cols // weights * size


def write(out: Path, name: str, form: str, processes: int) -> int:
    """Writes a model; says how many bytes its weights' file has."""
    shape = SHAPES[name]
    kinds = [(tensor, stored_as(tensor, shape, form)) for tensor in tensors(shape)]
    if form == "hf":
        out.mkdir(parents=True, exist_ok=True)
        (out / "config.json").write_text(json.dumps(hf_config(shape), indent=1) + "\n")
        (out / "tokenizer.json").write_text(json.dumps(hf_tokenizer(shape.vocab)) + "\n")
        (out / "tokenizer_config.json").write_text(json.dumps(HF_TOKENIZER_CONFIG) + "\n")
        path = out / "model.safetensors"
        head, offsets = safetensors_head(kinds)
    else:
        path = out
        path.parent.mkdir(parents=True, exist_ok=True)
        head, offsets = gguf_head(name, shape, form, kinds)
    size = offsets[-1] + bytes_of(*kinds[-1])
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(size)
    tasks = []
    for (tensor, kind), offset in zip(kinds, offsets):
        step = max(1, TASK_CHUNKS * CHUNK // tensor.cols)
        for start in range(0, tensor.rows, step):
            at = offset + bytes_of(tensor, kind) // tensor.rows * start
            end = min(start + step, tensor.rows)
            tasks.append(Task(path, tensor, kind, form, start, end, at))
    if processes == 1:
        for task in tasks:
            run(task)
    else:
        with multiprocessing.Pool(processes) as pool:
            for _ in pool.imap_unordered(run, tasks):
                pass
    return size


def safetensors_head(kinds: list[tuple[Tensor, str]]) -> tuple[bytes, list[int]]:
    """What stands before the weights, and where in the file each tensor begins."""
    header, offsets, at = {"__metadata__": {"format": "pt"}}, [], 0
    for tensor, kind in kinds:
        dims = [tensor.cols] if tensor.is_norm else [tensor.rows, tensor.cols]
        end = at + bytes_of(tensor, kind)
        header[tensor.hf_name] = {"dtype": kind, "shape": dims, "data_offsets": [at, end]}
        offsets.append(at)
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, [8 + len(text) + offset for offset in offsets]


def hf_config(shape: Shape) -> dict:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.norm_eps,
        "rope_theta": shape.rope_base,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": shape.rope_factor,
            "low_freq_factor": shape.rope_low,
            "high_freq_factor": shape.rope_high,
            "original_max_position_embeddings": shape.rope_original,
        },
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": shape.vocab - 2,
        "eos_token_id": shape.vocab - 1,
    }


BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
HF_TOKENIZER_CONFIG = {
    "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": BEGIN, "eos_token": END,
}


def byte_spellings() -> list[str]:
    """How byte-level BPE spells each byte (GPT-2's `bytes_to_unicode`)."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) if byte in shown else chr(256 + hidden.index(byte)) for byte in range(256)]


def vocabulary(size: int) -> list[str]:
    """Bytes, then made-up words with a space before them, then the two control tokens."""
    spellings = byte_spellings()
    space, letters = spellings[0x20], "aeioubdfgklmnprstvz"
    words = []
    for number in range(1, size - 2 - 256 + 1):
        word = ""
        while number:
            number, digit = divmod(number, len(letters))
            word = letters[digit] + word
        words.append(space + word)
    return [*spellings, *words, BEGIN, END]


def hf_tokenizer(size: int) -> dict:
    words = vocabulary(size)
    named = dict.fromkeys(("lstrip", "rstrip", "single_word", "normalized"), False)
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": size - 2 + index, "content": text, "special": True, **named}
            for index, text in enumerate((BEGIN, END))
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
        },
        "post_processor": None,
        "decoder": {
            "type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True,
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {word: number for number, word in enumerate(words[:-2])},
            "merges": [],
        },
    }


def gguf_string(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def gguf_pairs(name: str, shape: Shape, form: str) -> list[bytes]:
    """The metadata, as `gguf-py` writes it for a Llama model."""
    pairs = []

    def pair(key: str, kind: int, value: bytes) -> None:
        pairs.append(gguf_string(key) + struct.pack("<I", kind) + value)

    def number(key: str, value: int) -> None:
        pair(key, 4, struct.pack("<I", value))

    def real(key: str, value: float) -> None:
        pair(key, 6, struct.pack("<f", value))

    def string(key: str, value: str) -> None:
        pair(key, 8, gguf_string(value))

    def array(key: str, kind: int, count: int, elements: bytes) -> None:
        pair(key, 9, struct.pack("<IQ", kind, count) + elements)

    string("general.architecture", "llama")
    string("general.name", f"hashed {name}")
    number("general.file_type", FILE_TYPES[form])
    number("general.quantization_version", 2)
    number("general.alignment", ALIGNMENT)
    number("llama.block_count", shape.layers)
    number("llama.context_length", shape.context)
    number("llama.embedding_length", shape.hidden)
    number("llama.feed_forward_length", shape.inner)
    number("llama.attention.head_count", shape.heads)
    number("llama.attention.head_count_kv", shape.kv_heads)
    number("llama.attention.key_length", shape.head_dim)
    number("llama.attention.value_length", shape.head_dim)
    real("llama.attention.layer_norm_rms_epsilon", shape.norm_eps)
    number("llama.rope.dimension_count", shape.head_dim)
    real("llama.rope.freq_base", shape.rope_base)
    number("llama.vocab_size", shape.vocab)
    words = vocabulary(shape.vocab)
    # Ordinary text is 1, control tokens are 3.
    kinds = [1] * (shape.vocab - 2) + [3, 3]
    string("tokenizer.ggml.model", "gpt2")
    string("tokenizer.ggml.pre", "llama-bpe")
    array("tokenizer.ggml.tokens", 8, shape.vocab, b"".join(map(gguf_string, words)))
    array("tokenizer.ggml.token_type", 5, shape.vocab, np.array(kinds, np.int32).tobytes())
    array("tokenizer.ggml.merges", 8, 0, b"")
    number("tokenizer.ggml.bos_token_id", shape.vocab - 2)
    number("tokenizer.ggml.eos_token_id", shape.vocab - 1)
    pair("tokenizer.ggml.add_bos_token", 7, b"\1")
    return pairs


def gguf_head(
    name: str, shape: Shape, form: str, kinds: list[tuple[Tensor, str]]
) -> tuple[bytes, list[int]]:
    """What stands before the weights, and where in the file each tensor begins. The divisors of the
    rope's frequencies are the first tensor, and part of this."""
    divisors = shape.rope_divisors()
    places, offsets, at = [("rope_freqs.weight", (divisors.size,), F32, 0)], [], 0
    at = -(-divisors.nbytes // ALIGNMENT) * ALIGNMENT
    for tensor, kind in kinds:
        dims = (tensor.cols,) if tensor.is_norm else (tensor.cols, tensor.rows)
        places.append((tensor.gguf_name, dims, kind, at))
        offsets.append(at)
        at = -(-(at + bytes_of(tensor, kind)) // ALIGNMENT) * ALIGNMENT
    pairs = gguf_pairs(name, shape, form)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(places), len(pairs)) + b"".join(pairs)
    for tensor, dims, kind, offset in places:
        head += gguf_string(tensor) + struct.pack(f"<I{len(dims)}Q", len(dims), *dims)
        head += struct.pack("<IQ", TYPES[kind][0], offset)
    head += b"\0" * (-len(head) % ALIGNMENT)
    return head + divisors.tobytes(), [len(head) + offset for offset in offsets]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="a folder for hf, else a .gguf file")
    parser.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b")
    parser.add_argument("--as", dest="form", choices=["hf", *FILE_TYPES], default="bf16")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    begun = time.time()
    size = write(arguments.out, arguments.shape, arguments.form, arguments.processes)
    told = f"{size / 1e9:.2f} GB in {time.time() - begun:.1f} s"
    print(f"{arguments.out}: {arguments.shape}, {arguments.form}, {told}")


if __name__ == "__main__":
    main()
