"""The long run of `python -m ragagent.testing.ingest_kills`, in short."""

from __future__ import annotations

from pathlib import Path

from ragagent import KnowledgeBase
from ragagent.testing.embedding import HashEmbedder
from ragagent.testing.ingest_kills import HASH, SETTINGS, Kills, State, state_of, write_files


def _state(path: Path, folder: Path) -> State:
    with KnowledgeBase.open(path, settings=SETTINGS, embedder=HashEmbedder()) as kb:
        assert kb.ingest(folder).failed == 0
        return state_of(kb)


def test_an_ingest_killed_at_any_moment_ends_as_one_that_was_not(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write_files(folder, 40)
    found = Kills(tmp_path, folder, HASH, seed=3).run(3)
    assert found["documents"] == 40 + 2 * 4
    assert found["kills"] == 3


def test_states_differ_where_a_word_does(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    write_files(folder, 3)
    before = _state(tmp_path / "a", folder)
    (changed,) = folder.glob("*00002.txt")
    changed.write_text(changed.read_text().replace("part 1", "part one"))
    after = _state(tmp_path / "b", folder)
    assert before.documents.keys() == after.documents.keys()
    assert [uri for uri, digest in before.documents.items() if after.documents[uri] != digest] == [changed.as_uri()]
    assert before.vectors.tolist() != after.vectors.tolist()
