from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.eval import datasets
from ragagent.types import Span


def write(path: Path, rows: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8", newline="\n")
    return path


ENCODABLE = st.text(st.characters(codec="utf-8"))  # a lone surrogate has no UTF-8 form


@settings(max_examples=60)
@given(text=ENCODABLE, title=ENCODABLE)
def test_every_text_comes_back_as_it_was_written(
    text: str, title: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("set")
    row = json.dumps({"id": "a", "title": title, "text": text}, ensure_ascii=False)
    (folder / "documents.jsonl").write_bytes(f"{row}\n\n".encode())
    (document,) = datasets.documents(folder)
    assert (document.id, document.title, document.text) == ("a", title, text)


@settings(max_examples=60)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_the_name_of_the_file(
    data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("set")
    (folder / "qa.jsonl").write_bytes(data)
    message = ""
    try:
        datasets.questions(folder)
    except ConfigError as error:
        message = str(error)
    assert not message or "qa.jsonl" in message


@pytest.mark.parametrize(
    ("name", "rows", "message"),
    [
        ("queries", [{"id": "1", "text": "x"}, ["no"]], r"queries\.jsonl, line 2: must be a JSON object, not list"),
        ("queries", [{"id": "1"}], r"line 1: 'text' is missing; it must be text"),
        ("queries", [{"id": "", "text": "x"}], r"line 1: 'id' is ''; it must be text that is not empty"),
        ("queries", [{"id": "1", "text": "x"}] * 2, r"the id '1' occurs twice"),
        ("qrels", [{"qid": "1", "docid": "d", "score": True}], r"'score' is True; it must be a whole number"),
        ("qrels", [{"qid": "1", "docid": "d", "score": 1}] * 2, r"query '1' judges document 'd' twice"),
        ("qa", [{"id": "1", "question": "x", "answers": "y"}], r"'answers' is 'y'; it must be a list of texts"),
        ("qa", [{"id": "1", "question": "x", "is_impossible": 1}], r"'is_impossible' is 1; it must be true or false"),
        ("qa", [{"id": "1", "question": "x", "excerpts": [1]}], r"'excerpts' is \[1\]; it must be a list of objects"),
        (
            "qa",
            [{"id": "1", "question": "x", "excerpts": [{"content": "c", "start_index": 5, "end_index": 5}]}],
            r"line 1, excerpts\[0\]: 'end_index' is 5; it must be greater than start_index, which is 5",
        ),
        ("documents", [{"id": "1", "text": "x"}] * 2, r"the document id '1' occurs twice"),
        ("documents", [{"id": "1", "text": None}], r"line 1: 'text' is None; it must be text"),
        ("manifest", [{"path": "../x", "kind": "pdf", "expect": "ok"}], r"'\.\./x' leads out of the folder"),
    ],
)
def test_a_malformed_line_is_named_with_file_line_and_key(
    tmp_path: Path, name: str, rows: list[Any], message: str
) -> None:
    write(tmp_path / f"{name}.jsonl", rows)
    readers = {
        "queries": datasets.queries,
        "qrels": datasets.qrels,
        "qa": datasets.questions,
        "documents": lambda folder: list(datasets.documents(folder)),
        "manifest": lambda folder: list(datasets.files(folder)),
    }
    with pytest.raises(ConfigError, match=message):
        readers[name](tmp_path)


def test_broken_json_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "qa.jsonl").write_text('{"id": "1", "question": "x"}\n{"id": \n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"qa\.jsonl, line 2: not a JSON object"):
        datasets.questions(tmp_path)
    with pytest.raises(ConfigError, match=r"queries\.jsonl: cannot be read"):
        datasets.queries(tmp_path)


def test_deep_nesting_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "qa.jsonl").write_text("[" * 200_000 + "\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="line 1: not a JSON object"):
        datasets.questions(tmp_path)


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "MAX_LINE_CHARS", 100)
    write(tmp_path / "queries.jsonl", [{"id": "1", "text": "x" * 200}])
    with pytest.raises(ConfigError, match="line 1: longer than 100 characters"):
        datasets.queries(tmp_path)


def test_documents_are_read_one_at_a_time(tmp_path: Path) -> None:
    write(tmp_path / "documents.jsonl", [{"id": "1", "text": "good"}, {"id": "2"}])
    stream = datasets.documents(tmp_path)
    assert next(stream).text == "good"
    with pytest.raises(ConfigError, match="line 2"):
        next(stream)


def test_the_source_is_records_or_a_folder_or_nothing(tmp_path: Path) -> None:
    assert datasets.source(tmp_path) is None
    (tmp_path / "docs").mkdir()
    assert datasets.source(tmp_path) == tmp_path / "docs"
    write(tmp_path / "documents.jsonl", [{"id": "1", "text": "x", "year": 1999, "tags": ["dropped"]}])
    (document,) = datasets.source(tmp_path)  # type: ignore[misc]
    assert dict(document.metadata) == {"year": 1999}


def test_numbers_are_accepted_as_ids_and_negative_gains_are_0(tmp_path: Path) -> None:
    write(tmp_path / "qrels.jsonl", [{"qid": 1, "docid": 2, "score": -1}, {"qid": "1", "docid": "3", "score": 2}])
    assert datasets.qrels(tmp_path) == {"1": {"2": 0, "3": 2}}


# The published sets


@pytest.mark.parametrize(("name", "counts"), [("adi", (82, 35, 170)), ("cranfield", (1400, 225, 1837))])
def test_a_retrieval_set_has_the_counts_it_states(shared_data: Path, name: str, counts: tuple[int, int, int]) -> None:
    folder = shared_data / name
    ids = {document.id for document in datasets.documents(folder)}
    judged = datasets.qrels(folder)
    assert (len(ids), len(datasets.queries(folder)), sum(map(len, judged.values()))) == counts
    assert all(ids.issuperset(row) for row in judged.values())


@pytest.mark.parametrize("name", ["squad_v2.0_dev", "xquad/en", "xquad/zh", "hotpotqa_100"])
def test_a_question_set_refers_to_documents_it_has(shared_data: Path, name: str) -> None:
    ids = {document.id for document in datasets.documents(shared_data / name)}
    asked = datasets.questions(shared_data / name)
    assert asked
    assert all(ids.issuperset(question.document_ids) for question in asked)
    assert all(question.impossible == (not question.answers) for question in asked)


def test_answers_of_squad_stand_in_their_paragraph(shared_data: Path) -> None:
    folder = shared_data / "squad_v2.0_dev"
    texts = {document.id: document.text for document in datasets.documents(folder)}
    for question in datasets.questions(folder):
        for answer in question.answers:
            assert any(answer in texts[item] for item in question.document_ids)


def test_excerpts_stand_at_their_offsets(shared_data: Path) -> None:
    folder = shared_data / "chunking_eval"
    texts = {document.id: document.text for document in datasets.documents(folder)}
    excerpts = [(q.document_ids[0], item) for q in datasets.questions(folder) for item in q.excerpts]
    assert excerpts
    assert all(item.span.of(texts[name]) == item.text for name, item in excerpts)
    assert isinstance(excerpts[0][1].span, Span)


def test_a_set_of_questions_can_come_without_documents_or_with_files(shared_data: Path) -> None:
    assert datasets.source(shared_data / "nq_open_dev") is None
    assert datasets.questions(shared_data / "nq_open_dev")
    assert datasets.source(shared_data / "sec_10q_pdf") == shared_data / "sec_10q_pdf" / "docs"
    names = {path.name for path in (shared_data / "sec_10q_pdf" / "docs").iterdir()}
    assert all(names.issuperset(q.document_ids) for q in datasets.questions(shared_data / "sec_10q_pdf"))


def test_every_messy_file_is_there(shared_data: Path) -> None:
    cases = list(datasets.files(shared_data / "messy_docs"))
    assert cases
    assert all(case.path.is_file() for case in cases)
    assert {"ok", "encrypted", "malformed"} <= {case.expect for case in cases}


def test_an_answerable_question_becomes_a_query_for_its_document(tmp_path: Path) -> None:
    rows = [
        {"id": "1", "question": "x", "answers": ["y"], "doc_ids": ["d", "e"]},
        {"id": "2", "question": "x", "is_impossible": True, "doc_ids": ["d"]},
        {"id": "3", "question": "x", "answers": ["y"]},
    ]
    write(tmp_path / "qa.jsonl", rows)
    queries, judged = datasets.as_retrieval(datasets.questions(tmp_path))
    assert [query.id for query in queries] == ["1"]
    assert judged == {"1": {"d": 1, "e": 1}}
