#!/usr/bin/env python3
"""What PyTorch and transformers make of a hashed model (`hashed_model.py`), on the same card: the
ceilings that shares are of, two peers, and logits to compare with. Needs torch; `continuous` and
`logits` also transformers. The weights are computed on the device from the formula: no file is read.

    python3 benches/torch_peers.py ceilings
    python3 benches/torch_peers.py continuous --streams 64,256      transformers' continuous batching
    python3 benches/torch_peers.py compiled --streams 1,8,64        torch.compile, static cache
    python3 benches/torch_peers.py logits OUT.safetensors           for mizan verify --against

all with [--shape llama-3.1-8b] [--device cuda] [--prompt 1024] [--tokens 128] [--json FILE]

Ceilings: a bf16 product of 8192 in TFLOP/s; a copy of 4 GiB, read plus written, in GB/s. Peers, bf16:
decoded tokens a second of all streams together at a context that begins with the prompt. `continuous`
is measured as `mizan bench streams` is, from the last stream's first token to the first one's end;
`total` also has prefill in it. `compiled` is in the manner of gpt-fast: one graph a step, keys and values
in a cache of fixed length, the highest logit chosen on the device; what is in the cache does not matter
to its speed and is arbitrary. Logits: transformers in f32, weights as bf16 has them.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

import hashed_logits
from hashed_model import SHAPES, Shape, hf_config, tensors

MASK = 0xFFFFFFFF
# Weights of which the hash is computed at once.
CHUNK = 1 << 26


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds(run, times: int, device: str) -> float:
    """Of one of `times` runs, after three that only warm up."""
    for _ in range(3):
        run()
    synchronize(device)
    begun = time.perf_counter()
    for _ in range(times):
        run()
    synchronize(device)
    return (time.perf_counter() - begun) / times


def ceilings(arguments: argparse.Namespace) -> dict:
    device = arguments.device
    size, count = (8192, 1 << 29) if device.startswith("cuda") else (512, 1 << 22)
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    b = torch.randn_like(a)
    x = torch.randn(count, device=device, dtype=torch.float32)
    y = torch.empty_like(x)
    rounds = [
        (seconds(lambda: torch.mm(a, b), 20, device), seconds(lambda: y.copy_(x), 20, device))
        for _ in range(3)
    ]
    product, copy = (min(figures) for figures in zip(*rounds))
    return {"peak_tflops": 2 * size**3 / product / 1e12, "bandwidth_gbs": 8 * count / copy / 1e9}


@torch.no_grad()
def fill(weight: torch.Tensor, number: int, is_norm: bool) -> None:
    """The formula, in int64: the same bits as numpy's."""
    flat = weight.view(-1)
    for start in range(0, flat.numel(), CHUNK):
        end = min(start + CHUNK, flat.numel())
        x = torch.arange(start, end, dtype=torch.int64, device=weight.device)
        x ^= number * 0x9E3779B1 & MASK
        x ^= x >> 16
        x = x * 0x7FEB352D & MASK
        x ^= x >> 15
        x = x * 0x846CA68B & MASK
        x ^= x >> 16
        s = (x & 255) + (x >> 8 & 255) + (x >> 16 & 255) + (x >> 24) - 510
        values = 1 + s * 2.0**-12 if is_norm else s * 2.0**-13
        flat[start:end] = values.to(torch.bfloat16).to(weight.dtype)


def transformers_model(shape: Shape, device: str, dtype: torch.dtype):
    from transformers import AutoConfig, AutoModelForCausalLM

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(hf_config(shape)))
        config = AutoConfig.from_pretrained(folder)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa")
    torch.set_default_dtype(torch.float32)
    model = model.to(dtype).eval()
    numbers = {tensor.hf_name: tensor for tensor in tensors(shape)}
    for name, weight in model.named_parameters():
        fill(weight.data, numbers[name].number, numbers[name].is_norm)
    return model


@torch.no_grad()
def logits(arguments: argparse.Namespace) -> dict:
    shape = SHAPES[arguments.shape]
    torch.set_float32_matmul_precision("highest")
    model = transformers_model(shape, arguments.device, torch.float32)
    count = arguments.tokens
    tokens = [hashed_logits.token_at(position, shape.vocab) for position in range(count)]
    found = model(torch.tensor([tokens], device=arguments.device)).logits[0]
    hashed_logits.save(arguments.out, tokens, found.float().cpu().numpy())
    return {"shape": arguments.shape, "tokens": count}


def prompts(shape: Shape, streams: int, length: int) -> list[list[int]]:
    draw = torch.Generator().manual_seed(7)
    return torch.randint(shape.vocab - 2, (streams, length), generator=draw).tolist()


def together(times: list[list[float]]) -> float | None:
    """Tokens a second while all streams decode: `Window` of `mizan bench streams`."""
    last = max(times, key=lambda stream: stream[0])
    end = min(stream[-1] for stream in times)
    steps = sum(moment <= end for moment in last) - 1
    return len(times) * steps / (last[steps] - last[0]) if steps > 0 else None


def continuous(arguments: argparse.Namespace) -> dict:
    import transformers
    from transformers import GenerationConfig

    shape = SHAPES[arguments.shape]
    model = transformers_model(shape, arguments.device, torch.bfloat16)
    results = []
    for streams in arguments.streams:
        inputs = prompts(shape, streams, arguments.prompt)
        # A stream that begins early has as many tokens more as there are steps of prefill.
        lead = 16 + 2 * streams * arguments.prompt // 8192
        count = arguments.tokens + lead
        generation = GenerationConfig(
            max_new_tokens=count, do_sample=False, eos_token_id=-1, pad_token_id=0
        )
        more = {"record_timestamps": True}
        try:
            more["continuous_batching_config"] = transformers.ContinuousBatchingConfig(
                use_cuda_graph=arguments.device.startswith("cuda"), use_async_batching=None
            )
        except (AttributeError, TypeError) as error:
            print(f"continuous batching as the version has it by default: {error}", file=sys.stderr)
        decoded, total = [], []
        for number in range(arguments.rounds + 1):
            begun = time.perf_counter()
            answers = model.generate_batch(inputs, generation_config=generation, **more)
            elapsed = time.perf_counter() - begun
            found = sum(len(answer.generated_tokens) for answer in answers.values())
            if found != streams * count:
                raise SystemExit(f"{found} of {streams * count} tokens came")
            if number:
                total.append(streams * (arguments.prompt + count) / elapsed)
                times = [answer.timestamps for answer in answers.values()]
                if all(times) and (rate := together(times)):
                    decoded.append(rate)
        results.append({
            "streams": streams,
            "tokens_per_second": statistics.median(decoded) if decoded else None,
            "total_tokens_per_second": statistics.median(total),
        })
        print(f"transformers {transformers.__version__}: {results[-1]}", flush=True)
    return {"version": transformers.__version__, "continuous": results}


class Decoder(torch.nn.Module):
    """One step of a Llama model: one token of each stream, all at the same position."""

    def __init__(self, shape: Shape, streams: int, length: int, weights: dict[str, torch.Tensor]):
        super().__init__()
        self.shape, self.streams = shape, streams
        embedding = weights["model.embed_tokens.weight"]
        more = {"device": embedding.device, "dtype": embedding.dtype}
        size = (shape.layers, 2, streams, shape.kv_heads, length, shape.head_dim)
        half = torch.arange(0, shape.head_dim, 2, dtype=torch.float64) / shape.head_dim
        divisors = torch.from_numpy(shape.rope_divisors()).double()
        angles = torch.arange(length, dtype=torch.float64)[:, None] * shape.rope_base**-half / divisors
        angles = torch.cat([angles, angles], dim=-1)
        # Buffers stay where they are: a graph of the step neither copies nor refuses them.
        for name, weight in weights.items():
            self.register_buffer(name.replace(".", "_"), weight)
        self.register_buffer("cache", torch.randn(size, **more) * 0.1)
        self.register_buffer("cos", angles.cos().to(**more))
        self.register_buffer("sin", angles.sin().to(**more))
        self.register_buffer("positions", torch.arange(length, device=embedding.device))

    def weight(self, name: str) -> torch.Tensor:
        return getattr(self, f"{name}.weight".replace(".", "_"))

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        y = x.float()
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + self.shape.norm_eps)
        return y.to(x.dtype) * self.weight(name)

    def linear(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return torch.nn.functional.linear(x, self.weight(name))

    def rotated(self, x: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        first, second = x.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        return x * self.cos[position] + turned * self.sin[position]

    def logits(self, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        shape, streams = self.shape, self.streams
        # The query heads of a key head are rows of one product: the cache is read once.
        seen = (self.positions <= position)[None, None, None, :]
        x = self.weight("model.embed_tokens")[tokens]
        for number in range(shape.layers):
            layer = f"model.layers.{number}"
            y = self.linear(self.norm(x, f"{layer}.input_layernorm"), f"{layer}.qkv")
            sizes = [shape.heads, shape.kv_heads, shape.kv_heads]
            parts = y.split([heads * shape.head_dim for heads in sizes], dim=-1)
            q, k, v = (part.view(streams, -1, 1, shape.head_dim) for part in parts)
            q, k = self.rotated(q, position), self.rotated(k, position)
            keys, values = self.cache[number]
            keys.index_copy_(2, position, k)
            values.index_copy_(2, position, v)
            q = q.view(streams, shape.kv_heads, -1, shape.head_dim)
            read = torch.nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=seen)
            x = x + self.linear(read.reshape(streams, -1), f"{layer}.self_attn.o_proj")
            y = self.norm(x, f"{layer}.post_attention_layernorm")
            gate, up = self.linear(y, f"{layer}.gate_up").chunk(2, dim=-1)
            x = x + self.linear(torch.nn.functional.silu(gate) * up, f"{layer}.mlp.down_proj")
        return self.linear(self.norm(x, "model.norm"), "lm_head")

    def forward(self, tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        return self.logits(tokens, position).argmax(dim=-1)


def joined_weights(shape: Shape, device: str, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """By name; Q, K and V of a layer as one matrix, and gate and up."""
    rows = {tensor.hf_name: tensor for tensor in tensors(shape)}
    groups = {name: [name] for name in rows}
    for number in range(shape.layers):
        layer = f"model.layers.{number}"
        attention = [f"{layer}.self_attn.{part}_proj.weight" for part in "qkv"]
        inner = [f"{layer}.mlp.{part}_proj.weight" for part in ("gate", "up")]
        groups |= {f"{layer}.qkv.weight": attention, f"{layer}.gate_up.weight": inner}
        for name in attention + inner:
            del groups[name]
    weights = {}
    for name, members in groups.items():
        of = [rows[member] for member in members]
        size = of[0].cols if of[0].is_norm else (sum(tensor.rows for tensor in of), of[0].cols)
        weights[name] = torch.empty(size, device=device, dtype=dtype)
        start = 0
        for tensor in of:
            part = weights[name] if tensor.is_norm else weights[name][start : start + tensor.rows]
            fill(part, tensor.number, tensor.is_norm)
            start += tensor.rows
    return weights


@torch.no_grad()
def compiled(arguments: argparse.Namespace) -> dict:
    shape, device = SHAPES[arguments.shape], arguments.device
    weights = joined_weights(shape, device, torch.bfloat16)
    results = []
    for streams in arguments.streams:
        length = -(-(arguments.prompt + arguments.tokens + 8) // 64) * 64
        torch._dynamo.reset()
        decoder = Decoder(shape, streams, length, weights)
        step = torch.compile(decoder, mode=arguments.mode, fullgraph=True)
        begun, rates = time.perf_counter(), []
        for number in range(arguments.rounds + 1):
            tokens = torch.zeros(streams, dtype=torch.int64, device=device)
            position = torch.tensor([arguments.prompt], device=device)
            if number == 0:
                for _ in range(4):
                    step(tokens, position)
                print(f"compiled in {time.perf_counter() - begun:.0f} s", flush=True)
            synchronize(device)
            started = time.perf_counter()
            for _ in range(arguments.tokens):
                # What a graph returns is overwritten by its next run.
                tokens = step(tokens, position).clone()
                position += 1
            synchronize(device)
            if number:
                rates.append(streams * arguments.tokens / (time.perf_counter() - started))
        results.append({"streams": streams, "tokens_per_second": statistics.median(rates)})
        print(f"torch {torch.__version__}, {arguments.mode}: {results[-1]}", flush=True)
        del decoder, step
    return {"version": torch.__version__, "mode": arguments.mode, "compiled": results}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for command in (ceilings, continuous, compiled, logits):
        flags = commands.add_parser(command.__name__)
        flags.set_defaults(run=command)
        if command is logits:
            flags.add_argument("out", type=Path)
        streams = "64,256" if command is continuous else "1,8,64"
        counts = [int(count) for count in streams.split(",")]
        flags.add_argument("--streams", default=counts,
                           type=lambda text: [int(count) for count in text.split(",")])
        flags.add_argument("--shape", choices=SHAPES, default="llama-3.1-8b")
        flags.add_argument("--device", default="cuda")
        flags.add_argument("--prompt", type=int, default=1024)
        flags.add_argument("--tokens", type=int, default=64 if command is logits else 128)
        flags.add_argument("--rounds", type=int, default=3)
        flags.add_argument("--mode", default="reduce-overhead", help="of torch.compile")
        flags.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    figures = arguments.run(arguments)
    print(json.dumps(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
