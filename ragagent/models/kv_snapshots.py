"""States of sequences that the model has read, kept by their tokens within a bound of memory, and on disk if wanted."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

Tokens = npt.NDArray[np.int32]

_MAGIC = b"ragagent-kv-1\n"
_DIGEST_BYTES = 32
_MOST_FILES = 256
_ERASED = "erased"
"""The file that says when a folder was erased last: what was read before that may not be written there again."""
_OURS = re.compile(r"[0-9a-f]{32}\.kv|[0-9a-f]{16}\.part")


def erase(folder: Path) -> int:
    """Removes all states from a folder, and has every process that keeps some there forget what it has read.

    Returns how many there were. A process that is writing one meanwhile takes it away again by itself, and forgets the
    rest before its next prompt. Files of others are left alone.
    """
    if not folder.is_dir():
        return 0
    # The mark goes first: what is written after the files were listed is seen to be older than it.
    (folder / _ERASED).write_text(secrets.token_hex(16), encoding="ascii")
    gone = [file for file in folder.iterdir() if _OURS.fullmatch(file.name)]
    for file in gone:
        file.unlink(missing_ok=True)
    return len(gone)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state after `tokens`, as llama.cpp writes it."""

    tokens: Tokens
    data: bytes

    @property
    def size_bytes(self) -> int:
        return len(self.data) + self.tokens.nbytes


class Snapshots:
    """The snapshots of one model, the least recently used dropped first; those that memory has no room for go to disk.

    `key` names all that a state depends on beside its tokens: the model, its adapters, the form of the cache. Files of
    another key are not looked at; one that is damaged counts as not there and is removed.
    """

    def __init__(self, max_bytes: int, *, folder: Path | None = None, disk_bytes: int = 0, key: str = "") -> None:
        self._max_bytes = max_bytes
        self._kept: list[Snapshot] = []
        self._disk = _Disk(folder, disk_bytes, key) if folder is not None and disk_bytes > 0 else None

    @property
    def size_bytes(self) -> int:
        """What is kept in memory."""
        return sum(snapshot.size_bytes for snapshot in self._kept)

    def forgotten(self) -> bool:
        """Whether the folder was erased since this was asked last; then nothing is kept in memory either."""
        if self._disk is None or not self._disk.erased():
            return False
        self._kept.clear()
        return True

    def put(self, snapshot: Snapshot) -> None:
        """Keeps a snapshot; those that it continues are not needed any more."""
        self._kept = [one for one in self._kept if common_prefix(one.tokens, snapshot.tokens) < len(one.tokens)]
        self._kept.append(snapshot)
        while self.size_bytes > self._max_bytes:
            dropped = self._kept.pop(0)
            if self._disk is not None:
                self._disk.put(dropped)

    def holds(self, tokens: Sequence[int]) -> bool:
        """Whether a snapshot in memory begins with all of `tokens`."""
        return any(common_prefix(one.tokens, tokens) == len(tokens) for one in self._kept)

    def best(self, prompt: Sequence[int], *, more_than: int, whole: bool = False) -> Snapshot | None:
        """The snapshot that shares the longest beginning with `prompt`, of more than `more_than` tokens.

        `whole` asks for one whose tokens all stand there, for models that cannot drop the rest.
        """
        found, length, place = None, more_than, None
        wanted = np.asarray(prompt, dtype=np.int32)
        for snapshot in self._kept:
            shared = _shared(snapshot.tokens, wanted, whole)
            if shared > length:
                found, length = snapshot, shared
        for file, tokens in self._disk.known() if self._disk is not None else ():
            shared = _shared(tokens, wanted, whole)
            if shared > length:
                place, length = file, shared
        if place is not None and self._disk is not None:
            read = self._disk.read(place)
            found = read if read is not None else found
        elif found is not None:
            self._kept = [*(one for one in self._kept if one is not found), found]
        return found


class _Disk:
    """Snapshots as files, each with its checksum, the least recently used removed first."""

    def __init__(self, folder: Path, max_bytes: int, key: str) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._key = hashlib.sha256(key.encode()).digest()
        self._known: dict[Path, Tokens] = {}
        self._mark = self._read_mark()

    def erased(self) -> bool:
        """Whether the folder was erased since this was asked last, or since the beginning."""
        before, self._mark = self._mark, self._read_mark()
        return self._mark != before

    def put(self, snapshot: Snapshot) -> None:
        body = b"".join(
            [self._key, len(snapshot.tokens).to_bytes(4, "little"), snapshot.tokens.tobytes(), snapshot.data]
        )
        if len(body) > self._max_bytes:
            return
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = self._folder / f"{secrets.token_hex(8)}.part"
        try:
            with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
                stream.write(_MAGIC + hashlib.sha256(body).digest() + body)
            name = hashlib.sha256(self._key + snapshot.tokens.tobytes()).hexdigest()[:32]
            os.replace(aside, self._folder / f"{name}.kv")
            if self._read_mark() != self._mark:
                (self._folder / f"{name}.kv").unlink(missing_ok=True)
        except OSError:
            # A full disk costs reading the prompt once more, and nothing else.
            aside.unlink(missing_ok=True)
        self._shrink()

    def known(self) -> Iterator[tuple[Path, Tokens]]:
        """The files of this key with their tokens; each is opened once, and read no further than these."""
        there = sorted(self._folder.glob("*.kv"))[:_MOST_FILES]
        self._known = {file: tokens for file, tokens in self._known.items() if file in set(there)}
        for file in there:
            if file not in self._known:
                self._known[file] = self._tokens(file)
            if len(self._known[file]):
                yield file, self._known[file]

    def read(self, file: Path) -> Snapshot | None:
        """What a file holds; None for one that is gone, or damaged, which is removed."""
        try:
            content = file.read_bytes()
        except OSError:
            return None
        head = len(_MAGIC) + _DIGEST_BYTES
        body = content[head:]
        if content[:head] != _MAGIC + hashlib.sha256(body).digest() or body[:_DIGEST_BYTES] != self._key:
            file.unlink(missing_ok=True)
            return None
        os.utime(file)
        at = _DIGEST_BYTES + 4
        count = int.from_bytes(body[_DIGEST_BYTES:at], "little")
        tokens = np.frombuffer(body[at : at + 4 * count], dtype=np.int32)
        return Snapshot(tokens=tokens, data=body[at + 4 * count :])

    def _read_mark(self) -> str:
        try:
            return (self._folder / _ERASED).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return ""

    def _tokens(self, file: Path) -> Tokens:
        """The tokens that a file says it is for; none for a file of another key."""
        start = len(_MAGIC) + _DIGEST_BYTES
        try:
            with file.open("rb") as stream:
                head = stream.read(start + _DIGEST_BYTES + 4)
                count = int.from_bytes(head[start + _DIGEST_BYTES :], "little")
                if head[: len(_MAGIC)] != _MAGIC or head[start : start + _DIGEST_BYTES] != self._key:
                    return np.empty(0, dtype=np.int32)
                data = stream.read(min(4 * count, self._max_bytes))
        except OSError:
            return np.empty(0, dtype=np.int32)
        return np.frombuffer(data[: len(data) // 4 * 4], dtype=np.int32)

    def _shrink(self) -> None:
        sizes = []
        for file in self._folder.glob("*.kv"):
            try:
                facts = file.stat()
            except OSError:
                continue
            sizes.append((facts.st_mtime_ns, facts.st_size, file))
        total = sum(size for _, size, _ in sizes)
        for at, (_, size, file) in enumerate(sorted(sizes)):
            if total <= self._max_bytes and len(sizes) - at <= _MOST_FILES:
                return
            file.unlink(missing_ok=True)
            total -= size


def common_prefix(first: Sequence[int] | Tokens, second: Sequence[int] | Tokens) -> int:
    """How many tokens two sequences begin with alike."""
    length = min(len(first), len(second))
    differs = np.asarray(first[:length]) != np.asarray(second[:length])
    return int(differs.argmax()) if differs.any() else length


def _shared(tokens: Tokens, prompt: Tokens, whole: bool) -> int:
    shared = common_prefix(tokens, prompt)
    return 0 if whole and shared < len(tokens) else shared
