from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ConfigError, ModelNotFound
from ragagent.models.catalogue import Catalogue, FileSource, HubSource, WheelSource, numbered, safe_path
from ragagent.models.reference import folder_name, hub_model

NEEDED = ("qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-0.5b-instruct", "smollm2-135m-instruct", "all-MiniLM-L6-v2")


@given(st.text(st.sampled_from("ab/..%~\\ \0-@"), max_size=12) | st.text(max_size=12))
def test_a_safe_path_stays_in_its_folder(text: str) -> None:
    if safe_path(text):
        root = Path("/models/one")
        place = root / text
        assert root in place.parents
        assert ".." not in place.parts


names = st.from_regex(r"[a-z][a-z.-]{0,4}", fullmatch=True).filter(lambda text: "--" not in text and ".." not in text)
files = st.lists(st.from_regex(r"[a-z%-]{1,4}", fullmatch=True), min_size=1, max_size=3).map("/".join)
references = st.builds(
    lambda owner, name, file, revision: f"hf:{owner}/{name}{file and f'/{file}.gguf'}{revision and f'@{revision}'}",
    names,
    names,
    st.just("") | files,
    st.sampled_from(["", "v1", "a/b"]),
)


@given(references, references)
def test_two_hub_references_never_share_a_folder(first: str, second: str) -> None:
    try:
        hub_model(first), hub_model(second)
    except ModelNotFound:
        return
    assert (folder_name(first) == folder_name(second)) == (first == second)
    assert "/" not in folder_name(first)


@pytest.mark.parametrize("name", NEEDED)
def test_each_model_the_project_relies_on_is_pinned_file_by_file_and_can_come_from_a_package_index(name: str) -> None:
    model = Catalogue.load().get(name)
    assert model.files
    assert all(file.sha256 and file.size_bytes for file in model.files)
    assert any(isinstance(source, WheelSource) for source in model.sources)
    assert any(isinstance(source, HubSource) for source in model.sources)


def test_every_entry_says_what_a_user_has_to_know() -> None:
    for model in Catalogue.load():
        assert model.licence, model.name
        assert model.description, model.name
        assert model.context_tokens, model.name
        assert model.size_bytes, model.name
        assert model.sources, model.name
        assert (model.dimension is not None) == (model.kind == "embedding"), model.name
        assert model.kind == "embedding" or model.template, model.name


def test_a_numbered_wheel_counts_in_one_and_in_two_digits() -> None:
    assert numbered("part{n}/part{nn}.bin", 7) == "part7/part07.bin"
    assert numbered("part{n}/part{nn}.bin", 12) == "part12/part12.bin"


def test_an_unknown_name_is_answered_with_the_close_ones() -> None:
    with pytest.raises(ModelNotFound, match=r"Did you mean .*all-MiniLM-L6-v2"):
        Catalogue.load().get("all-minilm-l6")


@pytest.mark.parametrize(
    "reference",
    ["hf:", "hf:name", "hf:../x/y.gguf", "hf:a/b/../c.gguf", "hf:a/b/c.bin", "hf:a/b@../x", "hf:a/b/.c.gguf"],
)
def test_a_reference_that_is_not_one_is_refused(reference: str) -> None:
    with pytest.raises(ModelNotFound, match="write hf:"):
        hub_model(reference)


def test_a_catalogue_of_ones_own_adds_and_replaces(catalogue_file: Path) -> None:
    catalogue_file.write_text(
        '[[model]]\nname = "mine"\nkind = "chat"\n[[model.file]]\npath = "mine.gguf"\n'
        '[[model.source]]\nkind = "file"\npath = "elsewhere/mine.gguf"\n'
        '[[model]]\nname = "qwen3-8b"\nkind = "chat"\nlicence = "other"\n[[model.file]]\npath = "q.gguf"\n'
    )
    catalogue = Catalogue.load(catalogue_file)
    assert catalogue.get("mine").sources == (FileSource(path=catalogue_file.parent / "elsewhere/mine.gguf"),)
    assert catalogue.get("qwen3-8b").licence == "other"
    assert "smollm2-135m-instruct" in catalogue


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('[[model]]\nname = "../m"\nkind = "chat"', "name = '../m'"),
        ('[[model]]\nname = "m"\nkind = "voice"', "kind = 'voice' must be chat or embedding"),
        ('[[model]]\nname = "m"\nkind = "chat"', "at least one file"),
        ('[[model]]\nname = "m"\nkind = "chat"\nsize = 3\n[[model.file]]\npath = "a"', "unknown key 'size'"),
        ('[[model]]\nname = "m"\nkind = "chat"\n[[model.file]]\npath = "/etc/passwd"', "file 1: path"),
        ('[[model]]\nname = "m"\nkind = "chat"\n[[model.file]]\npath = "a"\nsha256 = "ABC"', "64 lower-case"),
        ('[[model]]\nname = "m"\nkind = "chat"\n[[model.file]]\npath = "a"\n[[model.file]]\npath = "a"', "one path"),
        ('[[model]]\nname = "m"\nkind = "chat"\n[[model.file]]\npath = "a"\nsize_bytes = -1', "size_bytes = -1"),
        ('[[model]]\nname = "m"\nkind = "embedding"\n[[model.source]]\nkind = "magic"', "must be one of file, hub"),
        (
            '[[model]]\nname = "m"\nkind = "embedding"\n[[model.source]]\nkind = "url"\nurl = "ftp://x"',
            "must begin with",
        ),
        (
            '[[model]]\nname = "m"\nkind = "embedding"\n[[model.source]]\nkind = "wheels"\nmember = "m"\n'
            'requirement = "--index-url=http://x"',
            "must be name==version",
        ),
        (
            '[[model]]\nname = "m"\nkind = "embedding"\n[[model.source]]\nkind = "hub"\nrepository = "a/../b"',
            "not a hub",
        ),
        ("model = 3", "list of tables"),
        ("[[model]]\nname = ", "not valid TOML"),
    ],
)
def test_a_wrong_entry_is_an_error_that_names_it(catalogue_file: Path, text: str, problem: str) -> None:
    catalogue_file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Catalogue.load(catalogue_file)
    assert problem in str(caught.value)
    assert str(catalogue_file) in str(caught.value)
