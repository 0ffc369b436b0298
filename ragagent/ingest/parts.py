"""The parts that turn a source into an index, by name: what makes two indexes of the same documents alike."""

from __future__ import annotations

from collections.abc import Mapping

from ragagent.errors import FingerprintMismatch
from ragagent.index.fingerprint import CHUNKER, EMBEDDER, NAME, READERS, TOKENIZER
from ragagent.ingest import chunking
from ragagent.protocols import Embedder, Tokenizer
from ragagent.settings import ChunkingSettings
from ragagent.types import digest

# Scripts with and without spaces, digits, marks, a run of blanks, a long word, an emoji of several code points:
# where tokenisers that differ, differ.
_PROBE = (
    "The ferry leaves at 07:45, doesn't it? Élan naïve: €1,234.56 (3.5%) -- e-mail: a_b@example.org/x?y=1#z\n\n"
    "   \tBundesverfassungsgericht internationalization pneumonoultramicroscopicsilicovolcanoconiosis\n"
    "Быстрая лиса ὁ λόγος العربية עברית हिन्दी ภาษาไทย 한국어 日本語の文章です。中文没有空格，也有标点。\n"
    "def f(x): return {'a': [1, 2], **x} != None  # <b>&amp;</b> \u200b 👩‍👩‍👧 ﬁ ½ ² Ⅷ e\u0301 [MASK] <s>"
)


def fingerprint(embedder: Embedder, settings: ChunkingSettings) -> dict[str, str]:
    """Everything that an ingest with these parts depends on; the index adds its analyser and the dimension."""
    from ragagent.connectors import readers

    return {
        **writing(embedder, settings),
        NAME: embedder.name,
        TOKENIZER: tokenizer_fingerprint(embedder.tokenizer),
        READERS: readers.FINGERPRINT,
    }


def writing(embedder: Embedder, settings: ChunkingSettings) -> dict[str, str]:
    """What has to agree with the index before anything is written; costs nothing."""
    return {EMBEDDER: embedder.fingerprint, CHUNKER: chunking.fingerprint(settings)}


def require(stored: Mapping[str, str], given: Mapping[str, str]) -> None:
    """Raises FingerprintMismatch when the index records other parts than these, before any work is done for it."""
    wrong = [
        f"{key} is {stored[key]!r}, now {value!r}" for key, value in given.items() if stored.get(key, value) != value
    ]
    if wrong:
        raise FingerprintMismatch(
            f"the knowledge base was built with other parts: {'; '.join(wrong)}. "
            "Use the settings it was built with, or see what a change would take: ragagent migrate --plan"
        )


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """The tokens of a text of many scripts, as a digest: tokenisers that count it alike cut documents alike.

    By behaviour and not by file, so that an embedder may be replaced by one of the same family without cutting anew.
    """
    return digest(*(f"{start}-{end}" for start, end in tokenizer.offsets(_PROBE).tolist()))
