"""Progress of long work: a bar with the time left on a terminal, plain lines otherwise. Always on standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import click

from ragagent.cli.output import console

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_PLAIN_INTERVAL_S = 5.0


def duration(seconds: float) -> str:
    """A time for people: seconds, then minutes, then hours."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class Bar:
    """Keeps the Progress protocol: one line for each stage that is reported, counted in `unit`."""

    def __init__(self, unit: Literal["", "bytes"] = "") -> None:
        self._unit = unit
        self._console = console(stderr=True)
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_plain = time.monotonic()
        self._begun: dict[str, float] = {}

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._live = _rich_progress(self._console, self._unit)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        """Shows how far a stage is; `total` none means that nobody knows yet."""
        self._begun.setdefault(stage, time.monotonic())
        if self._live is not None:
            self._update_bar(self._live, stage, done, total, detail)
        elif time.monotonic() - self._last_plain >= _PLAIN_INTERVAL_S:
            self._last_plain = time.monotonic()
            click.echo(self._line(stage, done, total, detail), err=True)

    def _line(self, stage: str, done: int, total: int | None, detail: str) -> str:
        scale = 1e6 if self._unit == "bytes" else 1
        unit = "MB" if self._unit == "bytes" else self._unit
        of = f" of {total / scale:.0f}" if total else ""
        return " ".join(f"{stage}: {done / scale:.0f}{of} {unit} {self._left(stage, done, total)} {detail}".split())

    def _left(self, stage: str, done: int, total: int | None) -> str:
        """How long the rest takes if it goes on as until now."""
        if not total or not 0 < done < total:
            return ""
        return f"({duration((time.monotonic() - self._begun[stage]) / done * (total - done))} left)"

    def _update_bar(self, live: Progress, stage: str, done: int, total: int | None, detail: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = live.add_task(stage, total=total, detail="")
        live.update(self._tasks[stage], completed=done, total=total, detail=detail[-48:])


def _rich_progress(target: Console, unit: str) -> Progress:
    from rich import progress

    count = progress.DownloadColumn() if unit == "bytes" else progress.MofNCompleteColumn()
    return progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        count,
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.fields[detail]}"),
        console=target,
        transient=True,
    )
