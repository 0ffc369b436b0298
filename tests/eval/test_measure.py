from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ragagent.eval.perf.measure import Timing, commands, each, interleaved, line, peak_rss_bytes, speedup


def test_variants_take_turns_and_the_order_turns_with_each_round() -> None:
    order: list[str] = []
    interleaved({name: lambda name=name: order.append(name) for name in "abc"}, repeats=3, warmup=1)
    assert order == [*"abc", *"abc", *"bca", *"cab"]


def test_results_are_checked_before_anything_is_timed() -> None:
    calls: list[int] = []

    def refuse(results: object) -> None:
        raise AssertionError("they differ")

    with pytest.raises(AssertionError, match="they differ"):
        interleaved({"a": lambda: calls.append(1)}, repeats=5, warmup=0, check=refuse)
    assert calls == [1]


def test_a_timing_is_the_median_and_the_95th_percentile_of_its_repeats() -> None:
    timing = Timing(name="x", seconds=tuple(float(i) for i in range(1, 22)), work=22)
    assert (timing.median_s, timing.p95_s, timing.per_second) == (11.0, 20.0, 2.0)


def test_the_speedup_is_the_median_ratio_within_a_round() -> None:
    slow = Timing(name="slow", seconds=(2.0, 20.0, 6.0))
    fast = Timing(name="fast", seconds=(1.0, 10.0, 1.0))
    assert speedup(slow, fast) == 2.0
    assert speedup(slow, slow) == 1.0


def test_each_input_is_timed_once_after_the_warm_up() -> None:
    seen: list[int] = []
    assert len(each("x", seen.append, range(5), warmup=2).seconds) == 5
    assert seen == [0, 1, 0, 1, 2, 3, 4]


def test_a_command_that_fails_is_an_error_and_not_a_fast_result() -> None:
    assert len(commands({"ok": [sys.executable, "-c", ""]}, repeats=2)["ok"].seconds) == 2
    with pytest.raises(subprocess.CalledProcessError):
        commands({"bad": [sys.executable, "-c", "raise SystemExit(3)"]}, repeats=1)


def test_the_report_is_one_line_of_json_without_paths() -> None:
    timings = interleaved({"a": lambda: sum(range(1000)), "b": lambda: sum(range(1000))}, repeats=3)
    text = line("Is a as fast as b?", timings, baseline="a", rows=3)
    record = json.loads(text)
    assert "\n" not in text
    assert record["rows"] == 3
    assert record["speedup"]["a"] == 1.0
    assert record["timings"]["b"]["repeats"] == 3
    assert sys.prefix not in text


def test_memory_that_was_used_stays_in_the_peak_after_it_is_freed() -> None:
    block = bytearray(b"x" * 200_000_000)
    size = len(block)
    del block
    assert peak_rss_bytes() >= size
