"""A disk whose power can be cut: what a program did to a folder, operation by operation, and what may be left of it.

`watched` runs a program under a small C library that writes down each change it makes to one folder, whoever makes it
(SQLite, numpy, Python). `cuts` turns that log into folders as they may look after the power failed at some moment.

The model is what POSIX promises, weakened no further than real file systems are:

- What was synced (fsync, fdatasync) before that moment is there.
- Of what was written to a file since its last sync, each 512-byte sector is as it was after any one of those writes to
  it, or as it was before them: writes are lost, reordered and torn. Bytes of a sector outside a write keep their
  value; SQLite calls that powersafe overwrite and counts on it, as every disk of the last decades keeps it.
- A file has any of the lengths it had since its last sync; parts never written read as zero. Truncations happen in
  order, and nothing that was written after one that is lost is seen, as in every journaling file system.
- A name that was made, moved or removed since the last sync of its folder may be as before. That is undone from some
  point on, as journals do it, or here and there, as POSIX allows. A single rename happens or does not.
- Shared memory (SQLite's `-shm`) holds anything: it is no part of what a database is made of.

Linux and a C compiler are needed; `missing` says what is not there.
"""

from __future__ import annotations

import ctypes
import os
import random
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_RECORD = struct.Struct("=5Q")
_SHARED_MEMORY = "-shm"


@dataclass(frozen=True, slots=True)
class Operation:
    """One change: kind, inode, offset or length, path (two, with a zero byte between, for a rename), bytes written.

    Kinds: C create, O open for writing, M make a folder, W write, T truncate, S sync a file, F sync a folder, R rename,
    U remove, A a word of the program itself.
    """

    kind: str
    inode: int
    offset: int
    path: str
    data: bytes


def missing() -> str:
    """Why no program can be watched here; empty when it can."""
    if sys.platform != "linux":
        return "needs Linux"
    return "" if shutil.which("cc") else "needs a C compiler (cc)"


def library(folder: Path) -> Path:
    """The library to load, compiled into `folder` if it is not there. Takes a second."""
    built = folder / "disk.so"
    if not built.exists():
        source = Path(__file__).with_name("disk.c")
        aside = folder / f"disk.{os.getpid()}.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", aside, source, "-ldl", "-lpthread"], check=True)
        aside.replace(built)
    return built


def environment(
    built: Path, folder: Path, *, log: Path | None = None, faults: Sequence[str] = (), clock_s: int = 0
) -> dict[str, str]:
    """The variables under which a program is watched, and fails as `faults` say ("kind:errno:after"; see disk.c).

    Its clock is `clock_s` ahead.
    """
    given = {**os.environ, "LD_PRELOAD": str(built), "DISK_FOLDER": str(folder.resolve()), "DISK_CLOCK": str(clock_s)}
    if log is not None:
        given["DISK_LOG"] = str(log)
    if faults:
        given["DISK_FAULT"] = ",".join(faults)
    return given


def read_log(log: Path) -> list[Operation]:
    """The operations of a log in their order; one that was cut off by a kill is left out."""
    data = log.read_bytes()
    operations, at = [], 0
    while at + _RECORD.size <= len(data):
        kind, inode, offset, path_length, length = _RECORD.unpack_from(data, at)
        path_end = at + _RECORD.size + path_length
        if path_end + length > len(data):
            break
        path = os.fsdecode(data[at + _RECORD.size : path_end])
        operations.append(Operation(chr(kind), inode, offset, path, data[path_end : path_end + length]))
        at = path_end + length
    return operations


@dataclass(slots=True)
class _File:
    """A file: its bytes at the last sync, and the writes and truncations since then."""

    stable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[str, int, bytes]] = field(default_factory=list)

    def sync(self) -> None:
        _apply(self.stable, self.pending)
        self.pending.clear()

    def now(self) -> bytes:
        """Its bytes as the program sees them."""
        content = bytearray(self.stable)
        _apply(content, self.pending)
        return bytes(content)

    def after_cut(self, rng: random.Random) -> bytes:
        """Its bytes as they may be when the power fails now."""
        if not self.pending:
            return bytes(self.stable)
        fate = rng.choice(("lost", "kept", "cut", "torn", "torn"))
        if fate == "lost":
            return bytes(self.stable)
        if fate == "kept":
            return self.now()
        seen = self.pending[: self._last_seen(rng)]
        if fate == "cut":
            seen = seen[: rng.randint(0, len(seen))]
        return _torn(self.stable, seen, rng, only_last=fate == "cut")

    def _last_seen(self, rng: random.Random) -> int:
        """How many operations there are before the first truncation that is lost."""
        truncations = [number for number, (kind, _, _) in enumerate(self.pending) if kind == "T"]
        return rng.choice([*truncations, len(self.pending), len(self.pending)])


def _apply(content: bytearray, operations: Iterable[tuple[str, int, bytes]]) -> None:
    for kind, offset, data in operations:
        if kind == "T":
            del content[offset:]
        reach = offset + len(data)
        content.extend(bytes(max(reach - len(content), 0)))
        content[offset:reach] = data


def _torn(
    stable: bytearray, operations: Sequence[tuple[str, int, bytes]], rng: random.Random, *, only_last: bool
) -> bytes:
    """`stable` after some of the operations, sector by sector."""
    firm = max(len(operations) - 1, 0) if only_last else 0
    content = bytearray(stable)
    _apply(content, operations[:firm])
    loose = operations[firm:]
    writes = Counter(sector for kind, offset, data in loose if kind == "W" for sector in _sectors(offset, data))
    allowed = {sector: rng.randint(0, count) for sector, count in sorted(writes.items())}
    sizes = [len(content)]
    length = len(content)
    for kind, offset, data in loose:
        if kind == "T":
            _apply(content, [(kind, offset, data)])
            sizes, length = [offset], offset
            continue
        length = max(length, offset + len(data))
        sizes.append(length)
        for sector in _sectors(offset, data):
            if allowed[sector]:
                allowed[sector] -= 1
                start = max(sector * SECTOR, offset)
                piece = data[start - offset : (sector + 1) * SECTOR - offset]
                _apply(content, [("W", start, piece)])
    size = rng.choice([*sizes, length])
    _apply(content, [("T", size, b"")])
    return bytes(content)


def _sectors(offset: int, data: bytes) -> range:
    return range(offset // SECTOR, -(-(offset + len(data)) // SECTOR))


_FOLDER = _File()
"""Stands for a folder among the names."""

Names = dict[str, _File]


@dataclass(slots=True)
class _Change:
    """A change to names: `before` and `after` are paths, either of which may be none; `file` is what is made."""

    before: str
    after: str
    file: _File | None
    synced: bool = False

    def apply(self, names: Names) -> None:
        """Does nothing where it has nothing to work on, because a change before it was lost."""
        if self.after and os.path.dirname(self.after) not in names:
            if self.before:
                self._forget(names)
            return
        if self.file is not None:
            names[self.after] = self.file
        elif not self.after:
            self._forget(names)
        else:
            prefix = self.before + "/"
            for path in [path for path in names if path == self.before or path.startswith(prefix)]:
                names[self.after + path[len(self.before) :]] = names.pop(path)

    def _forget(self, names: Names) -> None:
        names.pop(self.before, None)

    def folders(self) -> set[str]:
        return {os.path.dirname(path) for path in (self.before, self.after) if path}


class Disk:
    """A folder of a disk, followed through a log of operations."""

    def __init__(self, folder: Path, initial: Path | None) -> None:
        """`folder` is the one that was watched; `initial` is a copy of what was in it before, all of it synced."""
        self._root = str(folder.resolve())
        self._names: Names = {self._root: _FOLDER}
        if initial is not None:
            for path in sorted(initial.rglob("*")):
                content = _FOLDER if path.is_dir() else _File(bytearray(path.read_bytes()))
                self._names[f"{self._root}/{path.relative_to(initial)}"] = content
        self._current = dict(self._names)
        self._changes: list[_Change] = []
        self._inodes: dict[int, _File] = {}

    def follow(self, one: Operation) -> None:
        """Takes in the next operation."""
        if one.kind == "C":
            self._inodes[one.inode] = _File()
            self._change(_Change("", one.path, self._inodes[one.inode]))
        elif one.kind == "O":
            self._inodes[one.inode] = self._current[one.path]
        elif one.kind == "M":
            self._change(_Change("", one.path, _FOLDER))
        elif one.kind == "R":
            before, _, after = one.path.partition("\0")
            self._change(_Change(before, after, None))
        elif one.kind == "U":
            self._change(_Change(one.path, "", None))
        elif one.kind in "WT":
            self._inodes[one.inode].pending.append((one.kind, one.offset, one.data))
        elif one.kind == "S":
            self._sync(one)
        elif one.kind == "F":
            self._sync_folder(one.path)

    def _change(self, change: _Change) -> None:
        change.apply(self._current)
        self._changes.append(change)

    def _sync(self, one: Operation) -> None:
        file = self._inodes.get(one.inode) or self._current.get(one.path)
        if file is not None:
            file.sync()

    def _sync_folder(self, path: str) -> None:
        for change in self._changes:
            change.synced = change.synced or path in change.folders()
        while self._changes and self._changes[0].synced:
            self._changes.pop(0).apply(self._names)

    def now(self) -> dict[str, bytes | None]:
        """Every path below the folder, with its bytes as the program sees them; None for a folder."""
        return self._relative(self._current, lambda file: file.now())

    def after_cut(self, rng: random.Random) -> dict[str, bytes | None]:
        """Every path below the folder, as they may be when the power fails now."""
        names = dict(self._names)
        scattered, kept = rng.random() < 0.5, rng.choice((0.0, 0.5, 1.0))
        until = rng.randint(0, len(self._changes))
        for number, change in enumerate(self._changes):
            if change.synced or (rng.random() < kept if scattered else number < until):
                change.apply(names)
        return self._relative(names, lambda file: file.after_cut(rng))

    def _relative(self, names: Names, content: Callable[[_File], bytes]) -> dict[str, bytes | None]:
        return {
            path[len(self._root) + 1 :]: None if file is _FOLDER else content(file)
            for path, file in sorted(names.items())
            if path != self._root and not path.endswith(_SHARED_MEMORY)
        }


def lay_out(content: Mapping[str, bytes | None], folder: Path, rng: random.Random) -> None:
    """Writes such a content into a new folder; beside each database lies shared memory with anything in it."""
    folder.mkdir()
    for path, data in content.items():
        if data is None:
            (folder / path).mkdir()
        else:
            (folder / path).write_bytes(data)
            if path.endswith("-wal") and rng.random() < 0.5:
                (folder / f"{path.removesuffix('-wal')}{_SHARED_MEMORY}").write_bytes(rng.randbytes(32_768))


def cuts(
    operations: Sequence[Operation], folder: Path, initial: Path | None, moments: Sequence[int], seed: int
) -> Iterator[tuple[int, dict[str, bytes | None]]]:
    """For each moment, in ascending order, the content of `folder` after a power cut behind so many operations."""
    disk, done = Disk(folder, initial), 0
    for moment in sorted(moments):
        for one in operations[done:moment]:
            disk.follow(one)
        done = max(done, moment)
        yield moment, disk.after_cut(random.Random(f"{seed} {moment}"))


def mark(text: str) -> None:
    """Says something into the log of the disk that this process is watched by; does nothing in one that is not."""
    if "DISK_LOG" in os.environ:
        ctypes.CDLL(None).disk_mark(text.encode())
