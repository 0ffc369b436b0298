"""What a model wrote is read leniently and shown carefully."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ragagent.answer.draft import Draft, Shown, is_refusal, parse
from ragagent.answer.quote import MAX_CLAIMS

pieces = st.lists(
    st.sampled_from(["NOT ", "FOUND", "Not", "a", "\n", "> q", " b ", "{", "```", '"', "1. "]), max_size=12
)


@pytest.mark.parametrize(
    ("text", "drafts"),
    [
        ("October 1973", [Draft(text="October 1973")]),
        ("one\ntwo\n\nthree\nfour", [Draft(text="one"), Draft(text="two"), Draft(text="three")]),
        ('It began then.\n> "It began in 1973."', [Draft(text="It began then.", quote="It began in 1973.")]),
        ("- a\n> b\n- c\n> d\n> e", [Draft(text="a", quote="b"), Draft(text="c", quote="d e")]),
        ("Answer: 12\nNOT FOUND", [Draft(text="12")]),
        ('{"answer": "x", "quote": "y"}', [Draft(text="x", quote="y")]),
        ('```json\n{"claims": [{"claim": "x", "quote": "“y”"}]}\n```', [Draft(text="x", quote="y")]),
        ('[{"text": "x"}, 3, {"quote": "y"}]', [Draft(text="x")]),
        ('{"answer": "NOT FOUND"}', []),
        ("> only a quote", []),
        ("", []),
        ("**NOT FOUND**", []),
    ],
)
def test_lines_and_json_are_read(text: str, drafts: list[Draft]) -> None:
    assert parse(text) == drafts


@given(text=st.text() | pieces.map("".join))
def test_any_text_can_be_read_and_no_claim_is_empty_or_a_refusal(text: str) -> None:
    found = parse(text)
    assert len(found) <= MAX_CLAIMS
    assert all(draft.text.strip() and not is_refusal(draft.text) for draft in found)


@given(parts=pieces)
@example(parts=['"', "NOT ", "FOUND"])
@example(parts=["Answ", "er :", " NOT FOUND"])
@example(parts=["> q", "\n", "NOT ", "FOUND"])
def test_what_is_shown_is_no_quote_no_refusal_and_part_of_what_was_written(parts: list[str]) -> None:
    shown = Shown()
    said = "".join(shown.add(part) for part in parts)
    text = "".join(parts)
    assert not is_refusal(said)
    assert not any(line.lstrip().startswith(">") for line in said.splitlines())
    assert len(said) <= len(text)


def test_text_is_shown_as_soon_as_it_cannot_be_a_refusal() -> None:
    shown = Shown()
    assert [shown.add(part) for part in ["NO", "T FOU", "R of five", "\n", "> quo", "te\n", "More"]] == [
        "",
        "",
        "NOT FOUR of five",
        "",
        "",
        "",
        "\nMore",
    ]
