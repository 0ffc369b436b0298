"""Of several drafts that one is the answer which the model confirms and the other drafts bear out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragagent.answer import choice
from ragagent.types import Citation, Claim, Completion, Usage

COST = Usage(calls=1)


def draft(text: str, finish: str = "stop") -> Completion:
    return Completion(text=text, finish=finish, usage=Usage())  # type: ignore[arg-type]


def read(text: str) -> list[Claim]:
    """One claim that cites the words it is made of; none where nothing was found."""
    if text == "NOT FOUND":
        return []
    cited = Citation(quote=text[:1], document_id="d", uri="u", title="t", span=None, verified=True)
    return [Claim(text=text, citations=(cited,), supported=True)]


def asked(opinions: dict[str, float], calls: list[str]) -> choice.Opinion:
    def opinion(option: choice.Option) -> tuple[float | None, Usage]:
        calls.append(option.text)
        return opinions.get(option.text, -1.0), COST

    return opinion


texts = st.lists(st.sampled_from(["a one", "a two", "b one", "A  ONE", "c", "NOT FOUND"]), min_size=1, max_size=8)


@given(said=texts)
def test_every_draft_counts_once_for_what_it_says(said: list[str]) -> None:
    drafts = [draft(text) for text in said]
    found = choice.options(drafts, read)
    assert abs(sum(one.share for one in found) - 1) < 1e-9
    assert [one.completion is drafts[0] for one in found] == [True] + [False] * (len(found) - 1)
    assert len({one.claims for one in found}) == len(found)


@given(said=texts, opinions=st.dictionaries(st.sampled_from(["a one", "a two", "c"]), st.floats(-5, -0.01)))
def test_the_model_is_asked_once_of_each_thing_that_is_said(said: list[str], opinions: dict[str, float]) -> None:
    calls: list[str] = []
    found = choice.options([draft(text) for text in said], read)
    best, confirmed, spent = choice.chosen(found, asked(opinions, calls))
    assert len(calls) == len(set(calls)) == spent.calls
    assert best in found
    assert confirmed == (opinions.get(best.text, -1.0) if best.cited else None)


@given(said=texts)
def test_what_cites_nothing_is_chosen_only_where_nothing_else_was_said(said: list[str]) -> None:
    best, _, _ = choice.chosen(choice.options([draft(text) for text in said], read), asked({}, []))
    assert bool(best.cited) == any(text != "NOT FOUND" for text in said)


def test_of_equals_the_likeliest_draft_is_chosen_and_of_others_what_is_said_more_or_surer() -> None:
    def best(*said: str, **opinions: float) -> str:
        found = choice.options([draft(text) for text in said], read)
        return choice.chosen(found, asked(opinions, []))[0].claims[0].text

    assert best("a", "b") == "a"
    assert best("a", "b", "b", "b") == "b"
    assert best("a", "a", "b", a=-2.0, b=-0.01) == "b"


def test_a_draft_that_was_cut_off_counts_only_where_all_were() -> None:
    found = choice.options([draft("a", "length"), draft("b")], read)
    assert [one.claims[0].text for one in found] == ["b"]
    assert len(choice.options([draft("a", "length"), draft("b", "length")], read)) == 2
