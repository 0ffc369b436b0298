"""Counts and times in the text format of Prometheus."""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters, histograms of seconds, and gauges that are asked for when they are read. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, dict[Labels, float]] = {}
        self._times: dict[str, dict[Labels, list[float]]] = {}
        self._gauges: dict[str, Callable[[], float]] = {}
        self._help: dict[str, str] = {}

    def count(self, name: str, help_text: str, amount: float = 1, **labels: str) -> None:
        """Adds to a counter."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._help[name] = help_text
            series = self._counts.setdefault(name, {})
            series[key] = series.get(key, 0) + amount

    def time(self, name: str, help_text: str, seconds: float, **labels: str) -> None:
        """Adds to a histogram of seconds."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            self._help[name] = help_text
            row = self._times.setdefault(name, {}).setdefault(key, [0.0] * (len(_BUCKETS) + 2))
            row[bisect.bisect_left(_BUCKETS, seconds)] += 1
            row[-1] += seconds

    def gauge(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """A value that is asked for when the metrics are read."""
        self._help[name] = help_text
        self._gauges[name] = value

    def text(self) -> str:
        """All of them, in version 0.0.4 of the text format."""
        gauges = {name: value() for name, value in self._gauges.items()}
        with self._lock:
            lines = [line for name in self._counts for line in self._counter(name)]
            lines += [line for name in self._times for line in self._histogram(name)]
            for name, value in gauges.items():
                lines += [*self._head(name, "gauge"), f"{name} {value:g}"]
        return "\n".join(lines) + "\n"

    def _head(self, name: str, kind: str) -> list[str]:
        return [f"# HELP {name} {self._help[name]}", f"# TYPE {name} {kind}"]

    def _counter(self, name: str) -> list[str]:
        return self._head(name, "counter") + [
            f"{name}{_shown(key)} {value:g}" for key, value in self._counts[name].items()
        ]

    def _histogram(self, name: str) -> list[str]:
        lines = self._head(name, "histogram")
        for key, row in self._times[name].items():
            total = 0.0
            for bound, amount in zip((*map(str, _BUCKETS), "+Inf"), row[:-1], strict=True):
                total += amount
                lines.append(f"{name}_bucket{_shown((*key, ('le', bound)))} {total:g}")
            lines += [f"{name}_sum{_shown(key)} {row[-1]:.6f}", f"{name}_count{_shown(key)} {total:g}"]
        return lines


def _shown(labels: Labels) -> str:
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def resident_bytes() -> float:
    """The memory that this process holds; 0 where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return float(file.read().split()[1]) * _page_bytes()
    except (OSError, ValueError, IndexError):
        return 0.0


def _page_bytes() -> int:
    import resource

    return resource.getpagesize()
