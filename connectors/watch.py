"""Which places of some folders came to rest after a change.

The kernel tells what changes where it can; elsewhere, and where it has no room for more watches, the folders are
walked every few seconds and compared.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

from ragagent.connectors.files import FilesConnector, file_path
from ragagent.connectors.ignore import FILES as IGNORE_FILES
from ragagent.errors import ConnectorError
from ragagent.protocols import SourceItem

MAX_WAIT_S = 60.0
"""What has come to rest waits no longer than this for what has not."""
_MAX_EXPANDED = 10_000
_MAX_PLACES = 500

Signature = tuple[int, int, int] | None
Changes = list[tuple[FilesConnector, tuple[str, ...]]]


def signature(path: str) -> Signature:
    """What changes while something is written to a path; None where nothing is there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ino


class Settling:
    """Paths that changed and have not been seen at rest for `settle_s` yet."""

    def __init__(
        self,
        settle_s: float,
        *,
        max_wait_s: float = MAX_WAIT_S,
        look: Callable[[str], Signature] = signature,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settle_s = settle_s
        self._max_wait_s = max_wait_s
        self._look = look
        self._clock = clock
        self._waiting: dict[str, tuple[Signature, float]] = {}
        self._since: float | None = None

    def note(self, paths: Iterable[str]) -> None:
        """Takes in paths that something happened to, just now."""
        now = self._clock()
        for path in paths:
            self._waiting[path] = (self._look(path), now)
        if self._waiting and self._since is None:
            self._since = now

    def ready(self) -> list[str]:
        """The paths that are at rest, all in one, once all are; those that are, once one has waited too long.

        What is given is forgotten. A path below which something still changes is not at rest.
        """
        if not self._waiting or self._since is None:
            return []
        now = self._clock()
        for path, (before, _) in list(self._waiting.items()):
            found = self._look(path)
            if found != before:
                self._waiting[path] = (found, now)
        restless = {path for path, (_, since) in self._waiting.items() if now - since < self._settle_s}
        if restless and now - self._since < self._max_wait_s:
            return []
        held = {above for path in restless for above in _at_and_above(path)}
        given = [path for path in self._waiting if path not in held]
        for path in given:
            del self._waiting[path]
        self._since = now if self._waiting else None
        return sorted(given)


class Watch:
    """Watches from the moment it is made; `close` ends it. `polls` tells whether folders are walked for it."""

    def __init__(
        self,
        connectors: Sequence[FilesConnector],
        *,
        settle_s: float = 1.0,
        poll_s: float | None = None,
        polling: bool = False,
        ignore: str | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """`poll_s` is the pause between two walks, by default twice `settle_s`.

        `ignore` is a folder whose changes do not count: that of the knowledge base itself.
        """
        self._connectors = connectors
        self._settling = Settling(settle_s)
        self._tick_s = min(0.5, max(0.02, settle_s / 4))
        self._poll_s = 2 * settle_s if poll_s is None else poll_s
        self._ignore = os.path.realpath(ignore) if ignore else None
        self._stop = stop or threading.Event()
        self._roots = {connector.path: signature_of_root(connector.path) for connector in connectors}
        folders = [connector for connector in connectors if os.path.isdir(connector.path)]
        self._folders = [connector.path for connector in folders]
        self._events = None if polling else self._told()
        self.polls = self._events is None and bool(folders)
        # A single file may be replaced by another one, which the kernel would not tell.
        self._walked = [one for one in connectors if self.polls or one not in folders]
        self._before = {one.path: _stamps(one) for one in self._walked}
        self._walked_at = time.monotonic()

    def changes(self) -> Iterator[Changes]:
        """Places at rest, by source, in one batch each; an empty batch at least every half second."""
        while not self._stop.is_set():
            self._settling.note({place for path in self._next() for place in self._places(path)})
            ready = _topmost(self._settling.ready())
            batch = [
                (one, _few([path for path in ready if _is_in(path, one.path)], one.path)) for one in self._connectors
            ]
            yield [(one, places) for one, places in batch if places]

    def again(self, places: Iterable[str]) -> None:
        """Lets places be given once more, as what was done about them failed."""
        self._settling.note(places)

    def lost(self) -> list[str]:
        """The paths of sources that are gone, or other ones than when this began: an unmounted disk, a moved folder."""
        return [path for path, before in self._roots.items() if signature_of_root(path) != before]

    def close(self) -> None:
        """Ends the watching."""
        if self._events is not None:
            self._events.close()

    def _told(self) -> Generator[set[tuple[Any, str]], None, None] | None:
        """What the kernel tells; None where it cannot."""
        if not self._folders:
            return None
        import watchfiles

        events = watchfiles.watch(
            *self._folders,
            watch_filter=None,
            debounce=50,
            step=10,
            rust_timeout=int(self._tick_s * 1000),
            yield_on_timeout=True,
            stop_event=self._stop,
            ignore_permission_denied=True,
        )
        try:
            # The first answer comes when all watches are set.
            next(events)
        except (OSError, StopIteration):
            return None
        return events

    def _next(self) -> set[str]:
        """Paths that something happened to, after a moment."""
        found: set[str] = set()
        if self._events is not None:
            found = self._heard(self._events)
        else:
            self._stop.wait(self._tick_s)
        if self._walked and (not self.polls or time.monotonic() - self._walked_at >= self._poll_s):
            found |= self._compared()
        return found

    def _heard(self, events: Iterator[set[tuple[Any, str]]]) -> set[str]:
        """Paths that the kernel told of; the folders as a whole where it told what cannot be understood.

        watchfiles ends with an error at the first name that is not UTF-8.
        """
        try:
            return {path for _, path in next(events, set())}
        except (RuntimeError, OSError):
            self._events = self._told()
            if self._events is None:
                self.polls = True
                self._walked = list(self._connectors)
                self._before = {one.path: _stamps(one) for one in self._walked}
            return set(self._folders)

    def _compared(self) -> set[str]:
        """What differs from the last walk."""
        found: set[str] = set()
        for one in self._walked:
            before, after = self._before[one.path], _stamps(one)
            found.update(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
            self._before[one.path] = after
        self._walked_at = time.monotonic()
        return found

    def _places(self, path: str) -> list[str]:
        """What has to be looked at as something happened to `path`.

        Hidden names count for nothing, and ignore files for all that they rule. A folder that came stands for each file
        in it as well, as these may still be written.
        """
        root = next((one.path for one in self._connectors if _is_in(path, one.path)), None)
        if root is None or (self._ignore is not None and _is_in(path, self._ignore)):
            return []
        folder, name = os.path.split(path)
        if name in IGNORE_FILES:
            path = folder
        inner = os.path.relpath(path, root)
        if path != root and any(part.startswith(".") for part in inner.split(os.sep)):
            return []
        return [path, *_below(path)]


def signature_of_root(path: str) -> tuple[int, int] | None:
    """What tells one folder at a path from another one; for a file, only whether it is there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if os.path.isdir(path) else (found.st_dev, 0)


def _stamps(connector: FilesConnector) -> dict[str, str]:
    try:
        return {file_path(item.uri): item.stamp for item in connector.items() if isinstance(item, SourceItem)}
    except ConnectorError:
        return {}


def _below(path: str) -> list[str]:
    """The files below a folder that came, up to a bound; links are not followed."""
    found: list[str] = []
    if os.path.islink(path) or not os.path.isdir(path):
        return found
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.join(folder, name) for name in names if not name.startswith(".")]
        if len(found) > _MAX_EXPANDED:
            break
    return found


def _topmost(paths: Sequence[str]) -> list[str]:
    """The paths that lie below no other one of them; `paths` are sorted."""
    kept: list[str] = []
    for path in sorted(paths, key=lambda path: path.split(os.sep)):
        if not kept or not _is_in(path, kept[-1]):
            kept.append(path)
    return kept


def _few(places: Sequence[str], root: str) -> tuple[str, ...]:
    """The places, or where they are many the folders they stand in: to walk these costs less than to find the way."""
    for _ in range(3):
        if len(places) <= _MAX_PLACES:
            return tuple(places)
        places = _topmost(sorted({os.path.dirname(path) if path != root else root for path in places}))
    return (root,)


def _at_and_above(path: str) -> Iterator[str]:
    yield path
    while (above := os.path.dirname(path)) != path:
        yield above
        path = above


def _is_in(path: str, folder: str) -> bool:
    return path == folder or _is_below(path, folder)


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)
