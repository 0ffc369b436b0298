"""Answers as JSON by a schema: a grammar that admits only what the evidence has, and the check of every value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from ragagent.answer import draft, figures, quote, rows, verify
from ragagent.answer.quote import Documents, Place
from ragagent.answer.styles import Laid
from ragagent.errors import ConfigError, ModelError
from ragagent.models import grammar as grammars
from ragagent.retrieve import compress
from ragagent.text import columns
from ragagent.types import Claim, Evidence, Grammar, Scalar

MOST_ITEMS = 20
MOST_DEPTH = 8
MOST_CHARS = 20_000
MOST_LEAVES = 200
NO_JSON = "what the model wrote is no JSON"
NOT_FILLED = "what the documents say does not fill the schema"
_MISSING = object()
_KINDS = ("string", "number", "integer", "boolean", "object", "array")

Schema = Mapping[str, Any]


def of(given: Any) -> dict[str, Any]:
    """The JSON schema in what an application gives: a schema, or a pydantic model. Raises ConfigError for others."""
    made = getattr(given, "model_json_schema", None)
    schema = made() if callable(made) else given
    if not isinstance(schema, Mapping):
        raise ConfigError(f"a schema is a JSON schema or a pydantic model, not {type(given).__name__}")
    found = dict(schema)
    require(found)
    return found


def require(schema: Schema) -> None:
    """Raises ConfigError, naming the place, for a schema whose values cannot be looked for in documents."""
    if len(shown(schema)) > MOST_CHARS:
        raise ConfigError(f"the schema has more than {MOST_CHARS} characters")
    _rule(schema, schema, "$", _Parts(strings="", numbers=(), dates=()), 0)


def shown(schema: Schema) -> str:
    """The schema as the model reads it."""
    try:
        return json.dumps(schema, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"the schema is not plain JSON: {error}") from error


def plain(schema: Schema) -> Grammar:
    """The schema as a grammar, for a model that cannot be held to the evidence."""
    return grammars.json_schema(schema)


def grammar(schema: Schema, evidence: Evidence) -> Grammar:
    """The JSON values of the schema's shape whose texts are runs of the evidence and whose numbers stand in it.

    Every value may be null as well, so that nothing has to be made up. Fields come in the order of the schema.
    """
    texts = [unit.text for passage in evidence.passages for unit in quote.units(passage)]
    parts = _Parts(strings="TEXT", numbers=tuple(_numbers(texts)), dates=tuple(_dates(texts)))
    lines = [f"start: {_rule(schema, schema, '$', parts, 0)}", *quote.strings("TEXT", evidence)]
    return Grammar(kind="lark", source="\n".join(lines))


def read(schema: Schema, text: str, question: str, evidence: Evidence, document: Documents) -> Laid:
    """The value in what a model wrote, without what is not supported, and a claim for each value in it.

    A value that no citation supports becomes null; where the schema has no place for null, its field or item goes.
    Where the schema accepts nothing of what is left, there is no value, and `reason` says what is missing.
    """
    try:
        value = json.loads(draft.unfenced(text))
    except (ValueError, RecursionError):
        return Laid(text="", claims=(), reason=NO_JSON)
    leaves = list(_leaves(value, schema, schema))[:MOST_LEAVES]
    claims = tuple(_Checker(question=question, evidence=evidence, document=document).claims(leaves))
    kept = {leaf.path for leaf, claim in zip(leaves, claims, strict=True) if claim.supported}
    if not kept:
        return Laid(text="", claims=claims)
    data = _fitted(value, schema, schema, kept)
    try:
        grammars.validated(data, schema)
    except ModelError as error:
        return Laid(text="", claims=tuple(map(_unshown, claims)), reason=f"{NOT_FILLED}: {error}")
    return Laid(text=json.dumps(data, ensure_ascii=False), claims=claims, data=data)


def _unshown(claim: Claim) -> Claim:
    """A claim that nothing is shown of, since what would be shown is not what was asked for."""
    return replace(claim, supported=False, problems=claim.problems or ("the schema asks for more",))


# --- the grammar


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What leaves may be: the name of the terminal of texts, and the numbers and dates of the evidence as JSON."""

    strings: str
    numbers: tuple[str, ...]
    dates: tuple[str, ...]


def _rule(schema: Schema, root: Schema, place: str, parts: _Parts, depth: int) -> str:
    """The grammar of a value, as the right side of a rule."""
    schema = _plain(schema, root, place)
    if depth > MOST_DEPTH:
        raise ConfigError(f"the schema is nested too deeply at {place}")
    if "enum" in schema or "const" in schema:
        return _choice([json.dumps(one, ensure_ascii=False) for one in schema.get("enum", [schema.get("const")])])
    kind = _kind(schema)
    if kind == "object":
        fields = _fields(schema, place)
        rules = {name: _rule(one, root, f"{place}.{name}", parts, depth + 1) for name, one in fields.items()}
        inner = [f"{json.dumps(_key(name))} {rule}" for name, rule in rules.items()]
        return '("{" ' + ' ", " '.join(inner) + ' "}")'
    if kind == "array":
        item = _rule(_items(schema, place), root, f"{place}[]", parts, depth + 1)
        return f'("[" ({item} (", " {item}){{0,{MOST_ITEMS - 1}}})? "]")'
    return _leaf(schema, kind, parts)


def _key(name: str) -> str:
    return f"{json.dumps(name, ensure_ascii=False)}: "


def _leaf(schema: Schema, kind: str, parts: _Parts) -> str:
    if kind == "boolean":
        return _choice(["true", "false"])
    if kind == "number":
        return _choice(parts.numbers)
    if kind == "integer":
        return _choice([one for one in parts.numbers if re.fullmatch(r"\d+", one)])
    if schema.get("format") == "date":
        return _choice([json.dumps(one) for one in parts.dates])
    return f'("\\"" {parts.strings or "TEXT"} "\\"" | "null")'


def _choice(options: Sequence[str]) -> str:
    return f"({' | '.join(json.dumps(one, ensure_ascii=False) for one in dict.fromkeys([*options, 'null']))})"


def _plain(schema: Any, root: Schema, place: str) -> Schema:
    """A schema without references, and without the choice of null beside one other."""
    for _ in range(MOST_DEPTH):
        if not isinstance(schema, Mapping):
            raise ConfigError(f"the schema at {place} is {schema!r:.40}, not an object")
        if "$ref" in schema:
            schema = _referred(str(schema["$ref"]), root, place)
            continue
        options = [
            one
            for one in (*schema.get("anyOf", ()), *schema.get("oneOf", ()), *schema.get("allOf", ()))
            if not (isinstance(one, Mapping) and one.get("type") == "null")
        ]
        if not options:
            return schema
        if len(options) > 1:
            raise ConfigError(f"the schema at {place} leaves open which of {len(options)} forms a value has")
        schema = options[0]
    raise ConfigError(f"the schema at {place} refers to itself")


def _referred(reference: str, root: Schema, place: str) -> Any:
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
    if not reference.startswith("#/") or found is None:
        raise ConfigError(f"the schema at {place} refers to {reference!r}, which is not in it")
    return found


def _kind(schema: Schema) -> str:
    kinds = schema.get("type")
    listed = [one for one in (kinds if isinstance(kinds, list) else [kinds]) if one != "null"]
    if listed == [None]:
        listed = ["object"] if "properties" in schema else ["array"] if "items" in schema else ["string"]
    if len(listed) != 1 or listed[0] not in _KINDS:
        raise ConfigError(f"a value of the schema has the type {kinds!r}; one of {', '.join(_KINDS)} is needed")
    return str(listed[0])


def _fields(schema: Schema, place: str) -> Mapping[str, Any]:
    fields = schema.get("properties")
    if not isinstance(fields, Mapping) or not fields:
        raise ConfigError(f"the schema at {place} is an object without named properties: there is nothing to look for")
    return fields


def _items(schema: Schema, place: str) -> Any:
    if not isinstance(schema.get("items"), Mapping):
        raise ConfigError(f"the schema at {place} is an array that does not say what its items are")
    return schema["items"]


def _numbers(texts: Sequence[str]) -> Iterator[str]:
    """The numbers of some texts as JSON, each once, as they are written and with words such as million counted in."""
    found: dict[str, None] = {}
    for text in texts:
        for one in figures.quantities(text):
            found[f"{one.number.lstrip('0') or '0'}" if "." not in one.number else one.number] = None
    return iter([one for one in found if _is_number(one)])


def _is_number(text: str) -> bool:
    return re.fullmatch(r"(?:0|[1-9]\d*)(?:\.\d+)?", text) is not None


def _dates(texts: Sequence[str]) -> Iterator[str]:
    """The dates of some texts as 2023-07-01, in each way in which they can be read."""
    for text in texts:
        for one in figures.dates(text):
            yield from (f"{year:04}-{month:02}-{day:02}" for year, month, day in sorted(one.readings) if day)


# --- the check


@dataclass(frozen=True, slots=True, kw_only=True)
class _Leaf:
    """A value at `path`; `item` is the path of the object of a list that it belongs to, "" for none."""

    path: str
    value: Scalar
    schema: Schema
    item: str = ""

    @property
    def name(self) -> str:
        """The words of its field, with what the schema says of it."""
        field = re.sub(r"(?<=[a-z])(?=[A-Z])|[_\W\d]+", " ", self.path.removeprefix(self.item))
        return f"{field} {self.schema.get('title', '')} {self.schema.get('description', '')}".strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Checker:
    """Holds the values of one answer against the evidence."""

    question: str
    evidence: Evidence
    document: Documents

    def claims(self, leaves: Sequence[_Leaf]) -> list[Claim]:
        """A claim for each of the values, in order. Those of one object of a list have to be said of its subject."""
        items: dict[str, list[_Leaf]] = {}
        for leaf in leaves:
            items.setdefault(leaf.item, []).append(leaf)
        firsts = {item: next((one for one in some if isinstance(one.value, str)), None) for item, some in items.items()}
        subjects = [str(one.value) for item, one in firsts.items() if item and one is not None]
        found: dict[str, Claim] = {}
        for item, some in items.items():
            first = firsts[item] if item else None
            for leaf, claim in self._of_subject(first, some, subjects) if first else self._alone(some):
                found[leaf.path] = claim
        return [found[leaf.path] for leaf in leaves]

    def _alone(self, leaves: Sequence[_Leaf]) -> Iterator[tuple[_Leaf, Claim]]:
        for leaf in leaves:
            yield leaf, self._claim(leaf, self._flag(leaf, "") if isinstance(leaf.value, bool) else self._place(leaf))

    def _of_subject(
        self, first: _Leaf, leaves: Sequence[_Leaf], subjects: Sequence[str]
    ) -> Iterator[tuple[_Leaf, Claim]]:
        """The values of one object: those beside its subject from a passage that says them of it."""
        subject = str(first.value)
        others = [one for one in leaves if one is not first and not isinstance(one.value, bool)]
        said = rows.said(
            subject, [(one.value, one.name) for one in others], subjects, self.evidence, self.question, self.document
        )
        by_path = dict(zip((one.path for one in others), said, strict=True))
        for leaf in leaves:
            if leaf is first:
                yield leaf, self._claim(leaf, self._place(leaf))
            elif isinstance(leaf.value, bool):
                yield leaf, self._claim(leaf, self._flag(leaf, subject))
            else:
                claim = by_path[leaf.path]
                problem = f"it is not said of {subject!r}"
                yield (
                    leaf,
                    replace(claim, text=_label(leaf)) if claim else Claim(text=_label(leaf), problems=(problem,)),
                )

    def _claim(self, leaf: _Leaf, place: Place | None) -> Claim:
        if place is None:
            return Claim(text=_label(leaf), problems=("no passage says it",))
        cited = quote.citation(quote.widened(place), self.document)
        column = columns.name_at(place.passage.text, place.start, place.end)
        said = verify.checked(place.text, [cited], self.question, column=column)
        return replace(said, text=_label(leaf))

    def _place(self, leaf: _Leaf) -> Place | None:
        """Where a value stands; of several places the one whose sentence shares most words with what is asked."""
        wanted = set(compress.question_terms(f"{self.question} {leaf.name}"))
        found = [
            (len(wanted.intersection(compress.terms(unit.text))), start, end, unit)
            for unit in self._units()
            for start, end in rows.spots(leaf.value, unit.text)
        ]
        if not found:
            return None
        _, start, end, unit = max(found, key=lambda one: one[0])
        return Place(passage=unit.passage, start=unit.start + start, end=unit.start + end)

    def _flag(self, leaf: _Leaf, subject: str) -> Place | None:
        """The sentence that shares most words with a field of yes or no, where it denies exactly what is false."""
        units = [unit for unit in self._units() if not subject or rows.spots(subject, unit.text)]
        scores = compress.scores(leaf.name, [unit.text for unit in units])
        best = max(range(len(units)), key=lambda at: scores[at], default=None)
        if best is None or not scores[best] or verify.denies(units[best].text) == leaf.value:
            return None
        return units[best]

    def _units(self) -> list[Place]:
        """The units that may be about what is asked: of tables, the rows that the question names where it names any."""
        units = [unit for passage in self.evidence.passages for unit in rows.units(passage)]
        asked = set(compress.question_terms(self.question))
        labels = {at: set(compress.terms(rows.label(unit.text))) for at, unit in enumerate(units)}
        named = {at for at, words in labels.items() if words and words <= asked}
        return [unit for at, unit in enumerate(units) if not named or not labels[at] or at in named]


def _leaves(value: Any, schema: Any, root: Schema, path: str = "", item: str = "") -> Iterator[_Leaf]:
    """The values that are not null, in the order of the schema."""
    schema = _plain(schema, root, path or "$")
    if isinstance(value, Mapping):
        fields = schema.get("properties", {})
        for name in (name for name in fields if name in value):
            yield from _leaves(value[name], fields[name], root, f"{path}.{name}" if path else name, item)
    elif isinstance(value, list):
        for at, one in enumerate(value):
            place = f"{path}[{at}]"
            inner = place if isinstance(one, Mapping) else item
            yield from _leaves(one, schema.get("items", {}), root, place, inner)
    elif value is not None:
        yield _Leaf(path=path, value=value, schema=schema, item=item)


def _fitted(value: Any, schema: Any, root: Schema, kept: Set[str], path: str = "") -> Any:
    """`value` with only the leaves of `kept`: null for others, or nothing where the schema has no place for null."""
    shared = {name: root[name] for name in ("$defs", "definitions") if name in root}
    accepts_null = grammars.accepts(None, {**shared, **schema})
    plain = _plain(schema, root, path or "$")
    if isinstance(value, Mapping):
        fields = plain.get("properties", {})
        found = {
            name: _fitted(value[name], fields[name], root, kept, f"{path}.{name}" if path else name)
            for name in fields
            if name in value
        }
        left = {name: one for name, one in found.items() if one is not _MISSING}
        return left if any(one is not None for one in left.values()) or not path else _null(accepts_null)
    if isinstance(value, list):
        some = [_fitted(one, plain.get("items", {}), root, kept, f"{path}[{at}]") for at, one in enumerate(value)]
        # Small models begin a list again where they do not find its end.
        return [one for at, one in enumerate(some) if one is not _MISSING and one is not None and one not in some[:at]]
    return value if value is not None and path in kept else _null(accepts_null)


def _null(accepted: bool) -> Any:
    return None if accepted else _MISSING


def _label(leaf: _Leaf) -> str:
    text = leaf.value if isinstance(leaf.value, str) else json.dumps(leaf.value)
    return f"{leaf.path}: {text}" if leaf.path else text
