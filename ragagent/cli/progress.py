"""Progress of long work: a bar with the time left on a terminal, plain lines otherwise. Always on standard error."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from ragagent.cli.context import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_PLAIN_INTERVAL_S = 5.0


class Bar:
    """Keeps the Progress protocol: one line for each stage that is reported."""

    def __init__(self) -> None:
        self._console = console(stderr=True)
        self._live: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._last_plain = time.monotonic()

    def __enter__(self) -> Bar:
        if self._console.is_terminal:
            self._live = _rich_progress(self._console)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
        """Shows how far a stage is; `total` none means that nobody knows yet."""
        if self._live is not None:
            self._update_bar(self._live, stage, done, total, detail)
        elif time.monotonic() - self._last_plain >= _PLAIN_INTERVAL_S:
            self._last_plain = time.monotonic()
            click.echo(f"{stage}: {done}{f' of {total}' if total else ''} {detail}".rstrip(), err=True)

    def _update_bar(self, live: Progress, stage: str, done: int, total: int | None, detail: str) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = live.add_task(stage, total=total, detail="")
        live.update(self._tasks[stage], completed=done, total=total, detail=detail[-48:])


def _rich_progress(target: object) -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    assert isinstance(target, Console)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
        console=target,
        transient=True,
    )
