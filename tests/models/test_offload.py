"""Layers on a GPU: as many as asked for, and the same model wherever it computes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ragagent.models import grammar
from ragagent.models.llama import LlamaModel, build_info
from ragagent.settings import LlmSettings
from ragagent.testing.random_gguf import Shape, write
from ragagent.types import Message, Sampling

Opened = Callable[..., LlamaModel]

SHAPE = Shape()
ALL = SHAPE.layers + 1  # the output layer counts as one
TEXT = "The lighthouse was built in 1871 by a company from Hull. " * 8
ASKED = (Message(role="user", content=TEXT),)


@pytest.fixture(scope="module")
def random_gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("model") / "random.gguf", SHAPE)


@pytest.fixture
def opened(random_gguf: Path) -> Iterator[Opened]:
    """Opens the random model with so many layers on the GPU."""
    models: list[LlamaModel] = []

    def open_model(layers: int, **settings: object) -> LlamaModel:
        chosen = LlmSettings(gpu_layers=layers, context_tokens=2048, timeout_s=120, **settings)  # type: ignore[arg-type]
        models.append(LlamaModel(random_gguf, chosen))
        return models[-1]

    yield open_model
    for model in models:
        model.close()


@pytest.fixture(scope="module")
def gpu() -> None:
    if not build_info().gpu_offload:
        pytest.skip("this build of llama.cpp computes on the CPU alone")


def test_equal_seeds_write_equal_models(random_gguf: Path, tmp_path: Path) -> None:
    assert write(tmp_path / "again.gguf", SHAPE).read_bytes() == random_gguf.read_bytes()
    assert write(tmp_path / "other.gguf", SHAPE, seed=1).read_bytes() != random_gguf.read_bytes()


@pytest.mark.parametrize("form", ["F16", "Q8_0", "Q4_0"])
def test_a_random_model_answers_in_every_form(tmp_path: Path, form: str) -> None:
    model = LlamaModel(write(tmp_path / f"{form}.gguf", form=form), LlmSettings(context_tokens=256, gpu_layers=0))
    try:
        assert model.chat((Message(role="user", content="Hello"),), max_tokens=4).usage.completion_tokens > 0
    finally:
        model.close()


def test_without_a_gpu_or_a_wish_no_layer_is_on_one(opened: Opened) -> None:
    assert opened(0).gpu_layers == 0
    assert build_info().gpu_offload or opened(-1).gpu_layers == 0


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("asked", "given"), [(-1, ALL), (1, 1), (ALL, ALL), (3, 3)])
def test_as_many_layers_as_asked_for_are_offloaded(opened: Opened, asked: int, given: int) -> None:
    assert opened(asked).gpu_layers == given


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("layers", [1, 3, -1])
def test_a_text_is_as_likely_on_a_gpu_as_on_the_cpu(opened: Opened, layers: int) -> None:
    on_cpu = opened(0).log_likelihoods([ASKED], ["Its lamp burned oil until 1923."])[0]
    assert opened(layers).log_likelihoods([ASKED], ["Its lamp burned oil until 1923."])[0] == pytest.approx(
        on_cpu, abs=0.02
    )


@pytest.mark.usefixtures("gpu")
def test_a_grammar_holds_on_a_gpu(opened: Opened) -> None:
    quote = grammar.lark(f"start: QUOTE\nQUOTE: %regex {json.dumps({'substring_chars': TEXT})} & /(?s:.{{20,40}})/\n")
    answers = opened(-1).sample(ASKED, count=4, max_tokens=60, sampling=Sampling(temperature=1.0), grammar=quote)
    assert len(answers) == 4
    assert all(len(answer.text) >= 20 and answer.text in TEXT for answer in answers)


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("kv_cache", ["f16", "q8_0"])
def test_what_was_read_is_kept_and_reused_on_a_gpu(opened: Opened, kv_cache: str) -> None:
    model = opened(-1, kv_cache=kv_cache, cache_mib=64)
    first = model.chat(ASKED, max_tokens=8)
    other = model.chat((Message(role="user", content="Something else entirely, and longer than a few words."),))
    again = model.chat(ASKED, max_tokens=8)
    assert other.text != first.text
    assert again.usage.reused_tokens > 0.9 * first.usage.prompt_tokens
    assert again.text == first.text
