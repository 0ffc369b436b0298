"""The layouts of an answer beside the short one: whole sentences, a list, a table. What a model writes is read here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ragagent.answer import compose, draft, quote, rows
from ragagent.answer.quote import NOT_FOUND, Documents, Place
from ragagent.retrieve import compress
from ragagent.settings import AnswerSettings
from ragagent.types import AnswerStyle, Claim, Evidence, Grammar

MOST_SENTENCES, MOST_ITEMS, MOST_ROWS, MOST_COLUMNS = 6, 20, 24, 6
# A cell is words in a row, and does not end as a sentence does; what a row is about, and names of columns, are short.
_CELL = r"[^|\s]([^|]{0,98}[^|\s.!?;:,])?"
_SHORT = r"[^|\s]{1,40}( [^|\s]{1,40}){0,4}"
_NAME = r"[^|\s]{1,40}( [^|\s]{1,40}){0,2}"
_PASSAGES = {"short": 1, "full": 3, "list": 5, "table": 5}
_SENTENCES = {"short": 1, "full": 8, "list": 12, "table": 12}
_TOKENS = {"short": 1, "full": 2, "list": 2, "table": 2}
_ITEM = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+")
_RULE = re.compile(r"[\s|:-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """An answer as it is laid out: its text, and a claim for each part with the verdict of the checks.

    `data` is what a schema was filled with, and `reason` why it was not.
    """

    text: str
    claims: tuple[Claim, ...]
    data: Any = None
    reason: str = ""


def widened(settings: AnswerSettings, style: AnswerStyle) -> AnswerSettings:
    """The settings with as much evidence and room as answers of that style need, which is never less than they say."""
    return replace(
        settings,
        passages=max(settings.passages, _PASSAGES[style]),
        sentences=max(settings.sentences, _SENTENCES[style]),
        max_tokens=settings.max_tokens * _TOKENS[style],
    )


def grammar(style: AnswerStyle, question: str, evidence: Evidence) -> Grammar:
    """What may be written in that style: every word of it stands in the evidence, but for names of columns."""
    if style == "full":
        return _sentences(evidence)
    if style == "list":
        return quote.items(evidence, MOST_ITEMS)
    return _table(question, evidence)


def read(style: AnswerStyle, text: str, question: str, evidence: Evidence, document: Documents) -> Laid:
    """What a model wrote in that style, leniently; nothing where it wrote that it found nothing."""
    if draft.is_refusal(text):
        return Laid(text="", claims=())
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("```")]
    if style == "table":
        return _read_table(lines, question, evidence, document)
    return _read_lines(lines, style, question, evidence, document)


def _read_lines(
    lines: Sequence[str], style: AnswerStyle, question: str, evidence: Evidence, document: Documents
) -> Laid:
    said = dict.fromkeys(_ITEM.sub("", line).strip() for line in lines)
    most = MOST_ITEMS if style == "list" else MOST_SENTENCES
    claims = [compose.claim(draft.Draft(text=one), question, evidence, document) for one in list(said)[:most] if one]
    mark = "- " if style == "list" else ""
    return Laid(text="\n".join(mark + one.text for one in claims if one.supported), claims=tuple(claims))


def _read_table(lines: Sequence[str], question: str, evidence: Evidence, document: Documents) -> Laid:
    table = [_cells(line) for line in lines if "|" in line and not _RULE.fullmatch(line)]
    if len(table) < 2:
        return Laid(text="", claims=())
    names = [name if _known(name, question, evidence) else "" for name in table[0]][:MOST_COLUMNS]
    written = dict.fromkeys(tuple((*row, *[rows.EMPTY] * len(names))[: len(names)]) for row in table[1:])
    found = rows.checked(names, list(written)[:MOST_ROWS], evidence, question, document)
    shown = [row.cells for row in found if row.claim.supported]
    text = "\n".join(map(_row, [names, ["---"] * len(names), *shown])) if shown else ""
    return Laid(text=text, claims=tuple(row.claim for row in found))


def _cells(line: str) -> list[str]:
    return [cell.strip() or rows.EMPTY for cell in line.strip().strip("|").split("|")]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _known(name: str, question: str, evidence: Evidence) -> bool:
    """Whether the name of a column is made of words of the question or of the passages."""
    texts = [question, *(part for one in evidence.passages for part in (one.text, one.title, *one.headings))]
    return set(compress.terms(name)) <= {term for text in texts for term in compress.terms(text)}


def _sentences(evidence: Evidence) -> Grammar:
    found = dict.fromkeys(" ".join(unit.text.split()) for passage in evidence.passages for unit in quote.units(passage))
    sentence = " | ".join(json.dumps(text) for text in found)
    start = f'start: "{NOT_FOUND}" | SENTENCE ("\\n" SENTENCE){{0,{MOST_SENTENCES - 1}}}'
    return Grammar(kind="lark", source=f"{start}\nSENTENCE: {sentence}")


def _table(question: str, evidence: Evidence) -> Grammar:
    """A line of names, and rows of as many cells, those of one row all from one unit or what stands right above it."""
    units = [unit for passage in evidence.passages for unit in rows.units(passage)]
    heads = list(dict.fromkeys([question, *(line for one in evidence.passages for line in rows.headers(one))]))
    lines = [*_cells_of("UNIT", [unit.text for unit in units], _CELL), *_cells_of("HEAD", heads, _NAME)]
    lines += [f"SUBJECT_{at}: ({_subject(at, units)}) & /{_SHORT}/" for at in range(len(units))]
    lines.append(f"NAME: {' | '.join(f'HEAD_{at}' for at in range(len(heads)))}")
    for width in range(2, MOST_COLUMNS + 1):
        times = f"{{{width - 1}}}"
        row = " | ".join(f'SUBJECT_{at} (" | " (UNIT_{at} | "{rows.EMPTY}")){times}' for at in range(len(units)))
        lines.append(f"row_{width}: {row}")
        lines.append(f'table_{width}: NAME (" | " NAME){times} ("\\n" row_{width}){{1,{MOST_ROWS}}}')
    tables = " | ".join(f"table_{width}" for width in range(2, MOST_COLUMNS + 1))
    return Grammar(kind="lark", source="\n".join([f'start: "{NOT_FOUND}" | {tables}', *lines]))


def _cells_of(kind: str, texts: Sequence[str], form: str) -> Iterator[str]:
    """Terminals KIND_0, KIND_1, ...: runs of words of one of the texts each that fit into a cell of that form."""
    for at, text in enumerate(texts):
        yield f"{kind}_{at}: {kind}_TEXT_{at} & /{form}/"
        yield f"{kind}_TEXT_{at}: %regex {json.dumps({'substring_chunks': quote.chunks(' '.join(text.split()))})}"


def _subject(at: int, units: Sequence[Place]) -> str:
    """What a row about a unit may be about: words of it or of the unit before, or the title or headings above it."""
    above = [units[at].passage.title, *units[at].passage.headings]
    names = [json.dumps(name) for name in dict.fromkeys(above) if name and "|" not in name and "\n" not in name]
    before = [f"UNIT_{at - 1}"] if at and units[at - 1].passage == units[at].passage else []
    return " | ".join([f"UNIT_{at}", *before, *names])
