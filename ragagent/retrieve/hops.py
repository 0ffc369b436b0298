"""Questions of two hops: what the first passages name leads to the second ones.

"Who directed the film in which the singer of ABBA played?" needs a passage about the singer and one about the film, and
the second shares few words with the question. So the question is searched once more together with the names that stand
in what was found, and the rankings are fused. No language model is asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ragagent.retrieve import compress
from ragagent.types import Hit

FIRST = 1
"""So many of the best passages lead on: names of a second one lead astray as often as on (HotpotQA, SQuAD 2.0)."""
WEIGHT = 0.5
"""What the second search counts beside the first: between 0.2 and 1 makes little difference on HotpotQA and SciFact."""
MOST_NAMES = 8
_LOOKED_AT = 2000
_CAPITALISED = r"\b[^\W\d_a-z][\w'’-]+"
_NAME = re.compile(rf"{_CAPITALISED}(?:\s+(?:(?:of|the|of the|de|von|van|la|du)\s+)?{_CAPITALISED}){{0,5}}")


def second(question: str, hits: Sequence[Hit]) -> list[str]:
    """The question with the names in each of the first hits that it does not have itself; none where there are none."""
    asked = set(compress.terms(question))
    found = []
    for hit in hits[:FIRST]:
        new = [name for name in names(hit.text[:_LOOKED_AT]) if not asked.issuperset(compress.terms(name))]
        if new:
            found.append(" ".join([question, *new[:MOST_NAMES]]))
    return list(dict.fromkeys(found))


def names(text: str) -> list[str]:
    """Runs of words that begin with a capital, each once, in order; scripts without capitals have none."""
    found = (" ".join(match.group().split()) for match in _NAME.finditer(text))
    return list(dict.fromkeys(name for name in found if name[0].isupper()))
