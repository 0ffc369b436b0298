from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ragagent.models.llama_scoring import MOST_LOGITS, Pair, batches, shared

SEQUENCES, ROOM = 3, 40
tokens = st.lists(st.integers(0, 2), min_size=1, max_size=12)
pairs_of = st.lists(st.builds(Pair, prompt=tokens, text=tokens), min_size=1, max_size=9)


@given(pairs=pairs_of, most=st.integers(1, 7))
def test_each_token_of_each_text_is_asked_for_once_after_what_comes_before_it(pairs: list[Pair], most: int) -> None:
    begin = shared(pairs)
    seen: dict[int, list[int]] = {number: [] for number in range(len(pairs))}
    for count, found in batches(pairs, begin, sequences=SEQUENCES, batch_tokens=most, room=ROOM):
        read: list[list[int]] = [list(pairs[0].prompt[:begin]) for _ in range(count)]
        for rows in found:
            assert 1 <= len(rows) <= most
            for row in rows:
                assert row.position == len(read[row.sequence])
                read[row.sequence].append(row.token)
                for number, token in row.wanted:
                    pair = pairs[number]
                    assert read[row.sequence] == [*pair.prompt, *pair.text[: len(seen[number])]]
                    seen[number].append(token)
        assert count <= SEQUENCES
        assert count == 1 or sum(len(one) - begin for one in read) <= ROOM
    assert [seen[number] for number in range(len(pairs))] == [list(pair.text) for pair in pairs]


@given(pairs=pairs_of)
def test_what_is_shared_is_what_all_prompts_begin_with_but_for_their_last_token(pairs: list[Pair]) -> None:
    begin = shared(pairs)
    least = min(len(pair.prompt) for pair in pairs) - 1
    assert all(pair.prompt[:begin] == pairs[0].prompt[:begin] for pair in pairs)
    assert begin == least or len({tuple(pair.prompt[: begin + 1]) for pair in pairs}) > 1


def test_single_tokens_after_one_prompt_share_a_sequence() -> None:
    pairs = [Pair([1, 2, 3], [7]), Pair([1, 2, 3], [8]), Pair([1, 2, 4], [7])]
    ((count, ((*rows,),)),) = batches(pairs, shared(pairs), sequences=8, batch_tokens=9, room=9)
    assert (count, [row.token for row in rows]) == (2, [3, 4])
    assert [row.wanted for row in rows] == [((0, 7), (1, 8)), ((2, 7),)]


def test_a_batch_has_no_more_logits_than_memory_is_meant_for() -> None:
    found = list(batches([Pair([1], [2] * 1000)], 0, sequences=1, batch_tokens=512, room=2000))
    assert [len(rows) for _, each in found for rows in each] == [MOST_LOGITS] * 15 + [1000 - 15 * MOST_LOGITS]
