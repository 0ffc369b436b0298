"""The one way speed and memory are measured here, so that figures of different programs mean the same.

What is compared runs in turns within one process (a, b, a, b, ...; the order turned by one each round), after
a warm-up, because a machine's speed drifts by more than most differences. A result is a median and a 95th
percentile, never a best case, and goes out as one line of JSON:

    timings = interleaved({"plain": plain, "ours": ours}, repeats=7, work=len(texts))
    print(line("Is ours faster?", timings, baseline="plain"))
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ragagent.eval.environment import facts

Input = TypeVar("Input")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """The seconds of each repeat in the order they ran; `work` is how many things one repeat handled."""

    name: str
    seconds: tuple[float, ...]
    work: float = 1.0

    @property
    def median_s(self) -> float:
        return float(np.median(self.seconds))

    @property
    def p95_s(self) -> float:
        """The 95th percentile by linear interpolation between the two nearest repeats."""
        return float(np.percentile(self.seconds, 95))

    @property
    def per_second(self) -> float:
        """Things handled in a second, at the median."""
        return self.work / self.median_s if self.median_s else float("inf")

    def summary(self) -> dict[str, Any]:
        """The figures as plain values, rounded to what the measurement can tell."""
        return {
            "median_s": _round(self.median_s),
            "p95_s": _round(self.p95_s),
            "per_second": _round(self.per_second),
            "repeats": len(self.seconds),
        }


def interleaved(
    variants: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 7,
    warmup: int = 1,
    work: float = 1.0,
    check: Callable[[Mapping[str, object]], None] | None = None,
) -> dict[str, Timing]:
    """The timing of each variant, run in turns. Takes `repeats + warmup` calls of every variant.

    `check` is given each variant's result of the first call, before anything is timed, and raises when they do
    not agree: a fast wrong answer is not worth timing.
    """
    if repeats < 1 or not variants:
        raise ValueError("interleaved needs a variant and at least one repeat")
    names = list(variants)
    for turn in range(warmup if check is None else max(warmup, 1)):
        results = {name: variants[name]() for name in names}
        if check is not None and turn == 0:
            check(results)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(repeats):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(_timed(variants[name]))
    return {name: Timing(name=name, seconds=tuple(seconds[name]), work=work) for name in names}


def each(name: str, function: Callable[[Input], object], inputs: Iterable[Input], *, warmup: int = 3) -> Timing:
    """The latency of `function` on each input by itself; the first `warmup` inputs are run once before, untimed."""
    items = list(inputs)
    for item in items[:warmup]:
        function(item)
    seconds = [_timed(lambda item=item: function(item)) for item in items]  # type: ignore[misc]
    return Timing(name=name, seconds=tuple(seconds))


def commands(
    variants: Mapping[str, Sequence[str]], *, repeats: int = 5, warmup: int = 1, timeout_s: float = 300.0
) -> dict[str, Timing]:
    """Wall time of whole processes from start to exit, run in turns, their output thrown away.

    Raises subprocess.CalledProcessError when one exits with another code than 0.
    """
    return interleaved(
        {name: _command(command, timeout_s) for name, command in variants.items()}, repeats=repeats, warmup=warmup
    )


def peak_rss_bytes() -> int:
    """The most memory this process ever had resident; its children are not counted."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss is inherited over exec on Linux: a small program would report its parent
        for entry in status.read_text(encoding="ascii", errors="replace").splitlines():
            if entry.startswith("VmHWM:"):
                return int(entry.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def line(question: str, timings: Mapping[str, Timing], *, baseline: str | None = None, **more: Any) -> str:
    """One line of JSON: the question, each timing, the speed-up of each over `baseline`, memory and environment."""
    record: dict[str, Any] = {"question": question, **more}
    record["timings"] = {name: timing.summary() for name, timing in timings.items()}
    if baseline is not None:
        record["baseline"] = baseline
        record["speedup"] = {name: speedup(timings[baseline], timing) for name, timing in timings.items()}
    record["peak_rss_bytes"] = peak_rss_bytes()
    record["environment"] = facts()
    return json.dumps(record, ensure_ascii=False)


def speedup(slow: Timing, fast: Timing) -> float:
    """How many times `fast` is faster: the median over the rounds of the ratio within a round.

    Both ran in each round close together, so drift of the machine cancels in the ratio.
    """
    pairs = zip(slow.seconds, fast.seconds, strict=True)
    return _round(float(np.median([a / b for a, b in pairs])) * fast.work / slow.work)


def _command(command: Sequence[str], timeout_s: float) -> Callable[[], object]:
    def run() -> object:
        return subprocess.run(
            command, check=True, timeout=timeout_s, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    return run


def _timed(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def _round(value: float) -> float:
    return float(f"{value:.4g}")
