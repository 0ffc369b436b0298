"""Text to the terms of the sparse search: one analyser for what is indexed and what is asked, for every script.

Words are split at whatever is neither letter, mark nor digit, case-folded, freed of accents where the script is Latin,
and stemmed: in the language of the text where that is known (`stemming`), as English otherwise where they are plain
English letters. Scripts written without spaces (and Korean, whose endings stick to the word) become character bigrams.
Identifiers, part numbers and dates are kept whole and in parts; a number is kept whole, and once more without its
thousands separators.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import chain
from typing import TypeAlias

from ragagent.text import language as languages
from ragagent.text.stemming import Stemmers, bare, script
from ragagent.text.stemming import languages as stemmed_languages

FINGERPRINT = "terms-2 nfkc casefold fold-latin snowball-by-language bigrams"
"""Changes whenever the same text could give other terms."""

MAX_TERM_CHARS = 64
"""Longer runs are cut: nobody searches for the tail of an encoded blob."""

_CACHED_WORDS = 200_000
_CACHED_CHARS = 40
_MANY_WORDS = 32
"""A question of more words is asked for in one language: each word would be looked up twenty times otherwise."""
_NORMALISED_CHARS = 4096  # Normalising takes quadratic time where combining marks pile up.

_JOINERS = "'.,-_/:@&+#"
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_GROUPED = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*(?:[.,]\d+)?")
_COMPOUND = re.compile(r"[^\W\d_]+(?:[-/][^\W\d_]+)+")
_PARTS = re.compile(r"[^'.,\-_/:@&+#]+")
_HUMPS = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|\d+|[^A-Za-z\d]+")
_CONTRACTION = re.compile(r"[^\W\d_]+'[^\W\d_]+")
_SEGMENTED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3105-\u312f\u3131-\u318e"
    "\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff"
    "\U00020000-\U0003ffff]+"
)

STOP_WORDS = frozenset(
    """
    a about above after again against all am an and any are as at be because been before being below between both
    but by can could did do does doing down during each few for from further had has have having he her here hers
    herself him himself his how i if in into is it its itself just me more most my myself no nor not now of off on
    once only or other our ours ourselves out over own s same she should so some such t than that the their theirs
    them themselves then there these they this those through to too under until up very was we were what when
    where which while who whom why will with would you your yours yourself yourselves
    """.split()  # noqa: SIM905
)
"""English words that a question can do without. They are indexed all the same, for a question made of nothing else."""


Word: TypeAlias = tuple[str, ...]
"""The terms that may stand for one word."""
Stems = Callable[[str], Word]
"""What a plain word is indexed by, or asked for."""


class _Characters(dict[int, str | None]):
    """The character map of `str.translate`, filled in as characters come up."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        mapped = self[code] = _mapped(character)
        return mapped


def _mapped(character: str) -> str | None:
    category = unicodedata.category(character)
    if character in _JOINERS or category[0] in "LM":
        return character
    if category == "Nd":
        return str(unicodedata.decimal(character))
    if category[0] == "N":
        return character
    if character in "\u2018\u2019\u02bc\uff07":
        return "'"
    if category == "Pd" or character == "\u2212":
        # A dash between words joins them at most as a hyphen does; an em dash never does.
        return " " if character in "\u2014\u2015" else "-"
    return None if category == "Cf" else " "


_CHARACTERS = _Characters()


class _Cache(dict[str, tuple[Word, ...]]):
    """The terms of words, filled in as words come up; looked up without a step of Python for each."""

    def __init__(self, analysed: Callable[[str], tuple[Word, ...]]) -> None:
        super().__init__()
        self._analysed = analysed

    def __missing__(self, word: str) -> tuple[Word, ...]:
        terms = self._analysed(word)
        if len(word) <= _CACHED_CHARS:
            if len(self) >= _CACHED_WORDS:
                self.clear()
            self[word] = terms
        return terms


class Analyser:
    """Turns text into terms; safe to use from several threads. About 5 MB of English a second or more.

    Terms hold no white space and at most MAX_TERM_CHARS characters. The work is linear in the length of the text.
    """

    fingerprint = FINGERPRINT

    def __init__(self) -> None:
        self._stemmers = Stemmers()
        self._indexed: dict[str, _Cache] = {}
        self._asked = self._cache(self._each_stem)

    def index_terms(self, text: str, language: str = "") -> list[str]:
        """The terms of a `text` of that language in order, repetitions included; "" where it is not known."""
        words = self._words_in(language)
        return [term for written in _words(text) for (term,) in words[written]]

    def query_terms(self, text: str, language: str = "") -> list[str]:
        """Those of a question that texts of that language are indexed by, without stop words as in `query_words`."""
        return [term for (term,) in self._telling(text, self._words_in(language))]

    def query_words(self, text: str) -> list[Word]:
        """What a question asks for, in order: for each of its words the terms that texts have for it.

        These are the word's stems in every language that it may be of. The stop words of English and of the
        question's own language are left out wherever a word is left without them.
        """
        many = text.count(" ") >= _MANY_WORDS
        # A long text is sure to be taken for the language it is in.
        return self._telling(text, self._words_in(languages.detect(text)) if many else self._asked)

    def _telling(self, text: str, cache: _Cache) -> list[Word]:
        written = _words(text)
        telling = list(chain.from_iterable(map(cache.__getitem__, _telling(written, languages.of_question(text)))))
        return telling or list(chain.from_iterable(map(cache.__getitem__, written)))

    def _words_in(self, language: str) -> _Cache:
        """The words of texts of that language, each with the one term that it is indexed by."""
        cache = self._indexed.get(language)
        if cache is None:
            cache = self._indexed[language] = self._cache(lambda word: (self._stem(word, language),))
        return cache

    def _cache(self, stems: Stems) -> _Cache:
        return _Cache(lambda word: tuple(one for one in _terms(word, stems) if any(one)))

    def _stem(self, word: str, language: str) -> str:
        return self._stemmers.marked(word, language, MAX_TERM_CHARS) or self._unmarked(word)

    def _each_stem(self, word: str) -> Word:
        marked = (self._stemmers.marked(word, one, MAX_TERM_CHARS) for one in stemmed_languages(script(word)))
        return tuple(filter(None, (self._unmarked(word), *marked)))

    def _unmarked(self, word: str) -> str:
        folded = _folded(word)
        if not folded.isascii() or not folded[:1].isalpha():
            return folded
        return self._stemmers.english(folded)


def _telling(words: list[str], language: str) -> list[str]:
    """`words` without the stop words of English and those of `language`."""
    own = languages.frequent_words(language) if language != "en" else frozenset()
    folded = [word.strip(_JOINERS).casefold() for word in words]
    return [word for word, fold in zip(words, folded, strict=True) if fold not in STOP_WORDS and fold not in own]


def _terms(word: str, stems: Stems) -> Iterator[Word]:
    """The terms of one run of word characters and joiners."""
    start = 0
    for run in _SEGMENTED.finditer(word):
        yield from _spaced(word[start : run.start()], stems)
        yield from ((pair,) for pair in _bigrams(run.group()))
        start = run.end()
    yield from _spaced(word[start:], stems)


def _spaced(word: str, stems: Stems) -> Iterator[Word]:
    word = word.lstrip(_JOINERS).rstrip("'.,-_/:@&")
    core = word.rstrip("+#")
    if not core:
        return
    if _NUMBER.fullmatch(core):
        yield from ((form,) for form in _number(core))
    elif (core.isalnum() and _plain(core)) or (not core.isascii() and script(core)):
        # Vowel signs are marks and no letters, so a word of Hindi is not alphanumeric.
        yield stems(core)
        if core != word:
            yield (_folded(word),)
    elif _CONTRACTION.fullmatch(core):
        yield stems(core)
    else:
        yield from _joined(word, stems)


def _joined(word: str, stems: Stems) -> Iterator[Word]:
    """An identifier, part number or date: the whole, then its parts. Of a mere compound word, the parts."""
    # The whole of "copper-free" is no help beside its parts: 0.003 to 0.005 nDCG@10 lost on SciFact and Cranfield.
    parts = _PARTS.findall(word)
    if parts == [word] or (len(word) <= MAX_TERM_CHARS and not _COMPOUND.fullmatch(word)):
        yield (_folded(word),)
    for part in parts:
        if part != word and not part.isdecimal():
            yield stems(part)
        elif part != word:
            yield (part[:MAX_TERM_CHARS],)
        if not _plain(part):
            yield from (stems(hump) for hump in _HUMPS.findall(part) if len(hump) > 1)


def _words(text: str) -> list[str]:
    """`text` cut at everything that is no part of a word; joining punctuation stays on."""
    if len(text) <= _NORMALISED_CHARS:
        return unicodedata.normalize("NFKC", text).translate(_CHARACTERS).split()
    return [word for piece in _pieces(text) for word in _words(piece)]


def _pieces(text: str) -> Iterator[str]:
    """`text` in parts of bounded length, cut at spaces where there are any."""
    start = 0
    while start < len(text):
        end = start + _NORMALISED_CHARS
        space = text.rfind(" ", start, end) if end < len(text) else -1
        end = space + 1 if space > start else end
        yield text[start:end]
        start = end


def _plain(word: str) -> bool:
    """Whether `word` has no parts: neither inner capitals nor digits beside letters."""
    if word.isalpha():
        return word.islower() or word[1:].islower() or word.isupper() or not word.isascii()
    return word.isdecimal() or not word.isascii()


def _folded(word: str) -> str:
    """Case-folded and cut; Latin letters without their accents, other scripts with their marks."""
    return bare(word[:MAX_TERM_CHARS].casefold()[:MAX_TERM_CHARS])


def _number(text: str) -> Iterator[str]:
    """A number as it stands and in one form for all: 82,959 also as 82959, 3,5 also as 3.5, 1,2,3 also one by one."""
    text = text[:MAX_TERM_CHARS]
    yield text
    grouped = _GROUPED.fullmatch(text)
    if grouped:
        yield text.replace(grouped.group(1), "").replace(",", ".")
    elif text.count(",") == 1 and "." not in text:
        yield text.replace(",", ".")
    elif "," in text:
        yield from text.split(",")


def _bigrams(run: str) -> Iterator[str]:
    """Each pair of neighbouring characters; a lone character by itself."""
    if len(run) == 1:
        yield run
    for index in range(len(run) - 1):
        yield run[index : index + 2]
