"""Is what stands word for word in one passage of many found first, and how long does a search take there?

Passages of two neighbouring sentences from the documents of some sets, and of sentences that are drawn together where
these are too few, are ingested as documents. Part numbers, error codes, file names and names of people, none of which
stands anywhere else, are put into one passage each; so are their likes, which differ in one character. The fifth kind
is five words of a passage that no other has one after another, asked for between quotation marks.

    python -m ragagent.eval.perf.lookups --data sets/scifact sets/squad --chunks 100000 --kb FOLDER
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ragagent.app import KnowledgeBase
from ragagent.eval import datasets, retrieval
from ragagent.eval.perf.measure import each, line
from ragagent.text.sentences import sentences
from ragagent.types import Document, SearchMode, Span

QUESTION = "Is what stands word for word in one passage of many found first, and how long does a search take?"
MODES: tuple[SearchMode, ...] = ("dense", "sparse", "hybrid")
EACH = 40
_PHRASE_WORDS = 5
_WORDS = re.compile(r"[^\W_]+")
_LEAST_CHARS, _MOST_CHARS = 30, 400
_SYLLABLES = (
    "bel",
    "cor",
    "dan",
    "fen",
    "gal",
    "hir",
    "jor",
    "kel",
    "lum",
    "mar",
    "nev",
    "os",
    "pir",
    "tas",
    "vel",
    "zan",
)
_ASKED: Mapping[str, Sequence[str]] = {
    "part number": ("{}", "What is the torque limit of {}?", "spare part {} price"),
    "error code": ("{}", "What does {} mean?", "how do I fix error {}"),
    "file name": ("{}", "Where is {} kept?", "who wrote {}"),
    "rare name": ("{}", "Who is {}?", "What did {} say about the results?"),
    "quoted phrase": ('"{}"', 'Who wrote "{}"?', 'which study says "{}"'),
}
_PUT: Mapping[str, str] = {
    "part number": "It takes part {}.",
    "error code": "It then reports {} and stops.",
    "file name": "This is from {}.",
    "rare name": "{} was there.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """What is asked, of what kind it is, and the number of the passage that holds it."""

    kind: str
    question: str
    passage: int


def main() -> None:
    """Prints one line of JSON."""
    arguments = _arguments()
    texts, lookups = collection(arguments.data, arguments.chunks, arguments.each, arguments.seed)
    with KnowledgeBase.open(arguments.kb) as kb:
        kb.ingest(Document(id=f"n:{number}", text=text) for number, text in enumerate(texts))
        chunks = kb.status().chunks
        first: dict[str, Mapping[str, float]] = {mode: found_first(kb, lookups, mode) for mode in MODES}
        questions = [query.text for data in arguments.data for query in retrieval.load(data)[0]]
        drawn = random.Random(arguments.seed).sample(questions, min(arguments.questions, len(questions)))
        timings = {
            "hybrid, questions of the sets": each("hybrid", lambda one: kb.search(one, k=10), drawn),
            "hybrid, lookups": each("lookups", lambda one: kb.search(one.question, k=10), lookups),
        }
    print(line(QUESTION, timings, found_first=first, chunks=chunks, lookups=len(lookups)))


def collection(folders: Sequence[Path], chunks: int, each_kind: int, seed: int) -> tuple[list[str], list[Lookup]]:
    """The passages, and what is to be found in them: the same for the same seed."""
    rng = random.Random(seed)
    texts = _passages(folders, chunks, rng)
    places = iter(rng.sample(range(len(texts)), 2 * each_kind * len(_PUT) + each_kind * len(_ASKED)))
    lookups = []
    for kind, sentence in _PUT.items():
        for number in range(each_kind):
            wanted, other = _made(kind, rng)
            place, elsewhere = next(places), next(places)
            texts[place] += " " + sentence.format(wanted)
            texts[elsewhere] += " " + sentence.format(other)
            lookups.append(Lookup(kind=kind, question=_asked(kind, number).format(wanted), passage=place))
    lookups += _phrases(texts, each_kind, places)
    return texts, lookups


def found_first(kb: KnowledgeBase, lookups: Sequence[Lookup], mode: SearchMode) -> dict[str, float]:
    """The share of the lookups of each kind whose passage is found first, and of all."""
    right: Counter[str] = Counter()
    for one in lookups:
        hits = kb.search(one.question, k=1, mode=mode)
        right[one.kind] += bool(hits) and hits[0].document_id == f"n:{one.passage}"
    asked = Counter(one.kind for one in lookups)
    shares = {kind: right[kind] / count for kind, count in asked.items()}
    return {**shares, "all": right.total() / max(1, asked.total())}


def _asked(kind: str, number: int) -> str:
    return _ASKED[kind][number % len(_ASKED[kind])]


def _made(kind: str, rng: random.Random) -> tuple[str, str]:
    """One of that kind, and another that differs from it in one character."""
    digits = "".join(rng.choices("0123456789", k=4))
    letters = "".join(rng.choices("ABCDEFGHKLMNPRSTVWXZ", k=3))
    name = "".join(rng.choices(_SYLLABLES, k=2)).capitalize() + " " + "".join(rng.choices(_SYLLABLES, k=3)).capitalize()
    made = {
        "part number": rng.choice(
            [f"{letters[:2]}-{digits}-{letters[2]}", f"{letters}{digits}", f"{digits}.{letters}"]
        ),
        "error code": rng.choice(
            [f"ERR_{letters}_{digits}", f"0x80{digits}{rng.randrange(10)}", f"E-{digits}{letters[0]}"]
        ),
        "file name": rng.choice([f"report_{letters.lower()}_{digits}.pdf", f"{letters.lower()}-{digits}.final.docx"]),
        "rare name": name,
    }[kind]
    at = rng.choice([place for place, character in enumerate(made) if character.isalnum() and character not in "xERR"])
    other = rng.choice([one for one in ("0123456789" if made[at].isdigit() else "abcdefgh") if one != made[at].lower()])
    return made, made[:at] + other + made[at + 1 :]


def _phrases(texts: Sequence[str], count: int, places: Iterator[int]) -> Iterator[Lookup]:
    """Phrases that stand in one passage alone."""
    found = 0
    everything = "\n".join(f" {' '.join(_WORDS.findall(text.casefold()))} " for text in texts)
    for place in places:
        words = _WORDS.findall(texts[place])
        start = len(words) // 3
        phrase = " ".join(words[start : start + _PHRASE_WORDS])
        if len(words) < start + _PHRASE_WORDS or everything.count(f" {phrase.casefold()} ") != 1:
            continue
        yield Lookup(kind="quoted phrase", question=_asked("quoted phrase", found).format(phrase), passage=place)
        found += 1
        if found == count:
            return


def _passages(folders: Sequence[Path], count: int, rng: random.Random) -> list[str]:
    every: list[str] = []
    pairs: list[str] = []
    for folder in folders:
        for document in datasets.documents(folder):
            found = [span.of(document.text) for span in sentences(document.text, Span(0, len(document.text)))]
            found = [one.strip() for one in found if _LEAST_CHARS <= len(one) <= _MOST_CHARS]
            every += found
            pairs += [f"{one} {two}" for one, two in zip(found[::2], found[1::2], strict=False)]
    distinct = list(dict.fromkeys(pairs))[:count]
    while len(distinct) < count:
        distinct.append(f"{rng.choice(every)} {rng.choice(every)}")
    return distinct


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of sets with documents.jsonl")
    parser.add_argument("--kb", type=Path, required=True, help="keep the index here, or use the one that is here")
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--each", type=int, default=EACH, help="lookups of each kind")
    parser.add_argument("--questions", type=int, default=200, help="questions of the sets that are timed")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
