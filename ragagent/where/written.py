r"""Filters as people write them, and expressions as that text.

    type = "pdf" and date >= 2024-01-01 and tag in ("a", "b")
    not (status = draft or title starts with "Old") and 2020 <= year < 2024
    `my key` != 'it\'s' or author exists

| written | means |
|---|---|
| `a and b`, `a or b`, `not a`, `(a)`, `true`, `false` | `and` binds more closely than `or`, `not` most closely |
| `key = value`, `key != value` | `Eq`, and that it does not hold |
| `key < value`, `<=`, `>`, `>=`; `low <= key < high` | `Range`; the chained form asks one value for both bounds |
| `key in (value, ...)`, `key not in (...)` | `In` |
| `key starts with "text"`, `key not starts with "text"` | `Prefix` |
| `key exists`, `key not exists`; `key is not null`, `key is null` | `Exists`: there is a value other than null |

A value is text in double or single quotes, a number, true, false, null, a date or a time in ISO form (which is text),
or a word without quotes (text as well). A key is a word, or anything in backticks; nothing else is taken for a key.
Words begin with a letter or `_` and go on with letters, digits and `_ . : / @ + -`. In quotes and backticks `\\`,
`\"`, `\'`, `` \` ``, `\n`, `\r`, `\t`, `\uXXXX` and `\u{X...}` are escapes. Keywords may be in capitals. The time to
read a text is in proportion to its length, which is bounded, as is the depth.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NoReturn

from ragagent.errors import ConfigError
from ragagent.types import Scalar
from ragagent.where.expressions import (
    DEEPEST,
    MOST_PARTS,
    MOST_VALUES,
    And,
    Eq,
    Exists,
    Expression,
    In,
    Not,
    Or,
    Prefix,
    Range,
    bounded,
)

MOST_CHARACTERS = 1_000_000
MOST_DIGITS = 4200
"""Of a whole number: Python itself reads no more than 4300."""
_SHOWN = 60
_NESTED = 3 * DEEPEST
"""Parentheses may be doubled, so more of them than levels are read."""

KEYWORDS = frozenset(("and", "or", "not", "in", "is", "starts", "exists", "null", "true", "false"))
WORD = r"[^\W\d][\w.:/@+-]*"
_NUMBER = re.compile(r"[+-]?(?:(?:0|[1-9]\d*)(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_MONTH = re.compile(r"\d{4}-(?:0[1-9]|1[0-2])", re.ASCII)
_TOKEN = re.compile(
    rf"""(?P<blank>\s+)
    | (?P<number>[+-]?(?:\d|\.\d)[\w.:+-]*|[+-]?inf(?![\w.:/@+-])|nan(?![\w.:/@+-]))
    | (?P<word>{WORD})
    | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    | (?P<key>`(?:[^`\\]|\\.)*`)
    | (?P<operator><=|>=|!=|<>|==|[=<>])
    | (?P<mark>[()\[\],])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]{1,6})\}|u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_ESCAPES = {"\\": "\\", '"': '"', "'": "'", "`": "`", "n": "\n", "r": "\r", "t": "\t"}
BOUNDS = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}
_MIRRORED = {">=": "le", ">": "lt", "<=": "ge", "<": "gt"}

_Kind = Literal["number", "word", "text", "key", "operator", "mark", "end"]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: _Kind
    text: str
    at: int

    @property
    def keyword(self) -> str:
        """The keyword that it is, in small letters; empty for anything else."""
        small = self.text.lower()
        return small if self.kind == "word" and small in KEYWORDS else ""


def parse(text: str) -> Expression:
    """The expression that `text` says; a blank text lets everything through.

    Raises ConfigError, which shows the place and says what was expected there, and for a text that is too large.
    """
    if len(text) > MOST_CHARACTERS:
        raise ConfigError(f"this filter has {len(text)} characters; at most {MOST_CHARACTERS} are read")
    if not text.strip():
        return And(())
    return bounded(_Parser(text).whole())


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            unclosed = text[at] in "\"'`"
            _wrong(text, at, f"{text[at]} is never closed" if unclosed else f"{text[at]!r} means nothing here")
        if found.lastgroup != "blank":
            yield _Token(found.lastgroup, found[0], at)  # type: ignore[arg-type]
        at = found.end()
    yield _Token("end", "", len(text))


def _wrong(text: str, at: int, message: str) -> NoReturn:
    """Raises ConfigError with the part of `text` around the place and a mark below it, each a line of its own."""
    first = max(0, at - _SHOWN)
    shown = _printable(text[first : at + _SHOWN])
    left, right = "…" * (first > 0), "…" * (at + _SHOWN < len(text))
    mark = " " * (len(left) + at - first) + "^"
    said = f"the filter is wrong at character {at + 1}: {_printable(message)}"
    raise ConfigError(f"{said}\n  {left}{shown}{right}\n  {mark}")


def _printable(text: str) -> str:
    """`text` with a blank for each character that would break or move its line."""
    return "".join(one if one.isprintable() else " " for one in text)


class _Parser:
    """Recursive descent, one method a rule of the grammar. For one text, of which no more is read than is needed."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._ahead: list[_Token] = []
        self._depth = self._conditions = self._values = 0

    def whole(self) -> Expression:
        found = self._joined("or", self._conjunction, Or)
        if self._token.kind != "end":
            self._expected("and, or, or the end")
        return found

    def _following(self, count: int) -> list[_Token]:
        """The next tokens, fewer at the end, which stays the last one."""
        while len(self._ahead) < count and (token := next(self._tokens, None)) is not None:
            self._ahead.append(token)
        return self._ahead[:count]

    @property
    def _token(self) -> _Token:
        return self._following(1)[0]

    def _next(self) -> _Token:
        token = self._token
        if token.kind != "end":
            del self._ahead[0]
        return token

    def _take(self, *keywords: str) -> bool:
        """Whether the next words are these; they are taken then."""
        following = self._following(len(keywords))
        if [token.text.lower() for token in following if token.kind == "word"] != list(keywords):
            return False
        del self._ahead[: len(keywords)]
        return True

    def _expected(self, what: str, token: _Token | None = None) -> NoReturn:
        found = token or self._token
        there = "the end" if found.kind == "end" else found.text[:_SHOWN]
        _wrong(self._text, found.at, f"expected {what}, found {there}")

    def _deeper(self, rule: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > _NESTED:
            _wrong(self._text, self._token.at, f"more than {_NESTED} levels of parentheses and not")
        found = rule()
        self._depth -= 1
        return found

    def _joined(self, keyword: str, rule: Callable[[], Expression], kind: type[And] | type[Or]) -> Expression:
        parts = [rule()]
        while self._take(keyword):
            parts.append(rule())
        return parts[0] if len(parts) == 1 else kind(tuple(parts))

    def _conjunction(self) -> Expression:
        return self._joined("and", self._negation, And)

    def _negation(self) -> Expression:
        if self._take("not"):
            return Not(self._deeper(self._negation))
        if self._token.text == "(":
            opened = self._next()
            found = self._deeper(lambda: self._joined("or", self._conjunction, Or))
            if self._token.text != ")":
                self._expected(f"and, or, or ) for the ( at character {opened.at + 1}")
            self._next()
            return found
        if self._take("true"):
            return And(())
        if self._take("false"):
            return Or(())
        return self._condition()

    def _condition(self) -> Expression:
        token = self._token
        self._conditions += 1
        if self._conditions > MOST_PARTS:
            _wrong(self._text, token.at, f"more than {MOST_PARTS} conditions")
        if token.kind in {"number", "text"}:
            return self._chain()
        if token.keyword or token.kind not in {"word", "key"}:
            self._expected("a condition such as key = value (a key with other characters goes into `backticks`)")
        return self._of_key(self._key())

    def _key(self) -> str:
        token = self._next()
        if token.kind == "key":
            return _unescaped(self._text, token)
        if token.kind != "word" or token.keyword:
            self._expected("a key", token)
        return token.text

    def _of_key(self, key: str) -> Expression:
        operator = self._token
        if operator.kind == "operator":
            self._next()
            return self._compared(key, operator.text)
        if self._take("is"):
            found: Expression = Exists(key) if self._take("not") else Not(Exists(key))
            if not self._take("null"):
                self._expected("null or not null")
            return found
        turned = self._take("not")
        found = self._named(key)
        return Not(found) if turned else found

    def _named(self, key: str) -> Expression:
        """The condition that a word stands for."""
        if self._take("in"):
            return In(key, tuple(self._list()))
        if self._take("starts", "with"):
            token = self._token
            prefix = self._value()
            if not isinstance(prefix, str):
                self._expected("text", token)
            return Prefix(key, prefix)
        if not self._take("exists"):
            self._expected("=, !=, <, <=, >, >=, in, not in, starts with, exists or is null")
        return Exists(key)

    def _compared(self, key: str, operator: str) -> Expression:
        if operator in {"=", "=="}:
            return Eq(key, self._value())
        if operator in {"!=", "<>"}:
            return Not(Eq(key, self._value()))
        return Range(key, **{BOUNDS[operator]: self._bound()})

    def _chain(self) -> Expression:
        """`low <= key < high`, or one half of it."""
        first = self._bound()
        operator = self._next()
        if operator.text not in _MIRRORED:
            self._expected("<, <=, > or >= and a key (a key goes into `backticks`, not into quotes)", operator)
        bounds = {_MIRRORED[operator.text]: first}
        key = self._key()
        second = self._token
        if second.text in BOUNDS:
            self._next()
            if second.text[0] != operator.text[0]:
                self._expected(f"{operator.text[0]} or {operator.text[0]}=", second)
            token = self._token
            bounds[BOUNDS[second.text]] = self._bound()
            if len({isinstance(bound, str) for bound in bounds.values()}) > 1:
                self._expected("a bound of the same kind as the first", token)
        return Range(key, **bounds)

    def _bound(self) -> Any:
        token = self._token
        value = self._value()
        if value is None or isinstance(value, bool) or value != value:
            self._expected("a number, a date or text", token)
        return value

    def _list(self) -> Iterator[Scalar]:
        closing = {"(": ")", "[": "]"}.get(self._token.text)
        if closing is None:
            self._expected("( and a list of values")
        self._next()
        if self._token.text == closing:
            self._next()
            return
        while True:
            self._values += 1
            if self._values > MOST_VALUES:
                _wrong(self._text, self._token.at, f"more than {MOST_VALUES} values")
            yield self._value()
            mark = self._next()
            if mark.text == closing:
                return
            if mark.text != ",":
                self._expected(f", or {closing}", mark)

    def _value(self) -> Scalar:
        token = self._next()
        if token.kind == "text":
            return _unescaped(self._text, token)
        if token.kind == "number":
            return _number(self._text, token)
        if token.keyword in {"true", "false", "null"}:
            return {"true": True, "false": False, "null": None}[token.keyword]
        if token.kind != "word" or token.keyword:
            self._expected("a value: text in quotes, a number, a date, true, false or null", token)
        return token.text


def _number(text: str, token: _Token) -> int | float | str:
    """A number, or the text that a date is."""
    said = token.text
    if said.lstrip("+-") in {"inf", "nan"}:
        return float(said)
    if _NUMBER.fullmatch(said):
        if not said.lstrip("+-").isdecimal():
            return float(said)
        if len(said) <= MOST_DIGITS:
            return int(said)
        _wrong(text, token.at, f"a number of more than {MOST_DIGITS} digits")
    if _MONTH.fullmatch(said) or _is_date(said):
        return said
    _wrong(text, token.at, f"{said[:_SHOWN]} is neither a number nor a date such as 2024-01-31; put text into quotes")


def _is_date(said: str) -> bool:
    if said[4:5] != "-":
        return False
    try:
        datetime.datetime.fromisoformat(said)
    except ValueError:
        return False
    return True


def _unescaped(text: str, token: _Token) -> str:
    def one(found: re.Match[str]) -> str:
        code, plain = found[1] or found[2], found[3]
        if plain in _ESCAPES:
            return _ESCAPES[plain]
        if code is None or int(code, 16) > 0x10FFFF:
            known = r"\\, \", \', \`, \n, \r, \t, \uXXXX and \u{X...}"
            _wrong(text, token.at + 1 + found.start(), f"{found[0]} is no escape; there are {known}")
        return chr(int(code, 16))

    return _ESCAPE.sub(one, token.text[1:-1])
