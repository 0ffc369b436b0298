from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.app import KnowledgeBase
from ragagent.connectors.files import FilesConnector, file_path
from ragagent.connectors.watch import Settling, Watch
from ragagent.errors import ConfigError, ConnectorError
from ragagent.protocols import SourceItem
from ragagent.testing.embedding import HashEmbedder
from ragagent.types import IngestReport

_NAMES = (
    "a.txt",
    "b.md",
    "sub/a.txt",
    "sub/deep/c.txt",
    "sub/.hidden/x.txt",
    "other/d.log",
    ".gitignore",
    "sub/.gitignore",
)
_PLACES = ("a.txt", "sub", "sub/deep", "sub/deep/c.txt", "other", "other/d.log", "gone/x.txt", "sub/gone")


class _World:
    """A clock and files that change when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.files: dict[str, tuple[int, int, int]] = {}

    def look(self, path: str) -> tuple[int, int, int] | None:
        return self.files.get(path)

    def write(self, path: str) -> None:
        self.files[path] = (len(self.files), int(self.now * 1000), 1)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["/a", "/b", "/d/c"]), st.booleans(), st.sampled_from([0.1, 0.4, 1.0, 3.0])),
        max_size=30,
    )
)
def test_no_path_is_given_before_it_is_at_rest_and_none_is_lost(steps: list[tuple[str, bool, float]]) -> None:
    world = _World()
    settling = Settling(1.0, max_wait_s=5.0, look=world.look, clock=lambda: world.now)
    changed: dict[str, float] = {}
    noted: set[str] = set()
    for path, is_told, pause in steps:
        world.write(path)
        if is_told or path not in noted:
            settling.note([path])
        noted.add(path)
        changed[path] = world.now
        world.now += pause
        for ready in settling.ready():
            assert world.now - changed[ready] >= min(1.0, pause)
            noted.discard(ready)
    given: set[str] = set()
    for pause in (0.0, 1.0, 5.0):
        world.now += pause
        given.update(settling.ready())
    assert given == noted
    assert settling.ready() == []


def test_many_changes_become_one_batch_and_a_restless_file_holds_up_nothing_for_ever() -> None:
    world = _World()
    settling = Settling(1.0, max_wait_s=10.0, look=world.look, clock=lambda: world.now)
    world.write("/a")
    world.write("/log")
    settling.note(["/a", "/log", "/"])
    given_at = []
    for _ in range(24):
        world.now += 0.5
        world.write("/log")
        ready = settling.ready()
        if ready:
            given_at.append((world.now, ready))
    assert given_at == [(10.0, ["/a"])]
    world.now += 1.0
    assert settling.ready() == ["/", "/log"]


@given(
    there=st.sets(st.sampled_from(_NAMES)),
    places=st.sets(st.sampled_from(_PLACES), min_size=1),
    rules=st.sampled_from(["*.txt", "deep/", "!a.txt\n*.log", "/a.txt"]),
)
@settings(max_examples=60)
def test_some_places_of_a_folder_hold_what_the_whole_holds_there(there: set[str], places: set[str], rules: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name).resolve()
        for path in there | {"kept.txt"}:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(rules)
        connector = FilesConnector(root)
        wanted = [str(root / place) for place in places]
        found = list(connector.narrowed(wanted).items())
        assert found == [
            item
            for item in connector.items()
            if any(file_path(item.uri) == place or file_path(item.uri).startswith(place + "/") for place in wanted)
        ]


def test_only_the_folders_on_the_way_to_a_change_are_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a/b/c.txt", "a/d.txt", "other/e.txt", "other/deep/f.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Text.")
    opened: list[str] = []
    real = os.scandir

    def scandir(path: Any) -> Any:
        opened.append(os.path.relpath(path, tmp_path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    narrowed = FilesConnector(tmp_path).narrowed([str(tmp_path / "a/b/c.txt")])
    assert len(list(narrowed.items())) == 1
    assert opened == ["."]


def test_a_folder_that_is_gone_or_empty_is_no_change(tmp_path: Path) -> None:
    root = tmp_path / "box"
    root.mkdir()
    narrowed = FilesConnector(root).narrowed([str(root / "a.txt")])
    with pytest.raises(ConnectorError, match="empty"):
        list(narrowed.items())
    root.rmdir()
    with pytest.raises(ConnectorError, match="nothing was removed"):
        list(narrowed.items())


class Watched:
    """A knowledge base that follows a folder in a thread of its own."""

    def __init__(self, kb: KnowledgeBase, *sources: Path, **options: Any) -> None:
        self.kb = kb
        self.reports: list[IngestReport] = []
        self._told = threading.Condition()
        self._stop = threading.Event()
        options = {"settle_s": 0.15, "stop": self._stop, **options}
        self._thread = threading.Thread(target=self._run, args=(sources, options))
        self._thread.start()

    def _run(self, sources: tuple[Path, ...], options: dict[str, Any]) -> None:
        for _, report in self.kb.watch(*sources, **options):
            with self._told:
                self.reports.append(report)
                self._told.notify_all()

    def wait(self, condition: Any) -> None:
        """Waits until the reports so far fulfil a condition."""
        with self._told:
            assert self._told.wait_for(lambda: condition(self.reports), timeout=60), self.reports

    def texts(self) -> list[str]:
        return sorted(document.text for document in self.kb.documents())

    def settles_to(self, *texts: str) -> None:
        self.wait(lambda _: self.texts() == sorted(texts))

    def close(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def kb(tmp_path: Path) -> Iterator[KnowledgeBase]:
    with KnowledgeBase.open(tmp_path / "kb", embedder=HashEmbedder(16)) as opened:
        yield opened


@pytest.fixture(params=["told", "polling"])
def watched(request: pytest.FixtureRequest, kb: KnowledgeBase, tmp_path: Path) -> Iterator[tuple[Path, Watched]]:
    root = tmp_path / "box"
    root.mkdir()
    (root / "a.txt").write_text("Bees dance.")
    (root / "b.txt").write_text("Ants follow scent.")
    following = Watched(kb, root, polling=request.param == "polling")
    try:
        following.wait(lambda reports: reports)
        yield root, following
    finally:
        following.close()


def test_changes_moves_and_deletes_are_followed(watched: tuple[Path, Watched]) -> None:
    root, following = watched
    assert following.reports[0].added == 2
    (root / "a.txt").write_text("Bees hum.")
    (root / "sub/deep").mkdir(parents=True)
    (root / "sub/deep/c.txt").write_text("Whales sing.")
    (root / "new.tmp").write_text("Moths fly at night.")
    os.replace(root / "new.tmp", root / "d.txt")
    following.settles_to("Bees hum.", "Ants follow scent.", "Whales sing.", "Moths fly at night.")
    (root / "b.txt").unlink()
    (root / "sub").rename(root / "moved")
    following.settles_to("Bees hum.", "Whales sing.", "Moths fly at night.")
    assert {Path(file_path(document.uri)).name for document in following.kb.documents()} == {"a.txt", "c.txt", "d.txt"}
    assert any("moved/deep" in document.uri for document in following.kb.documents())
    (root / ".gitignore").write_text("moved/\n")
    following.settles_to("Bees hum.", "Moths fly at night.")
    (root / ".gitignore").unlink()
    following.settles_to("Bees hum.", "Whales sing.", "Moths fly at night.")


def test_a_source_that_empties_or_vanishes_keeps_its_documents(watched: tuple[Path, Watched]) -> None:
    root, following = watched
    for name in ("a.txt", "b.txt"):
        (root / name).unlink()
    following.wait(lambda reports: "empty" in reports[-1].failures[0].reason if reports[-1].failures else False)
    assert len(following.texts()) == 2
    (root / "c.txt").write_text("Whales sing.")
    following.settles_to("Whales sing.")
    shutil.move(root, root.with_name("away"))
    following.wait(lambda reports: any("gone" in failure.reason for failure in reports[-1].failures))
    assert following.texts() == ["Whales sing."]
    (root.with_name("away") / "d.txt").write_text("Moths fly.")
    shutil.move(root.with_name("away"), root)
    following.settles_to("Whales sing.", "Moths fly.")


def test_a_file_is_read_only_when_it_is_complete(kb: KnowledgeBase, tmp_path: Path) -> None:
    root = tmp_path / "box"
    root.mkdir()
    (root / "first.txt").write_text("There already.")
    following = Watched(kb, root, settle_s=1.5)
    try:
        following.wait(lambda reports: reports)
        pause = threading.Event()
        with (root / "slow.txt").open("w") as file:
            for number in range(12):
                file.write(f"Line {number}.\n")
                file.flush()
                pause.wait(0.1)
        following.wait(lambda reports: sum(report.added for report in reports) == 2)
    finally:
        following.close()
    brought = [report for report in following.reports if report.added or report.updated]
    assert len(brought) == 2
    assert any("Line 0." in text and "Line 11." in text for text in following.texts())


def test_many_files_at_once_are_one_ingest(kb: KnowledgeBase, tmp_path: Path) -> None:
    root = tmp_path / "box"
    root.mkdir()
    following = Watched(kb, root, settle_s=1.5)
    try:
        following.wait(lambda reports: reports)
        for number in range(200):
            (root / f"{number}.txt").write_text(f"Text {number}.")
        following.wait(lambda reports: sum(report.added for report in reports) == 200)
    finally:
        following.close()
    assert len([report for report in following.reports if report.added]) <= 3


def test_a_single_file_is_followed_through_replacement(kb: KnowledgeBase, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("Bees dance.")
    following = Watched(kb, path)
    try:
        following.settles_to("Bees dance.")
        (tmp_path / "next").write_text("Bees hum.")
        os.replace(tmp_path / "next", path)
        following.settles_to("Bees hum.")
        path.unlink()
        following.wait(lambda reports: any("gone" in failure.reason for failure in reports[-1].failures))
        assert following.texts() == ["Bees hum."]
    finally:
        following.close()


def test_only_paths_that_are_there_can_be_watched(kb: KnowledgeBase, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="only files and folders"):
        next(kb.watch("https://example.org/"))
    with pytest.raises(ConnectorError, match="missing"):
        next(kb.watch(tmp_path / "missing"))


def test_where_the_kernel_tells_nothing_folders_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import watchfiles

    def no_room(*folders: str, **options: Any) -> Iterator[Any]:
        raise OSError(28, "No space left on device (inotify watches)")
        yield

    monkeypatch.setattr(watchfiles, "watch", no_room)
    (tmp_path / "a.txt").write_text("Text.")
    watch = Watch([FilesConnector(tmp_path)], settle_s=0.05, poll_s=0.05)
    assert watch.polls
    (tmp_path / "b.txt").write_text("Text.")
    batches = watch.changes()
    found = next(batch for batch in batches if batch)
    assert [places for _, places in found] == [(str(tmp_path / "b.txt"),)]
    watch.close()
    items = [item for item in found[0][0].narrowed(found[0][1]).items() if isinstance(item, SourceItem)]
    assert [file_path(item.uri) for item in items] == [str(tmp_path / "b.txt")]


def test_that_folders_are_walked_is_told(kb: KnowledgeBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import watchfiles

    monkeypatch.setattr(watchfiles, "watch", lambda *folders, **options: iter(()))
    (tmp_path / "box").mkdir()
    (tmp_path / "box/a.txt").write_text("Text.")
    said: list[str] = []

    class Listening:
        def update(self, stage: str, done: int, total: int | None, detail: str = "") -> None:
            said.extend([detail] if stage == "watch" else [])

    next(kb.watch(tmp_path / "box", progress=Listening()))
    assert len(said) == 1
    assert "walking every 2 s" in said[0]


def test_a_name_that_is_not_utf8_is_followed(watched: tuple[Path, Watched]) -> None:
    root, following = watched
    path = os.fsencode(root) + b"/caf\xe9.txt"
    with open(path, "wb") as file:
        file.write(b"Coffee is served.")
    following.settles_to("Bees dance.", "Ants follow scent.", "Coffee is served.")
    os.unlink(path)
    following.settles_to("Bees dance.", "Ants follow scent.")
