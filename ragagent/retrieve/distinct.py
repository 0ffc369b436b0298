"""One passage for many: what better-ranked passages of other documents say already is folded into them.

It is worked out among what a search found, so the outcome is a function of the documents that are there: nothing is
stored, nothing is lost when a document goes or changes, and behind a filter another copy comes forward by itself.

Two things make a passage superfluous. Its document is a copy or a version of another one, of which a better-ranked
passage is shown that says the same: then the hit that is shown names it in `Hit.also`. Or it was found by boilerplate:
by lines that stand in many documents which are otherwise different, as footers and disclaimers do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ragagent.text import shingles
from ragagent.text.analyser import Analyser
from ragagent.text.shingles import Said
from ragagent.types import Chunk, Hit

LEAST_SHARE = 0.8
"""A passage of which another document says so much, and all of the figures, is not shown beside it."""

BOILERPLATE_DOCUMENTS = 20
"""A line that stands in so many documents, which are otherwise different, is boilerplate."""

MOST_HITS = 480
"""Not more hits than this are looked at to find `k` that differ."""

_LEAST_OVERLAP = 0.3  # below it the rest of the other document is not looked at
_LEAST_SAMPLE = 10
_FIRST = 2
_MORE = 3
_SUSPECT_DOCUMENTS = 3
_MOST_GROUPS = 4
_MOST_EMBEDDED = 16
_MOST_OWNERS = 30  # of a shingle: it tells little where so many have it
_SAMPLE = 3 * BOILERPLATE_DOCUMENTS
_LINE_CHARS = 8

Find = Callable[[int], Sequence[Hit]]
"""The so many best hits of the search in question."""

_said = lru_cache(maxsize=1024)(shingles.said)
_analyser = lru_cache(maxsize=1)(Analyser)


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """How what is behind the hits is looked at: by words, whatever the filter of the search, and before and after one.

    `cosines` are those of the question with some texts; None where the search asks for no vectors.
    """

    by_words: Callable[[str, int], Sequence[Hit]]
    neighbours: Callable[[Chunk], Sequence[Chunk]]
    cosines: Callable[[Sequence[str]], Sequence[float]] | None = None


@dataclass(slots=True)
class _Kept:
    """A hit that is shown, the uris of those that are folded into it, and those of them that say no less than it."""

    hit: Hit
    said: Said
    also: dict[str, None] = field(default_factory=dict)
    alike: list[Hit] = field(default_factory=list)

    def fold(self, hit: Hit, said: Said) -> None:
        """Takes in a hit that says nothing more."""
        self.also[hit.uri] = None
        if self.said.within(said, LEAST_SHARE):
            self.alike.append(hit)

    def shown(self, documents: Container[str]) -> Hit:
        """The hit as it is shown: of equals the one whose document is shown already."""
        known = (one for one in self.alike if one.document_id in documents)
        best = self.hit if self.hit.document_id in documents else next(known, self.hit)
        also = tuple(uri for uri in (self.hit.uri, *self.also) if uri != best.uri)
        return replace(best, score=self.hit.score, also=also)


def found(query: str, k: int, find: Find, library: Library, candidates: int) -> list[Hit]:
    """The `k` best hits that say something of their own, ranks 1..k; fewer when fewer are found.

    `find` is asked for twice as many at first, and for more where any of them are copies; for `candidates` at most, as
    long as that is enough, for a search whose fusion takes so many from each side ranks them alike whatever it is asked
    for. Cost: some 0.1 ms for each hit that is looked at and was not before; a search by words for lines that several
    documents share; where boilerplate is found, embedding its lines and up to 16 passages without it.
    """
    count = max(k, min(_FIRST * k, candidates))
    library = replace(library, by_words=lru_cache(maxsize=None)(library.by_words))
    folding, cosines = Folding(library.neighbours), _Cosines(library)
    while True:
        hits = find(count)
        different = folding.of(hits)
        kept = _without_boilerplate(query, different, library, cosines)
        enough = len(kept) >= k and (len(different) == len(hits) or count >= min(_FIRST * _MORE * k, candidates))
        if enough or len(hits) < count or count >= MOST_HITS:
            return [replace(one, rank=rank) for rank, one in enumerate(kept[:k], 1)]
        # Copies of what is found stand near it in rank: with more of them, more are named.
        count = min(_MORE * count, candidates if len(kept) >= k else MOST_HITS)


class Folding:
    """Hits without those whose content other documents' better hits, or what stands beside these, have already.

    For one search: of a longer list that begins as the one before, only the rest is looked at.
    """

    def __init__(self, neighbours: Callable[[Chunk], Sequence[Chunk]]) -> None:
        self._beside = _Beside(neighbours)
        self._begin()

    def _begin(self) -> None:
        self._seen: list[str] = []
        self._kept: list[_Kept] = []
        self._owners: dict[int, list[int]] = {}

    def of(self, hits: Sequence[Hit]) -> list[Hit]:
        """`hits`, best first, without those that say nothing new.

        The passages of several versions come from one of them, as far as it says the same; the score is the best of
        theirs.
        """
        if [hit.chunk.id for hit in hits[: len(self._seen)]] != self._seen:
            self._begin()
        for hit in hits[len(self._seen) :]:
            self._add(hit)
            self._seen.append(hit.chunk.id)
        documents: set[str] = set()
        shown = []
        for one in self._kept:
            shown.append(one.shown(documents))
            documents.add(shown[-1].document_id)
        return shown

    def _add(self, hit: Hit) -> None:
        said = _said(hit.text)
        same = self._same(hit, said)
        if same is not None:
            same.fold(hit, said)
            return
        for shingle in _sample(said):
            having = self._owners.setdefault(shingle, [])
            if len(having) < _MOST_OWNERS:
                having.append(len(self._kept))
        self._kept.append(_Kept(hit=hit, said=said))

    def _same(self, hit: Hit, said: Said) -> _Kept | None:
        """The kept hit of another document that stands for `hit`: of those that share most, the best ranked."""
        for owner in _nearest(said, self._kept, self._owners):
            one = self._kept[owner]
            if one.hit.document_id == hit.document_id:
                continue
            if said.within(one.said, LEAST_SHARE) or said.within(one.said | self._beside.said(one.hit), LEAST_SHARE):
                return one
        return None


def _nearest(said: Said, kept: Sequence[_Kept], owners: Mapping[int, Sequence[int]]) -> list[int]:
    """The places in `kept` of what has a good part of it, most first; from a sample, where it says enough for one."""
    sample = _sample(said)
    if len(sample) < _LEAST_SAMPLE:
        shared = {place: said.share_in(one.said) for place, one in enumerate(kept)}
    else:
        counts = Counter(owner for shingle in sample for owner in owners.get(shingle, ()))
        shared = {owner: count / len(sample) for owner, count in counts.items()}
    near = [(-share, place) for place, share in shared.items() if share >= _LEAST_OVERLAP]
    return [place for _, place in sorted(near)]


def _sample(said: Said) -> list[int]:
    """The shingles by which passages are looked up: one in four, the same ones wherever they stand."""
    return [shingle for shingle in said.shingles if not shingle & 3]


class _Beside:
    """What stands before and after a hit in its document: versions of a document are cut in other places.

    Each hit's neighbours are read once, however many others are held against it.
    """

    def __init__(self, neighbours: Callable[[Chunk], Sequence[Chunk]]) -> None:
        self._neighbours = neighbours
        self._known: dict[str, Said] = {}

    def said(self, hit: Hit) -> Said:
        """What the neighbours of the hit's chunk say."""
        known = self._known.get(hit.chunk.id)
        if known is None:
            known = _joined(_said(one.text) for one in self._neighbours(hit.chunk))
            self._known[hit.chunk.id] = known
        return known


def _joined(parts: Iterable[Said]) -> Said:
    whole = Said(frozenset(), frozenset())
    for part in parts:
        whole |= part
    return whole


def _without_boilerplate(query: str, hits: Sequence[Hit], library: Library, cosines: _Cosines) -> list[Hit]:
    """`hits` without those that the question finds by boilerplate alone, or for the most part."""
    common = frozenset(line for group in _suspects(hits) if _is_boilerplate(group, library) for line in group)
    if not common:
        return list(hits)
    asked = set(_analyser().query_terms(query, ""))
    return [hit for hit in hits if _has_its_own(hit, asked, common) or _means_it(hit, common, cosines)]


class _Cosines:
    """The cosines of the question with lines and passages, each worked out once; at most `_MOST_EMBEDDED` passages."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._known: dict[str, float] = {}
        self._left = _MOST_EMBEDDED

    def of(self, texts: Sequence[str]) -> list[float]:
        """Those with `texts`, in order."""
        assert self._library.cosines is not None
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._library.cosines(new), strict=True) if new else ())
        return [self._known[text] for text in texts]

    def near(self, hit: Hit, lines: Sequence[str], rest: str) -> bool:
        """Whether the rest of a hit is nearer to the question than those lines of it, one by one and together.

        The vector of the hit as it stands is looked at first: lines that are near pull it towards the question, so
        where it is not nearer than they are, the rest is further away.
        """
        found = next((stage.score for stage in hit.stages if stage.name == "dense"), None)
        if found is None or self._library.cosines is None:
            return False
        best = max(self.of([*lines, "\n".join(lines)]))
        if found <= best or (rest not in self._known and not self._left):
            return False
        self._left -= rest not in self._known
        return self.of([rest])[0] > best


def _lines(text: str) -> frozenset[str]:
    """The lines of `text` that are long enough to be told again."""
    return frozenset(line for line in map(_line, text.splitlines()) if len(line) >= _LINE_CHARS)


def _line(line: str) -> str:
    return " ".join(line.split()).casefold()


def _suspects(hits: Sequence[Hit]) -> list[tuple[str, ...]]:
    """Lines that hits of several documents have, in groups that stand in the same ones; most documents first."""
    where: dict[str, set[str]] = {}
    for hit in hits:
        for line in _lines(hit.text):
            where.setdefault(line, set()).update((hit.uri, *hit.also))
    groups: dict[frozenset[str], list[str]] = {}
    for line, documents in where.items():
        if len(documents) >= _SUSPECT_DOCUMENTS:
            groups.setdefault(frozenset(documents), []).append(line)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[0]), item[1]))
    return [tuple(lines) for _, lines in ordered[:_MOST_GROUPS]]


def _is_boilerplate(lines: Sequence[str], library: Library) -> bool:
    """Whether so many documents that are otherwise different have these lines."""
    probe = max(lines, key=len)
    holders = {hit.document_id: hit for hit in library.by_words(probe, _SAMPLE) if probe in _lines(hit.text)}
    if len(holders) < BOILERPLATE_DOCUMENTS:
        return False
    different: list[Said] = []
    for hit in holders.values():
        rest = _said(_around(hit, frozenset(lines), library))
        if rest.shingles and not any(rest.within(one, LEAST_SHARE) for one in different):
            different.append(rest)
        if len(different) >= BOILERPLATE_DOCUMENTS:
            return True
    return False


def _around(hit: Hit, lines: frozenset[str], library: Library) -> str:
    """What stands around those lines: the rest of the chunk, or where there is none the chunks beside it."""
    rest = _rest(hit.text, lines)
    if shingles.words(rest):
        return rest
    return "\n".join(_rest(one.text, lines) for one in library.neighbours(hit.chunk))


def _rest(text: str, lines: frozenset[str]) -> str:
    return "\n".join(line for line in text.splitlines() if _line(line) not in lines)


def _has_its_own(hit: Hit, asked: set[str], common: frozenset[str]) -> bool:
    """Whether at least half of what the hit shares with the question stands outside of the boilerplate in it."""
    if common.isdisjoint(_lines(hit.text)):
        return True
    rest = _rest(hit.text, common)
    if not shingles.words(rest):
        return False
    analyser = _analyser()
    own = asked & set(analyser.index_terms(rest))
    return 2 * len(own) >= len(asked & set(analyser.index_terms(hit.text)))


def _means_it(hit: Hit, common: frozenset[str], cosines: _Cosines) -> bool:
    """Whether the passage without its boilerplate is what the question is near to.

    So what answers in other words than the question's is found although its footer has some of these.
    """
    rest = _rest(hit.text, common)
    return bool(shingles.words(rest)) and cosines.near(hit, sorted(common & _lines(hit.text)), rest)
