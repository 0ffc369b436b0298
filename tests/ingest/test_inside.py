"""What is inside a file comes, changes, stays and goes with it, whatever the history of archives and mailboxes."""

from __future__ import annotations

import io
import itertools
import mailbox
import zipfile
from collections.abc import Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ragagent import KnowledgeBase
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import inner_uri

DAMAGED = b"%PDF-1.7 and nothing after it"
NAMES = ("a.txt", "d/b.txt", "d/c.md", "in.zip!/x.txt", "in.zip!/y.txt")
MEMBERS = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["one", "two", "damaged"]), max_size=5)
_turn = itertools.count()


@pytest.fixture(scope="module")
def kb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path_factory.mktemp("kb"), embedder=HashEmbedder()) as opened:
        yield opened


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


def content(name: str, version: str) -> bytes:
    return DAMAGED if version == "damaged" else f"Version {version} of what is called {name}.".encode()


def dated(name: str) -> zipfile.ZipInfo:
    """An entry with a time of its own, so that an archive does not depend on when it was made."""
    return zipfile.ZipInfo(name, (2025, 4, 1, 10, 0, 0))


def archive(members: Mapping[str, str]) -> bytes:
    """A ZIP archive; names with `!/` are put into an archive within it."""
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as file:
        file.writestr(dated("always.txt"), "An archive always holds this.")
        inner = {name.partition("!/")[2]: version for name, version in members.items() if "!/" in name}
        for name, version in members.items():
            if "!/" not in name:
                file.writestr(dated(name), content(name, version))
        if inner:
            within = io.BytesIO()
            with zipfile.ZipFile(within, "w") as second:
                for name, version in inner.items():
                    second.writestr(dated(name), content(f"in.zip!/{name}", version))
            file.writestr(dated("in.zip"), within.getvalue())
    return outer.getvalue()


def inside(kb: KnowledgeBase, path: Path) -> dict[str, str]:
    """The texts of what was brought in from inside a file, by the way to it."""
    start = inner_uri(path.as_uri(), "")
    return {one.uri[len(start) :]: one.text for one in kb.documents() if one.uri.startswith(start)}


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(MEMBERS, min_size=1, max_size=4), pruning=st.booleans())
@example(rounds=[{"a.txt": "one"}, {"a.txt": "damaged"}, {}], pruning=False)
def test_an_archive_holds_the_last_readable_version_of_what_is_in_it(
    kb: KnowledgeBase, place: Path, rounds: list[dict[str, str]], pruning: bool
) -> None:
    folder = place / str(next(_turn))
    folder.mkdir()
    path, expected = folder / "files.zip", dict[str, str]()
    for members in rounds:
        path.write_bytes(archive(members))
        report = kb.ingest(folder, prune=pruning)
        damaged = {name for name, version in members.items() if version == "damaged"}
        expected = {name: text for name, text in expected.items() if name in damaged}
        expected |= {name: content(name, members[name]).decode() for name in members if name not in damaged}
        assert _own(inside(kb, path)) == expected
        assert {failure.uri for failure in report.failures} == {inner_uri(path.as_uri(), name) for name in damaged}
        assert kb.ingest(folder, prune=pruning).unchanged == 1
    path.write_bytes(b"")
    assert kb.ingest(folder, prune=True).failed == 1
    assert _own(inside(kb, path)) == expected
    path.unlink()
    (folder / "other.txt").write_text("So that the folder is not empty.")
    kb.ingest(folder, prune=True)
    assert inside(kb, path) == {}


def test_a_member_that_moves_within_its_archive_is_not_embedded_again(kb: KnowledgeBase, place: Path) -> None:
    path = place / "moved.zip"
    path.write_bytes(archive({"a.txt": "one", "d/b.txt": "two"}))
    kb.ingest(path)
    path.write_bytes(archive({"d/b.txt": "two", "a.txt": "one"}))
    moved = kb.ingest(path)
    # The archive's own page lists what is in it, in its order.
    assert (moved.added, moved.updated, moved.embedded) == (0, 1, 1)
    path.write_bytes(archive({"d/b.txt": "two", "a.txt": "two"}))
    report = kb.ingest(path)
    assert (report.added, report.updated, report.removed, report.embedded) == (0, 1, 0, 1)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kept=st.lists(st.sets(st.integers(0, 5), min_size=1), min_size=1, max_size=3))
def test_a_mailbox_holds_its_messages_and_what_is_attached_to_them(
    kb: KnowledgeBase, place: Path, kept: list[set[int]]
) -> None:
    path = place / f"box{next(_turn)}.mbox"
    for numbers in kept:
        path.unlink(missing_ok=True)
        _write_mailbox(path, sorted(numbers))
        report = kb.ingest(path)
        assert report.failed == 0
        texts = list(inside(kb, path).values())
        for number in range(6):
            wanted = number in numbers
            assert any(f"letter number {number}" in text for text in texts) == wanted
            assert any(f"note attached to {number}" in text for text in texts) == (wanted and number % 2 == 0)


def _own(texts: Mapping[str, str]) -> dict[str, str]:
    """Without the file that is always there, and the pages that list what an inner archive holds."""
    return {name: text for name, text in texts.items() if name in NAMES}


def _write_mailbox(path: Path, numbers: list[int]) -> None:
    box = mailbox.mbox(path)
    for number in numbers:
        message = EmailMessage()
        message["Subject"], message["From"], message["To"] = f"Letter {number}", "a@example.org", "b@example.org"
        message["Message-ID"] = f"<{number}@example.org>"
        message["Date"] = "Tue, 01 Apr 2025 10:00:00 +0000"
        message.set_content(f"This is letter number {number}.\n")
        if number % 2 == 0:
            message.add_attachment(f"A note attached to {number}.\n".encode(), "text", "plain", filename="note.txt")
        box.add(message)
    box.close()
