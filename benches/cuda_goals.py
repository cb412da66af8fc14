#!/usr/bin/env python3
"""The goals for one GPU, and what `.ci/cuda-machine.sh measure` found: one table.

    python3 benches/cuda_goals.py RESULTS

RESULTS is the folder with the JSON files of its parts; what is not in it was not measured. The bound of
decoding is bytes / bandwidth (weights once, keys and values of all streams), that of prefill the products'
operations / peak, both ceilings as PyTorch reaches them on the same card.
"""

import json
import statistics
import sys
from pathlib import Path

FORMS = {"bf16": "bf16", "q8_0": "Q8_0", "q4_k_m": "Q4_K_M"}
SHARES = {"bf16": 0.80, "q8_0": 0.75, "q4_k_m": 0.65}


class Results:
    """The files of a folder."""

    def __init__(self, folder: Path):
        self.folder = folder

    def read(self, name: str):
        """What a part wrote; `None` if it has not run."""
        path = self.folder / f"{name}.json"
        return json.loads(path.read_text()) if path.exists() else None

    def streams(self, form: str, streams: int) -> dict:
        """Decoding of one number of streams."""
        rows = (self.read(f"streams-{form}") or {}).get("decode", [])
        return next((row for row in rows if row["streams"] == streams), {})

    def rate(self, form: str, streams: int) -> float | None:
        rates = self.streams(form, streams).get("tokens_per_second")
        return statistics.median(rates) if rates else None

    def peer(self, name: str, streams: int) -> float | None:
        """Tokens a second of PyTorch's."""
        rows = (self.read(name) or {}).get(name, [])
        return next((row["tokens_per_second"] for row in rows if row["streams"] == streams), None)

    def rounds_beside_llama(self, form: str) -> list[tuple[float, float]]:
        """Tokens a second of one stream, Mizan's and llama.cpp's of each round."""
        rounds = []
        for number in range(100):
            ours = self.read(f"beside-{form}-{number}-mizan")
            theirs = self.read(f"beside-{form}-{number}-llama")
            if ours and theirs:
                generated = next(row["avg_ts"] for row in theirs if row["n_gen"])
                rounds.append((ours["decode"][0]["tokens_per_second"][0], generated))
        return rounds


def percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.1f} %"


def goals(results: Results):
    """Rows of goal, what was reached, whether that is enough; the last two `None` if unknown."""

    def of_bound(goal: str, share: float | None, least: float, rate: float | None):
        told = None if share is None else f"{percent(share)} ({rate:,.0f} tokens/s)"
        return f"{goal}: at least {100 * least:.0f} % of the bound", told, share and share >= least

    def faster(goal: str, ours: float | None, theirs: float | None, least: float):
        if not ours or not theirs:
            return f"{goal}: at least {least} times", None, None
        told = f"{ours / theirs:.2f} ({ours:,.0f} to {theirs:,.0f} tokens/s)"
        return f"{goal}: at least {least} times", told, ours / theirs >= least

    for form, least in SHARES.items():
        share = results.streams(form, 1).get("share_of_bandwidth")
        yield of_bound(f"one stream, {FORMS[form]}", share, least, results.rate(form, 1))
    for form, name in FORMS.items():
        rounds = results.rounds_beside_llama(form)
        ours, theirs = map(statistics.median, zip(*rounds)) if rounds else (None, None)
        yield faster(f"one stream, {name}, beside llama.cpp", ours, theirs, 1.3)
    for streams in (64, 256):
        share = results.streams("bf16", streams).get("share_of_bandwidth")
        yield of_bound(f"{streams} streams, bf16", share, 0.75, results.rate("bf16", streams))
    prefill = (results.read("streams-bf16") or {}).get("prefill", {})
    rates = prefill.get("tokens_per_second")
    rate = statistics.median(rates) if rates else None
    yield of_bound("prefill, bf16", prefill.get("share_of_peak"), 0.60, rate)
    for streams in (64, 256):
        theirs = results.peer("continuous", streams)
        goal = f"{streams} streams, bf16, beside transformers"
        yield faster(goal, results.rate("bf16", streams), theirs, 2.0)
    for streams in (1, 8, 64):
        theirs = results.peer("compiled", streams)
        goal = f"{streams} streams, bf16, beside torch.compile"
        yield faster(goal, results.rate("bf16", streams), theirs, 1.1)
    charging = results.read("charging")
    change = charging and statistics.median(round["ratio"] for round in charging["rounds"]) - 1
    goal = f"charging {charging['streams']} streams" if charging else "charging 256 streams"
    told = None if change is None else f"{100 * change:+.2f} % of throughput"
    yield f"{goal}: costs under 1 %", told, None if change is None else change > -0.01
    logits = results.read("logits")
    told = logits and logits["told"]
    yield "all logits of 64 tokens, bf16, against PyTorch in f32", told, logits and logits["agree"]


def main() -> None:
    results = Results(Path(sys.argv[1]))
    ceilings = results.read("ceilings")
    if ceilings:
        peak, bandwidth = ceilings["peak_tflops"], ceilings["bandwidth_gbs"]
        print(f"Ceilings: {bandwidth:,.0f} GB/s, {peak:,.0f} TFLOP/s.\n")
    print("| goal | reached | met |\n|---|---|---|")
    for goal, reached, is_met in goals(results):
        met = "" if reached is None else "yes" if is_met else "no"
        print(f"| {goal} | {reached or 'not measured'} | {met} |")


if __name__ == "__main__":
    main()
