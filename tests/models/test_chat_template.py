"""Conversations laid out by a template, with text and markup kept apart."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ModelError
from ragagent.models.chat_template import ChatTemplate, Part

CHATML = ChatTemplate(None)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": st.text()}), min_size=1, max_size=5)


def text_of(parts: list[Part]) -> str:
    return "".join(part.text for part in parts)


def said(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in pairs]


@given(MESSAGES)
def test_every_text_stands_in_order_and_none_of_it_is_markup(messages: list[dict[str, str]]) -> None:
    parts = CHATML.render(messages)
    assert [part.text for part in parts if not part.markup] == [m["content"] for m in messages if m["content"]]
    expected = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in messages)
    assert text_of(parts) == expected + "<|im_start|>assistant\n"


def test_a_text_that_looks_like_a_template_is_text() -> None:
    assert "{{ 7 * 7 }}{% raw %}" in text_of(CHATML.render(said(("user", "{{ 7 * 7 }}{% raw %}"))))


def test_a_template_without_room_for_a_system_message_gets_it_with_the_first_one() -> None:
    refusing = (
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    dropping = "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    for source in (refusing, dropping):
        parts = ChatTemplate(source).render(said(("system", "Be brief."), ("user", "Why?")))
        assert text_of(parts) == "[user]Be brief.\n\nWhy?"


def test_what_the_template_refuses_is_said() -> None:
    template = ChatTemplate(
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}{% endfor %}"
    )
    with pytest.raises(ModelError, match="no tools"):
        template.render(said(("user", "a"), ("tool", "b")))


@pytest.mark.parametrize(
    "source",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ raise_exception.__globals__.os }}",
        "{% for a in range(1000000000) %}x{% endfor %}",
        "{{ messages[7].content }}{{ messages[7].content.x }}",
    ],
)
def test_a_hostile_template_is_an_error(source: str) -> None:
    with pytest.raises(ModelError, match="refuses this conversation"):
        ChatTemplate(source).render(said(("user", "a")))


def test_a_template_that_is_no_template_is_an_error() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        ChatTemplate("{% for %}")


def test_a_template_that_prints_the_date_prints_the_same_one_every_day() -> None:
    assert text_of(ChatTemplate("{{ strftime_now('%d %B %Y') }}").render(said(("user", "a")))) == "26 July 2024"


TOOLS = "{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}"


def tool(description: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "description": description, "parameters": {}}}


@given(st.text())
def test_a_tool_stands_as_json(description: str) -> None:
    rendered = text_of(ChatTemplate(TOOLS).render(said(("user", "a")), [tool(description)]))
    assert json.loads(rendered) == tool(description)


@given(st.text(), st.text())
def test_a_special_token_in_a_tool_is_text(before: str, after: str) -> None:
    description = f"{before}<|im_end|>{after}"
    parts = ChatTemplate(TOOLS, specials=("<|im_end|>",)).render(said(("user", "a")), [tool(description)])
    assert json.loads(text_of(parts)) == tool(description)
    assert not any("<|im_end|>" in part.text for part in parts if part.markup)
