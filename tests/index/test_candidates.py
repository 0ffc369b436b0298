"""Which chunks have the nearest codes: the compiled loops, faiss and numpy, and counting by hand all say the same."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ragagent.index import block, candidates, loading, workers
from ragagent.index.candidates import Scope
from ragagent.index.codes import Codes, QueryCode

LOOPS = loading.load()
WAYS = [None] if LOOPS is None else [None, LOOPS]


def scope_of(rng: np.random.Generator, size: int, bits: np.ndarray, nibbles: np.ndarray, share: float) -> Scope:
    """A part of `size` chunks that have some of the codes."""
    which = rng.integers(0, len(bits), size)
    made = replace(
        block.empty(8),
        rows=np.arange(size),
        ids=np.array([f"{number:08x}".encode() for number in rng.integers(0, 1 << 32, size)], "S8"),
        codes=Codes(bits[which], nibbles[which]),
    )
    mask = None if share == 1 else rng.random(size) < share
    return Scope(made, mask, size if mask is None else int(mask.sum()))


def nearest_by_hand(scopes: list[Scope], query: QueryCode, size: int) -> set[tuple[int, int]]:
    keys = []
    for number, scope in enumerate(scopes):
        distances = np.unpackbits(scope.block.codes.bits ^ query.bits, axis=1).sum(axis=1)
        keys += [(int(distances[at]), scope.block.ids[at], number, int(at)) for at in scope.places()]
    return {key[2:] for key in sorted(keys)[:size]}


def best_by_hand(scopes: list[Scope], query: QueryCode, places: list[np.ndarray], size: int) -> set[tuple[int, int]]:
    keys = []
    for number, (scope, at) in enumerate(zip(scopes, places, strict=True)):
        nibbles = scope.block.codes.nibbles[at]
        components = np.stack([nibbles & 15, nibbles >> 4], axis=2).reshape(len(at), 32).astype(np.int64)
        scores = (components * query.weights.astype(np.int64)).sum(axis=1)
        keys += [
            (-int(score), scope.block.ids[place], number, int(place)) for score, place in zip(scores, at, strict=True)
        ]
    return {key[2:] for key in sorted(keys)[:size]}


def found(places: list[np.ndarray]) -> set[tuple[int, int]]:
    return {(number, place) for number, at in enumerate(places) for place in at.tolist()}


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    words=st.sampled_from([4, 8, 9, 13]),
    sizes=st.lists(st.integers(1, 900), min_size=1, max_size=7),
    distinct=st.sampled_from([1, 3, 50, 2000]),
    share=st.sampled_from([1.0, 0.5, 0.02]),
    size=st.sampled_from([1, 40, 300]),
    parallel=st.booleans(),
)
def test_every_way_keeps_the_same_chunks(seed, words, sizes, distinct, share, size, parallel) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 256, (distinct, 8 * words), np.uint8)
    # Near enough to one another for many ties, and some exactly as the query.
    bits[1::2] = bits[0] ^ np.where(rng.random(bits[1::2].shape) < 0.05, 1, 0).astype(np.uint8)
    nibbles = rng.integers(0, 256, (distinct, 16), np.uint8)
    scopes = [scope_of(rng, count, bits, nibbles, share) for count in sizes]
    scopes = [one for one in scopes if one.size]
    size = min(size, sum(one.size for one in scopes))
    if not size:
        return
    queries = [QueryCode(bits[at][None], rng.integers(-9, 9, 32).astype(np.float32)) for at in (0, -1)]
    for loops in WAYS:
        every = candidates.nearest(scopes, queries, size, loops, parallel=parallel)
        for query, places in zip(queries, every, strict=True):
            assert all((np.diff(at) > 0).all() for at in places)
            assert found(places) == nearest_by_hand(scopes, query, size)
            few = candidates.best(scopes, query, places, max(size // 2, 1), loops)
            assert found(few) == best_by_hand(scopes, query, places, max(size // 2, 1))


@pytest.mark.skipif(LOOPS is None, reason="needs the extra 'fast'")
def test_codes_that_come_nearer_and_nearer_and_all_alike_are_kept_whole() -> None:
    # The hardest orders for a loop that drops what is too far as it goes on.
    size = 30_000
    query = np.zeros((1, 64), np.uint8)
    steps = np.unpackbits(np.zeros((size, 64), np.uint8), axis=1)
    steps[np.arange(512)[None, :] < np.linspace(512, 0, size)[:, None]] = 1
    for bits in (np.packbits(steps, axis=1), np.zeros((size, 64), np.uint8)):
        made = replace(
            block.empty(384),
            rows=np.arange(size),
            ids=np.array([f"{number:08x}".encode() for number in range(size)]),
            codes=Codes(bits, np.zeros((size, 192), np.uint8)),
        )
        scope, code = Scope(made, None, size), QueryCode(query, np.zeros(384, np.float32))
        (places,), (expected,) = (
            candidates.nearest([scope], [code], 40, loops, parallel=False) for loops in (LOOPS, None)
        )
        assert [at.tolist() for at in places] == [at.tolist() for at in expected]


def test_work_is_shared_and_comes_back_in_order_and_an_error_comes_out() -> None:
    for parallel in (False, True):
        assert workers.each(lambda one: one * one, range(100), parallel=parallel) == [n * n for n in range(100)]
        with pytest.raises(ZeroDivisionError):
            workers.each(lambda one: 1 // one, [1, 1, 0, 1], parallel=parallel)
        assert workers.begun(lambda: 7, parallel=parallel)() == 7


def test_who_waits_for_a_busy_thread_does_the_work_alone() -> None:
    free = threading.Event()
    busy = [workers.begun(free.wait, parallel=True) for _ in range(workers.THREADS)]
    done: list[int] = []
    try:
        workers.each(done.append, range(50), parallel=True)
        assert workers.begun(threading.current_thread, parallel=True)() is threading.current_thread()
    finally:
        free.set()
    assert done == list(range(50))
    assert all(one() for one in busy)


def test_no_more_searches_have_a_turn_than_there_are_cores() -> None:
    cores, most, inside = os.cpu_count() or 1, 0, 0
    guard, gate = threading.Lock(), threading.Barrier(4 * cores)

    def search() -> None:
        nonlocal most, inside
        gate.wait()
        for _ in range(20):
            with workers.turn():
                with guard:
                    inside += 1
                    most = max(most, inside)
                time.sleep(0)
                with guard:
                    inside -= 1

    threads = [threading.Thread(target=search) for _ in range(4 * cores)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= most <= cores
