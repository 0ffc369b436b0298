"""Files that clients send, kept in the folder of the knowledge base, each principal's in a folder of its own."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ragagent.access import PUBLIC, USER, Principal, acl_of
from ragagent.connectors.files import FilesConnector, NarrowedFiles, file_path, file_uri
from ragagent.errors import ConfigError
from ragagent.serve.http.errors import Refusal
from ragagent.settings import IngestSettings
from ragagent.types import digest, root_uri

FOLDER = "uploads"
_MOST_PARTS = 12
_MOST_BYTES = 180
_SEPARATOR = re.compile(r"[/\\]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The folder that a client's files go to, and who may read them where the client does not say."""

    folder: Path
    names: tuple[str, ...] | None
    """What the client may give its files to; None is anybody."""
    readers: tuple[str, ...] | None

    def path(self, name: str) -> Path:
        """Where the file of that name goes, below the folder whatever the name says. Raises Refusal for no name."""
        return self.folder.joinpath(*safe_parts(name))

    def acl(self, given: Sequence[str] | None) -> tuple[str, ...] | None:
        """Who may read the files. Raises Refusal where the client gives them to somebody that it is not."""
        if given is None:
            return self.readers
        try:
            chosen = acl_of(list(given))
        except ConfigError as error:
            raise Refusal(400, "invalid_value", str(error), param="acl") from error
        if self.names is not None and (not chosen or not set(chosen) <= set(self.names)):
            raise Refusal(403, "access_denied", f"acl: give it of your own names: {', '.join(self.names)}", param="acl")
        return chosen

    def holds(self, uri: str) -> Path | None:
        """The file of a document that came in with this space; None for every other document."""
        root = root_uri(uri)
        if not root.startswith(file_uri(os.path.realpath(self.folder)) + "/"):
            return None
        return Path(file_path(root))

    def connector(self, places: Sequence[Path], settings: IngestSettings) -> NarrowedFiles:
        """The source that is those files alone; its name is that of the folder."""
        files = FilesConnector(self.folder, settings=settings)
        root = Path(os.path.realpath(self.folder))
        return files.narrowed([str(root / place.relative_to(self.folder)) for place in places])


def space_of(kb_folder: Path, principal: Principal | None) -> Space:
    """The space of a principal; that of the owner is `uploads/owner`."""
    root = kb_folder.absolute() / FOLDER
    if principal is None:
        return Space(folder=root / "owner", names=None, readers=None)
    own = tuple(name for name in principal.names if name != PUBLIC) or (PUBLIC,)
    user = [name for name in own if name.startswith(USER)]
    return Space(folder=root / digest(*(user or own)), names=principal.names, readers=tuple(user) or own)


def safe_parts(name: str) -> tuple[str, ...]:
    """A file name from anywhere as the parts of a path that stays where it is put and that no walk passes over.

    Raises Refusal for a name that is empty, too deep, or tries to lead elsewhere.
    """
    parts = [part for part in _SEPARATOR.split(unicodedata.normalize("NFC", name)) if part not in ("", ".")]
    if not parts or len(parts) > _MOST_PARTS:
        raise Refusal(400, "invalid_name", f"a file name has 1 to {_MOST_PARTS} parts: {name!r:.100}", param="files")
    if ".." in parts or re.match(r"[A-Za-z]:", parts[0]):
        raise Refusal(400, "invalid_name", f"a file name leads nowhere else: {name!r:.100}", param="files")
    return tuple(map(_safe, parts))


def _safe(part: str) -> str:
    # `!` may stand before a separator, where it would part what is inside a document from the document.
    printable = "".join(one if one.isprintable() and one != "!" else "_" for one in part).strip()
    shown = "_" + printable.lstrip(".") if printable.startswith(".") else printable
    stem, dot, ending = shown.rpartition(".")
    room = _MOST_BYTES - len(ending.encode("utf-8", "replace")) - 1
    if dot and room > 20:
        return _cut(stem, room) + "." + ending
    return _cut(shown, _MOST_BYTES) or "_"


def _cut(text: str, most: int) -> str:
    return text.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
