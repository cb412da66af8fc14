#!/usr/bin/env python3
"""The logits of a hashed model (`hashed_model.py`), computed by numpy in f64 from the formula: no file is
read, and nothing is shared with what reads one.

    python3 benches/hashed_logits.py OUT.safetensors --shape tiny --as q4_k_m --tokens 40

Writes `tokens` and, after each of them, `logits` (`[tokens, vocabulary]`, f32), for `mizan verify MODEL
--against OUT.safetensors`. For small shapes; `torch_peers.py logits` has the full size, on a GPU.
"""

import argparse
import json
import struct
from pathlib import Path

import numpy as np

from hashed_model import FILE_TYPES, SHAPES, Shape, stored_as, tensors, values


def token_at(position: int, vocab: int) -> int:
    """As in `mizan bench`: ids that look like text only in that they differ."""
    return position * 2_654_435_761 % vocab


def norm(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * weight


def rotated(x: np.ndarray, shape: Shape) -> np.ndarray:
    """Rotary positions of heads, the value `i` with `i + head_dim / 2`. `[heads, tokens, head_dim]`"""
    half = shape.head_dim // 2
    frequencies = shape.rope_base ** (-np.arange(half) / half) / shape.rope_divisors()
    angles = np.arange(x.shape[1])[:, None] * frequencies
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def logits(shape: Shape, form: str, tokens: list[int]) -> np.ndarray:
    """After each token. `[tokens, vocab]`"""
    found = {tensor.hf_name: tensor for tensor in tensors(shape)}

    def weight(name: str) -> np.ndarray:
        tensor = found[f"{name}.weight"]
        return values(tensor, stored_as(tensor, shape, form)).astype(np.float64)

    def heads(x: np.ndarray) -> np.ndarray:
        return x.reshape(len(tokens), -1, shape.head_dim).swapaxes(0, 1)

    mask = np.triu(np.full((len(tokens), len(tokens)), -np.inf), 1)
    x = weight("model.embed_tokens")[tokens]
    for number in range(shape.layers):
        layer = f"model.layers.{number}"
        y = norm(x, weight(f"{layer}.input_layernorm"), shape.norm_eps)
        q, k, v = (heads(y @ weight(f"{layer}.self_attn.{part}_proj").T) for part in "qkv")
        q, k = rotated(q, shape), rotated(k, shape)
        k, v = (np.repeat(part, shape.heads // shape.kv_heads, axis=0) for part in (k, v))
        scores = q @ k.swapaxes(1, 2) / np.sqrt(shape.head_dim) + mask
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        read = scores / scores.sum(axis=-1, keepdims=True) @ v
        read = read.swapaxes(0, 1).reshape(len(tokens), -1)
        x = x + read @ weight(f"{layer}.self_attn.o_proj").T
        y = norm(x, weight(f"{layer}.post_attention_layernorm"), shape.norm_eps)
        gate = y @ weight(f"{layer}.mlp.gate_proj").T
        gate = gate / (1 + np.exp(-gate)) * (y @ weight(f"{layer}.mlp.up_proj").T)
        x = x + gate @ weight(f"{layer}.mlp.down_proj").T
    return norm(x, weight("model.norm"), shape.norm_eps) @ weight("lm_head").T


def save(path: Path, tokens: list[int], found: np.ndarray) -> None:
    """A safetensors file of `tokens` and `logits`."""
    parts = {"tokens": np.array(tokens, np.uint32), "logits": np.ascontiguousarray(found, np.float32)}
    header, at = {}, 0
    for name, part in parts.items():
        kind = {"uint32": "U32", "float32": "F32"}[part.dtype.name]
        place = [at, at := at + part.nbytes]
        header[name] = {"dtype": kind, "shape": part.shape, "data_offsets": place}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    head = struct.pack("<Q", len(text)) + text
    path.write_bytes(head + b"".join(part.tobytes() for part in parts.values()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--as", dest="form", choices=["hf", *FILE_TYPES], default="bf16")
    parser.add_argument("--tokens", type=int, default=40)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.shape]
    tokens = [token_at(position, shape.vocab) for position in range(arguments.tokens)]
    save(arguments.out, tokens, logits(shape, arguments.form, tokens))


if __name__ == "__main__":
    main()
