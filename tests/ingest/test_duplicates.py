from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent import KnowledgeBase
from ragagent.cli import main
from ragagent.ingest import duplicates
from ragagent.testing.embedding import HashEmbedder
from ragagent.text import shingles
from ragagent.types import Document, Line


def words(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefgh", k=6)) for _ in range(count)]


def document(name: str, text: str) -> Document:
    return Document(text=text, uri=f"files:{name}")


def collection() -> list[Document]:
    base = words(1, 600)
    edited = [*base[:100], "amended", *base[101:], "and", "more"]
    footer = "Harbour Ferries Ltd, registered in Leith."
    pages = [document(f"page-{n:03}", " ".join(words(n + 10, 40)) + "\n" + footer) for n in range(30)]
    return [
        document("b", " ".join(base)),
        document("a", "\n".join(base).upper()),
        document("c", " ".join(edited)),
        document("other", " ".join(words(2, 600))),
        *pages,
    ]


def test_copies_and_versions_are_one_cluster_and_a_footer_is_reported() -> None:
    found = duplicates.find(collection)
    assert [cluster.members for cluster in found.clusters] == [("files:a", "files:b", "files:c")]
    assert not found.clusters[0].exact
    assert found.clusters[0].likeness >= duplicates.LEAST_LIKENESS
    assert found.boilerplate == (Line(text="Harbour Ferries Ltd, registered in Leith.", documents=30),)


def test_the_words_decide_what_is_exact() -> None:
    found = duplicates.find(lambda: collection()[:2])
    (cluster,) = found.clusters
    assert cluster.exact
    assert cluster.likeness == 1


def test_many_copies_of_one_document_make_no_boilerplate() -> None:
    copies = [document(str(n), "The keeper lives at Fidra.\n" + " ".join(words(3, 50))) for n in range(40)]
    found = duplicates.find(lambda: copies)
    assert found.boilerplate == ()
    assert [len(cluster.members) for cluster in found.clusters] == [40]


@settings(max_examples=5)
@given(st.randoms(use_true_random=False))
def test_the_report_does_not_depend_on_the_order(rng: random.Random) -> None:
    documents = collection()[:8]
    shuffled = rng.sample(documents, len(documents))
    assert duplicates.find(lambda: shuffled) == duplicates.find(lambda: documents)


def test_no_documents_have_no_duplicates() -> None:
    found = duplicates.find(list)
    assert (found.documents, found.clusters, found.boilerplate) == (0, (), ())


@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 300))
def test_signatures_agree_as_often_as_the_sets_do(shared: int, one: int, other: int) -> None:
    rng = np.random.default_rng(shared * 90001 + one * 301 + other)
    hashes = rng.integers(0, 2**63, shared + one + other, dtype=np.uint64)
    first, second = hashes[: shared + one], np.concatenate([hashes[:shared], hashes[shared + one :]])
    true = shared / (shared + one + other)
    estimate = duplicates.likeness(duplicates.signature(first), duplicates.signature(second))
    assert abs(estimate - true) < 0.25  # over five standard deviations


@given(st.text(max_size=80))
def test_shingles_are_the_same_whatever_the_case_and_the_blanks(text: str) -> None:
    spread = "\n ".join(shingles.words(text))
    assert shingles.said(spread).shingles == shingles.said(text).shingles
    assert shingles.said(text).share_in(shingles.said(text)) == 1


@pytest.mark.parametrize(
    "text", ["渡轮七点出发，中午之前没有别的班次。", "เรือออกเวลาเจ็ดโมง", "フェリーは七時に出発します"]
)
def test_scripts_without_blanks_have_shingles_too(text: str) -> None:
    assert len(shingles.said(text).shingles) > 5


def test_the_command_reports_clusters(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with KnowledgeBase.open(tmp_path, embedder=HashEmbedder()) as kb:
        kb.ingest(collection())
    for flags in (["--json"], []):
        with pytest.raises(SystemExit) as ended:
            main(["documents", "duplicates", "--kb", str(tmp_path), *flags])
        out, err = capfd.readouterr()
        assert ended.value.code == 0, err
        if flags:
            assert json.loads(out)["clusters"][0]["members"] == ["files:a", "files:b", "files:c"]
        else:
            assert "in 30 documents: Harbour Ferries" in out


def test_an_ingest_reports_the_clusters_and_the_boilerplate_of_what_it_brought(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for one in collection():
        (folder / f"{one.uri.removeprefix('files:')}.txt").write_text(one.text)
    with pytest.raises(SystemExit) as ended:
        main(["ingest", str(folder), "--kb", str(tmp_path / "kb"), "--report", str(tmp_path / "report.json")])
    out, err = capfd.readouterr()
    assert ended.value.code == 0, err
    assert "3 documents at least" in out
    assert "finds nothing, as it stands in 30 documents: Harbour Ferries Ltd" in out
    (report,) = json.loads((tmp_path / "report.json").read_text())
    (cluster,) = report["duplicates"]["clusters"]
    assert [Path(uri).name for uri in cluster["members"]] == ["a.txt", "b.txt", "c.txt"]
    assert report["duplicates"]["documents"] == 34
    assert report["duplicates"]["boilerplate"] == [
        {"text": "Harbour Ferries Ltd, registered in Leith.", "documents": 30}
    ]
    with KnowledgeBase.open(tmp_path / "kb") as kb:
        assert kb.ingest(folder).duplicates.documents == 0


def test_what_is_gathered_in_passing_is_what_is_found_in_all() -> None:
    documents = {one.id: one for one in collection()}
    gathered = duplicates.Gathered()
    for one in documents.values():
        gathered.add(Document(text="an earlier version", uri=one.uri))
        gathered.add(one)
    assert gathered.found(documents.get) == duplicates.find(documents.values)
