"""Snapshots of what a model has read: found by their tokens, bounded, and never taken from a damaged file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.models.kv_snapshots import Snapshot, Snapshots, common_prefix, erase
from ragagent.models.llama import LlamaModel
from ragagent.protocols import SamplesMany
from ragagent.settings import LlmSettings
from ragagent.types import Grammar, Message, Sampling

TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=8)
LONG = "The lighthouse was built in 1871 by a company from Hull, and its lamp burned oil until 1923. " * 4
SETTINGS = LlmSettings(context_tokens=1024, batch_tokens=128, timeout_s=120)


def snapshot(tokens: list[int], size: int = 10) -> Snapshot:
    return Snapshot(tokens=np.asarray(tokens, dtype=np.int32), data=bytes(range(size)))


@given(kept=st.lists(TOKENS, max_size=8), prompt=TOKENS, least=st.integers(0, 4), whole=st.booleans())
def test_the_longest_shared_beginning_is_found(
    kept: list[list[int]], prompt: list[int], least: int, whole: bool
) -> None:
    store = Snapshots(10**6)
    for tokens in kept:
        store.put(snapshot(tokens))
    shares = [common_prefix(tokens, prompt) for tokens in kept]
    longest = max((n for n, one in zip(shares, kept, strict=True) if not whole or n == len(one)), default=0)
    found = store.best(prompt, more_than=least, whole=whole)
    if whole:
        # A snapshot that is continued is not kept, so that a shorter whole one may be gone.
        assert found is None or least < common_prefix(found.tokens, prompt) == len(found.tokens) <= longest
    else:
        assert (common_prefix(found.tokens, prompt) if found else 0) == (longest if longest > least else 0)


@given(kept=st.lists(TOKENS, max_size=20), room=st.integers(0, 200))
def test_memory_is_bounded(kept: list[list[int]], room: int) -> None:
    store = Snapshots(room)
    for tokens in kept:
        store.put(snapshot(tokens, 40))
        assert store.size_bytes <= room


def test_what_memory_has_no_room_for_is_found_on_disk_by_another_process(tmp_path: Path) -> None:
    first = Snapshots(0, folder=tmp_path, disk_bytes=10_000, key="m")
    first.put(snapshot([1, 2, 3]))
    again = Snapshots(0, folder=tmp_path, disk_bytes=10_000, key="m").best([1, 2, 3, 4], more_than=0)
    assert again is not None
    assert again.tokens.tolist() == [1, 2, 3]
    assert again.data == bytes(range(10))
    assert Snapshots(0, folder=tmp_path, disk_bytes=10_000, key="other").best([1, 2, 3, 4], more_than=0) is None


@pytest.mark.parametrize("at", [20, 60, 85, 95, -1])
def test_a_damaged_file_counts_as_not_there(tmp_path: Path, at: int) -> None:
    Snapshots(0, folder=tmp_path, disk_bytes=10_000).put(snapshot([1, 2, 3]))
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    assert Snapshots(0, folder=tmp_path, disk_bytes=10_000).best([1, 2, 3, 4], more_than=0) is None


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    store = Snapshots(0, folder=tmp_path, disk_bytes=400)
    for first in range(6):
        store.put(snapshot([first, 1]))
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 400
    assert store.best([5, 1, 1], more_than=0) is not None


@given(before=st.lists(TOKENS, min_size=1, max_size=4), after=st.lists(TOKENS, min_size=1, max_size=4))
def test_what_was_read_before_a_folder_was_erased_never_comes_back_to_it(
    before: list[list[int]], after: list[list[int]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "notes.kv").write_text("somebody else's")
        spills, keeps = (Snapshots(room, folder=folder, disk_bytes=10**6) for room in (0, 10**6))
        for tokens in before:
            spills.put(snapshot(tokens))
            keeps.put(snapshot(tokens))
        assert erase(folder) == len({tuple(tokens) for tokens in before})
        # A process that has not noticed yet, and one that has.
        spills.put(snapshot(before[0]))
        assert sorted(file.name for file in folder.iterdir()) == ["erased", "notes.kv"]
        assert [keeps.forgotten(), keeps.forgotten(), keeps.size_bytes] == [True, False, 0]
        assert spills.forgotten()
        for tokens in after:
            spills.put(snapshot(tokens))
        assert len(list(folder.iterdir())) == 2 + len({tuple(tokens) for tokens in after})


def test_erasing_a_folder_that_is_not_there_makes_none(tmp_path: Path) -> None:
    assert erase(tmp_path / "none") == 0
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def llm(tiny_gguf: Path) -> Iterator[LlamaModel]:
    model = LlamaModel(tiny_gguf, SETTINGS)
    yield model
    model.close()


def about(name: str) -> list[Message]:
    return [Message(role="user", content=f"{name}. {LONG} What is this about?")]


def test_two_conversations_take_turns_without_reading_again(llm: LlamaModel, tiny_gguf: Path) -> None:
    fresh = LlamaModel(tiny_gguf, SETTINGS)
    first, second = about("Anna"), about("Zacharias")
    llm.chat(first, max_tokens=4), llm.chat(second, max_tokens=4)
    again = [llm.chat(messages, max_tokens=12) for messages in (first, second, first)]
    assert all(one.usage.reused_tokens == one.usage.prompt_tokens - 1 for one in again)
    assert again[0].text == again[2].text == fresh.chat(first, max_tokens=12).text
    fresh.close()


def test_another_process_goes_on_from_the_disk(tiny_gguf: Path, tmp_path: Path) -> None:
    settings = LlmSettings(
        context_tokens=1024, batch_tokens=128, cache_mib=0, cache_folder=str(tmp_path), cache_disk_mib=64
    )
    reused = []
    for _ in range(2):
        model = LlamaModel(tiny_gguf, settings)
        reused.append(model.chat(about("Anna"), max_tokens=4).usage.reused_tokens)
        model.chat(about("Zacharias"), max_tokens=4)
        model.close()
    assert reused[0] == 0
    assert reused[1] > 80


def test_a_model_that_runs_forgets_what_it_read_before_the_folder_was_erased(tiny_gguf: Path, tmp_path: Path) -> None:
    settings = LlmSettings(
        context_tokens=1024, batch_tokens=128, cache_mib=0, cache_folder=str(tmp_path), cache_disk_mib=64
    )
    model = LlamaModel(tiny_gguf, settings)
    try:
        for name in ("Anna", "Zacharias"):
            model.chat(about(name), max_tokens=1)
        assert list(tmp_path.glob("*.kv"))
        erase(tmp_path)
        assert model.chat(about("Zacharias"), max_tokens=1).usage.reused_tokens == 0
        assert not list(tmp_path.glob("*.kv"))
        assert model.chat(about("Zacharias"), max_tokens=1).usage.reused_tokens > 0
    finally:
        model.close()


def test_samples_are_the_answers_of_their_seeds(llm: LlamaModel) -> None:
    assert isinstance(llm, SamplesMany)
    sampling = Sampling(temperature=0.8, seed=3)
    found = llm.sample(about("Anna"), count=3, max_tokens=16, sampling=sampling)
    alone = [
        llm.chat(about("Anna"), max_tokens=16, sampling=Sampling(temperature=0.8, seed=3 + at)).text for at in range(3)
    ]
    assert [one.text for one in found] == alone
    assert len(set(alone)) > 1
    assert [one.usage.prompt_tokens > 0 for one in found] == [True, False, False]
    assert all(one.usage.completion_tokens <= 16 for one in found)


def test_a_grammar_holds_in_every_sample(llm: LlamaModel) -> None:
    grammar = Grammar(kind="lark", source='start: ("yes" | "no") " indeed"')
    found = llm.sample(about("Anna"), count=5, max_tokens=12, sampling=Sampling(temperature=2.0), grammar=grammar)
    assert {one.text for one in found} <= {"yes indeed", "no indeed"}


def test_samples_leave_the_next_answer_as_it_was(llm: LlamaModel) -> None:
    before = llm.chat(about("Anna"), max_tokens=16).text
    llm.sample(about("Anna"), count=8, max_tokens=16, sampling=Sampling(temperature=1.0))
    assert llm.chat(about("Anna"), max_tokens=16).text == before
