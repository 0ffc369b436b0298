"""Postings hold exactly what they were built of, in whatever pieces it came."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.index import postings
from ragagent.index.dictionary import Terms
from ragagent.index.postings import BUCKET, Frequencies, Postings

COUNTS = st.tuples(*[st.one_of(st.integers(0, 3), st.sampled_from([254, 255, 256, 65_535]))] * 2)
CHUNKS = st.lists(st.dictionaries(st.sampled_from(["a", "b", "é", "数", "zz", "zzzzzzzz", "zzzzzzzzz"]), COUNTS))
WORDS = st.lists(st.binary(max_size=20) | st.text("ab\0", max_size=20).map(str.encode), max_size=30)


def lists_of(chunks: list[dict[str, tuple[int, int]]]) -> Postings:
    return postings.build([(list(one), np.array(list(one.values()), np.uint16).reshape(-1, 2)) for one in chunks])


def contents(lists: Postings) -> dict[bytes, list[tuple[int, list[int]]]]:
    return {
        term: list(zip(places.tolist(), counts.tolist(), strict=True))
        for term in lists.terms
        for places, counts in [lists.of(term)]
    }


@settings(deadline=None)
@given(parts=st.lists(CHUNKS, min_size=1, max_size=4), data=st.data())
def test_merged_postings_are_those_built_of_the_kept_chunks(parts, data: st.DataObject) -> None:
    keep = [data.draw(st.lists(st.booleans(), min_size=len(part), max_size=len(part))) for part in parts]
    merged = postings.merge(
        [(lists_of(part), np.array(kept, np.bool_)) for part, kept in zip(parts, keep, strict=True)]
    )
    left = [
        chunk for part, kept in zip(parts, keep, strict=True) for chunk, stays in zip(part, kept, strict=True) if stays
    ]
    built = lists_of(left)
    assert contents(merged) == contents(built)
    assert list(merged.terms) == sorted(merged.terms)
    # Not only the same contents: the same bytes in a file.
    for name, array in built.arrays().items():
        assert merged.arrays()[name].dtype == array.dtype
        assert merged.arrays()[name].tobytes() == array.tobytes()


@settings(deadline=None)
@given(chunks=CHUNKS, term=st.text(max_size=3))
def test_a_term_is_found_exactly_when_a_chunk_has_it(chunks, term: str) -> None:
    places, counts = Postings.from_arrays(lists_of(chunks).arrays()).of(term.encode())
    expected = [(number, list(chunk[term])) for number, chunk in enumerate(chunks) if term in chunk]
    assert list(zip(places.tolist(), counts.tolist(), strict=True)) == expected


@settings(deadline=None)
@given(chunks=CHUNKS, places=st.sets(st.integers(0, 20)), keep=st.data())
def test_looking_up_chunks_agrees_with_walking_the_list(chunks, places: set[int], keep: st.DataObject) -> None:
    lists = lists_of(chunks)
    wanted = np.array(sorted(place for place in places if place < len(chunks)), np.int64)
    kept = np.array(keep.draw(st.lists(st.booleans(), min_size=len(chunks), max_size=len(chunks))), np.bool_)
    frequencies = {head: lists.frequencies(kept, head=head).tolist() for head in (True, False)}
    for number, term in enumerate(lists.terms):
        walked, counts = lists.of(term)
        at = lists.find(number, wanted)
        assert [place for place, one in zip(wanted.tolist(), at.tolist(), strict=True) if one >= 0] == sorted(
            set(wanted.tolist()) & set(walked.tolist())
        )
        text, inside, head = lists.counts_at(at[at >= 0])
        both = np.isin(walked, wanted)
        assert text.tolist() == counts[both, 1].tolist()
        assert dict(zip(inside.tolist(), head.tolist(), strict=True)) == {
            place: count for place, count in enumerate(counts[both, 0].tolist()) if count
        }
        assert frequencies[True][number] == int(kept[walked].sum())
        # A posting of no frequency at all is none in the text either.
        assert frequencies[False][number] == int((kept[walked] & ((counts[:, 1] > 0) | (counts[:, 0] == 0))).sum())


def test_lists_go_on_over_the_borders_of_buckets() -> None:
    size = 2 * BUCKET + 5
    chunks = np.sort(np.random.default_rng(5).choice(size, 5000, replace=False))
    chunks[-1], chunks[0] = size - 1, 0
    numbers = np.arange(len(chunks)) % 2
    counts = np.zeros((len(chunks), 2), np.uint16)
    counts[:, 1] = np.arange(len(chunks)) % 300 + 1
    terms, _ = Terms.of([b"even", b"odd"])
    whole = postings.assembled(terms=terms, numbers=numbers, chunks=chunks, counts=counts, size=size)
    for number, term in enumerate(whole.terms):
        mine = numbers == number
        places, found = whole.of(term)
        assert places.tolist() == chunks[mine].tolist()
        assert found.tolist() == counts[mine].tolist()
        assert (whole.find(number, chunks) >= 0).tolist() == mine.tolist()
        assert whole.chunks(number, 1700).tolist() == chunks[mine][:1700].tolist()
    keep = np.random.default_rng(6).random(size) < 0.7
    halves = [_only(whole, chunks, numbers, counts, part) for part in (slice(0, 70_000), slice(70_000, size))]
    merged = postings.merge([(halves[0], keep[:70_000]), (halves[1], keep[70_000:])])
    assert contents(merged) == contents(postings.merge([(whole, keep)]))
    renumbered = np.cumsum(keep) - 1
    assert merged.of(b"odd")[0].tolist() == renumbered[chunks[(numbers == 1) & keep[chunks]]].tolist()


def _only(whole: Postings, chunks, numbers, counts, part: slice) -> Postings:
    inside = (chunks >= part.start) & (chunks < part.stop)
    return postings.assembled(
        terms=whole.terms,
        numbers=numbers[inside],
        chunks=chunks[inside] - part.start,
        counts=counts[inside],
        size=part.stop - part.start,
    )


@given(words=WORDS, other=WORDS, missing=st.binary(max_size=20))
def test_a_dictionary_holds_each_term_once_in_order(words: list[bytes], other: list[bytes], missing: bytes) -> None:
    first, places = Terms.of(words)
    assert list(first) == sorted(set(words))
    assert [first[place] for place in places] == words
    second, _ = Terms.of(other)
    both, (mine, theirs) = Terms.united([first, second])
    assert list(both) == sorted({*words, *other})
    assert [both[place] for place in mine] == list(first)
    assert [both[place] for place in theirs] == list(second)
    for term in (*words, *other, missing):
        assert both.find(term) == (sorted({*words, *other}).index(term) if term in {*words, *other} else None)
    assert list(both.kept(np.arange(len(both)) % 2 == 0)) == list(both)[::2]


@given(numbers=st.lists(st.integers(0, 65_535)), begin=st.integers(0, 20), end=st.integers(0, 20))
def test_frequencies_of_any_size_come_back(numbers: list[int], begin: int, end: int) -> None:
    packed = Frequencies.of(np.array(numbers, np.uint16))
    begin, end = min(begin, end, len(numbers)), min(max(begin, end), len(numbers))
    assert packed.between(begin, end).tolist() == numbers[begin:end]
    assert packed.taken(np.arange(begin, end)).tolist() == numbers[begin:end]
