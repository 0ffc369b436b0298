"""The files inside a file, as documents of their own: one at a time, bounded over every level together."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from ragagent.connectors.readers.parsed import Member, Parsed
from ragagent.errors import ReadError, TooLarge
from ragagent.settings import IngestSettings
from ragagent.types import Document, Failure, inner_uri

MAX_DEPTH = 4
"""How many containers may stand inside one another: a message in a mailbox in an archive with an attached archive."""

MAX_MEMBERS = 50_000
MAX_UNPACKED_BYTES = 1024 * 1024 * 1024

ReadInner = Callable[[Member, bytes, str, Document], tuple[Document, Parsed]]
"""(member, its content, its uri, the document it is in) to its document and what it was made from."""

_UP = re.compile(r"^(?:[A-Za-z]:)?[\\/]+")
_MAX_PATH_CHARS = 1_000


@dataclass(slots=True)
class Inside:
    """Gathers what is inside one item. Failures and notes carry the uri of what they are about."""

    limits: IngestSettings
    read: ReadInner
    documents: list[Document] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bytes_left: int = field(default_factory=lambda: MAX_UNPACKED_BYTES)
    members_left: int = field(default_factory=lambda: MAX_MEMBERS)
    chars_left: int = 0

    def gather(self, parent: Document, parsed: Parsed, depth: int = 1) -> None:
        """Reads the members of `parent` and of what is in them. Never raises ReadError: what fails is kept by name."""
        self.chars_left = self.chars_left or self.limits.max_text_chars
        taken: set[str] = set()
        try:
            for member in parsed.inside():
                if depth > MAX_DEPTH:
                    raise TooLarge(f"archives more than {MAX_DEPTH} deep inside one another are not opened")
                if self.members_left <= 0 or self.bytes_left <= 0 or self.chars_left <= 0:
                    raise TooLarge("the rest of it is left out: too much is inside this file, or inside what is in it")
                self.members_left -= 1
                self._member(member, inner_uri(parent.uri, _free(neutral(member.path), taken)), parent, depth)
        except ReadError as error:
            self.failures.append(_failure(parent.uri, error))

    def _member(self, member: Member, uri: str, parent: Document, depth: int) -> None:
        try:
            content = member.open(min(self.limits.max_file_bytes, self.bytes_left))
            self.bytes_left -= len(content)
            document, parsed = self.read(member, content, uri, parent)
        except ReadError as error:
            self.failures.append(_failure(uri, error))
            return
        self.chars_left -= len(document.text)
        self.documents.append(document)
        self.notes.extend(f"{uri}: {note}" for note in parsed.notes)
        self.gather(document, replace(parsed, text="", blocks=()), depth + 1)


def content_of(uri: str, content: bytes, open_: Callable[[bytes, str], Parsed], name: str) -> bytes:
    """The content of what `uri` names inside a file of that name and content. Raises ReadError when it is not there."""
    for path in uri.split("!/")[1:]:
        taken: set[str] = set()
        found = next((one for one in open_(content, name).inside() if _free(neutral(one.path), taken) == path), None)
        if found is None:
            raise ReadError(f"{uri}: there is no {path} inside it any more")
        content, name = found.open(MAX_UNPACKED_BYTES), PurePosixPath(path).name
    return content


def neutral(path: str) -> str:
    """A path inside a container as a name: relative, without steps upwards, and without `!/`, which parts levels."""
    path = _UP.sub("", path.replace("\0", "")).replace("\\", "/").encode("utf-8", "replace").decode()
    parts = [part for part in PurePosixPath(path).parts if part not in {"..", ".", "/"}]
    return "/".join(parts).replace("!/", "%21/")[-_MAX_PATH_CHARS:] or "unnamed"


def _free(path: str, taken: set[str]) -> str:
    """`path`, or `path~2` and so on where that name has been given before."""
    name, number = path, 1
    while name in taken:
        number += 1
        name = f"{path}~{number}"
    taken.add(name)
    return name


def _failure(uri: str, error: ReadError) -> Failure:
    return Failure(uri=uri, reason=str(error), kind=type(error).__name__)
