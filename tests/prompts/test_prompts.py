"""Prompts are files that are filled in strictly and without reading the values."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent import prompts
from ragagent.errors import ConfigError

NAMES = sorted(file.stem for file in Path(prompts.__file__).parent.glob("*.md"))


def test_there_are_prompts() -> None:
    assert {"answer", "answer_quoting", "question", "cite", "cite_question"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_prompt_says_what_it_is_for_and_which_models_it_was_checked_on(name: str) -> None:
    prompt = prompts.load(name)
    assert prompt.name == name
    assert prompt.purpose
    assert prompt.checked_on
    assert prompt.text


@given(value=st.text() | st.sampled_from(["{{question}}", "{{passages}}", "}}{{", "\\1", "\\g<0>", "{0}", "%s", "$x"]))
def test_a_value_stands_in_the_text_exactly_as_it_was_given(value: str) -> None:
    prompt = prompts.parse("p", "---\npurpose: x\nchecked_on: m\n---\na {{question}} b {{question}}")
    assert prompt.render(question=value) == f"a {value} b {value}"


def test_a_missing_and_an_unknown_name_are_errors_that_name_both() -> None:
    prompt = prompts.load("question")
    with pytest.raises(ConfigError, match=r"without 'question'.*unknown 'query'"):
        prompt.render(passages="", query="")


def test_an_unknown_prompt_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"no prompt 'nope'.*answer"):
        prompts.load("nope")


@pytest.mark.parametrize("name", ["../answer", "Answer", "", "a/b", ".hidden"])
def test_a_name_cannot_leave_the_folder(name: str) -> None:
    with pytest.raises(ConfigError, match="no prompt"):
        prompts.load(name)


@pytest.mark.parametrize(
    "source",
    [
        "no front matter",
        "---\npurpose: x\n---\ntext",
        "---\npurpose: x\nchecked_on: m\nmore: y\n---\ntext",
        "---\npurpose x\nchecked_on: m\n---\ntext",
        "---\npurpose: x\nchecked_on: m\ntext",
    ],
)
def test_front_matter_that_is_not_as_it_should_be_is_an_error(source: str) -> None:
    with pytest.raises(ConfigError, match="prompt 'p'"):
        prompts.parse("p", source)
