"""Documents that were removed, kept for a time so that it can be undone."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent.atomic import placed
from ragagent.jsonable import jsonable
from ragagent.serve.http.errors import Refusal
from ragagent.types import Block, Document, Span

FOLDER = "serve/trash"
KEPT_S = 7 * 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What was removed together: a document with all that was inside it, and the uploaded file, if it came as one."""

    id: str
    client: str
    principal: tuple[str, ...] | None
    removed_at: float
    until: float
    uri: str
    title: str
    acl: tuple[str, ...]
    file: str | None
    documents: int


class Trash:
    """A folder for each removal. Used from one thread at a time for each id."""

    def __init__(self, kb_folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._folder = kb_folder / FOLDER
        self._clock = clock

    def keep(
        self, documents: Sequence[Document], *, client: str, principal: tuple[str, ...] | None, file: Path | None
    ) -> Removed:
        """Notes documents that are about to be removed, the first one with what is inside it. On disk on return."""
        self.sweep()
        now = self._clock()
        first = documents[0]
        removed = Removed(
            id=secrets.token_hex(8),
            client=client,
            principal=principal,
            removed_at=now,
            until=now + KEPT_S,
            uri=first.uri,
            title=first.title,
            acl=first.acl,
            file=None if file is None else str(file),
            documents=len(documents),
        )
        with placed(self._folder / removed.id / "documents.json") as stored:
            stored.write(json.dumps(jsonable(list(documents)), ensure_ascii=True).encode())
        with placed(self._folder / removed.id / "removed.json") as stored:
            stored.write(json.dumps(jsonable(removed)).encode())
        return removed

    def take_file(self, removed: Removed) -> None:
        """Moves the uploaded file away, so that no ingest brings it in again."""
        if removed.file is not None:
            with contextlib.suppress(FileNotFoundError):
                os.replace(removed.file, self._folder / removed.id / "file")

    def give_file(self, removed: Removed) -> None:
        """Puts the uploaded file back. Raises Refusal where another one has taken its place."""
        kept = self._folder / removed.id / "file"
        if removed.file is None or not kept.exists():
            return
        target = Path(removed.file)
        if target.exists():
            raise Refusal(409, "taken", f"another file was uploaded as {target.name} meanwhile; remove that first")
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(kept, target)

    def documents(self, removed: Removed) -> list[Document]:
        """The documents, as they were."""
        rows = json.loads((self._folder / removed.id / "documents.json").read_text("utf-8"))
        return [_document(row) for row in rows]

    def get(self, identifier: str) -> Removed | None:
        """What was removed under that id, unless its time is over."""
        if not identifier.isalnum():
            return None
        found = _read(self._folder / identifier / "removed.json")
        return found if found is not None and self._clock() < found.until else None

    def list(self) -> list[Removed]:
        """All that can be undone, the latest first."""
        folders = self._folder.iterdir() if self._folder.is_dir() else ()
        found = [removed for folder in folders if (removed := self.get(folder.name)) is not None]
        return sorted(found, key=lambda removed: (-removed.removed_at, removed.id))

    def drop(self, removed: Removed) -> None:
        """Forgets it."""
        shutil.rmtree(self._folder / removed.id, ignore_errors=True)

    def sweep(self) -> None:
        """Forgets what is over its time."""
        for folder in list(self._folder.iterdir()) if self._folder.is_dir() else ():
            found = _read(folder / "removed.json")
            if found is not None and self._clock() >= found.until:
                self.drop(found)


def _read(file: Path) -> Removed | None:
    try:
        row = json.loads(file.read_text("utf-8"))
        names = row["principal"]
        return Removed(**{**row, "acl": tuple(row["acl"]), "principal": None if names is None else tuple(names)})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _document(row: Mapping[str, Any]) -> Document:
    blocks = tuple(Block(**{**block, "span": Span(*block["span"])}) for block in row["blocks"])
    return Document(**{**row, "blocks": blocks, "acl": tuple(row["acl"])})
