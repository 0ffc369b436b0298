"""Answers as they may be shown: no link, picture or markup that could carry something away.

What a document says can end in an answer, and a page that renders the answer fetches a picture, and looks a link up,
without being asked: an address is enough to send a secret to whoever owns it. So only addresses on hosts that the user
listed stay; everything else of that kind becomes plain text, and its address is taken out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from ragagent.text import hidden

REMOVED = "[link removed]"
_ROUNDS = 8
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_DOT, _COLON, _SLASH = "[.．。｡]", "[:：]", "[/／\\\\＼⁄∕]"
_MARKUP = re.compile(r"<(?=[A-Za-z/!?])")
_INLINE = re.compile(r"!?\[([^\[\]]{0,500})\]\(([^()]{0,2000}(?:\([^()]{0,500}\)[^()]{0,2000})?)\)")
_DEFINITION = re.compile(r"^[ \t>*+-]{0,20}\[([^\]]{1,300})\]:.*$", re.MULTILINE)
_OPEN_LINK = re.compile(r"\](?=\()")
_REST = r"""[^\s<>"'`|{}\[\]]*"""
_SCHEME = rf"(?:[A-Za-z][\w+.-]{{1,20}}{_COLON}{_SLASH}{{2}}|(?:mailto|data|javascript|tel|sms){_COLON}(?=\S))"
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_HOST = rf"{_LABEL}(?:{_DOT}{_LABEL}){{1,10}}"
_ADDRESS = re.compile(
    rf"{_SCHEME}{_REST}"
    rf"|(?<![\w/]){_SLASH}{{2}}{_HOST}{_REST}"
    rf"|\bwww{_DOT}{_REST}"
    rf"|(?<![\w@./-])(?:{_HOST}|localhost)(?:{_COLON}\d{{1,5}})?(?:{_SLASH}|\?){_REST}",
    re.IGNORECASE,
)
_DOMAIN = re.compile(rf"(?<![\w@./-]){_HOST}(?![\w@-])", re.IGNORECASE)
_FRACTION = re.compile(r"[\d.,]+[/⁄∕][\d.,]+$")
# Endings of names of files and of sentences without a space are left alone; these are where links are made of names.
_TOP = frozenset(
    re.findall(
        r"\w+",
        """com net org edu gov mil int info biz name pro io co me tv cc ai app dev xyz top site online website store
        shop club live link click space tech cloud page pages pw ru cn de uk eu us fr it es nl ch at be ca au jp kr in
        br za tk ml ga cf gq ws su mobi zip mov test example onion""",
    )
)
# Of countries: programs make links of these too. Two letters end many a file's name (notes.py, read.me), so they count
# where a third name is before them, which is where what is carried away stands.
_COUNTRY = re.compile(
    "a[cdefgilmnoqrstuwxz]|b[abdefghijmnorstvwyz]|c[acdfghiklmnoruvwxyz]|d[ejkmoz]|e[cegrstu]|f[ijkmor]"
    "|g[abdefghilmnpqrstuwy]|h[kmnrtu]|i[delmnoqrst]|j[emop]|k[eghimnprwyz]|l[abcikrstuvy]|m[acdeghklmnopqrstuvwxyz]"
    "|n[acefgilopruz]|om|p[aefghklmnrstwy]|qa|r[eosuw]|s[abcdeghijklmnortuvxyz]|t[cdfghjklmnortvwz]|u[agksyz]"
    "|v[aceginu]|w[fs]|y[et]|z[amw]"
)


def shown(text: str, allowed_hosts: Sequence[str] = ()) -> str:
    """`text` without links, pictures, markup and control characters, but for plain links to allowed hosts.

    A host is written as example.org, or as *.example.org for all below it.
    """
    text = hidden.without(_CONTROLS.sub("", text))
    for _ in range(_ROUNDS):
        cleaned = _once(text, allowed_hosts)
        if cleaned == text:
            return text
        text = cleaned
    # What still changes was built to outlast this.
    return _ADDRESS.sub(REMOVED, text.replace("](", "] ("))


def _once(text: str, hosts: Sequence[str]) -> str:
    text = _MARKUP.sub("‹", text)
    text = _DEFINITION.sub(lambda match: f"{match[1]}: {REMOVED}", text)
    text = _INLINE.sub(lambda match: match[0] if _is_plain(match, hosts) else f"{match[1]} {REMOVED}", text)
    kept = [match.span() for match in _INLINE.finditer(text)]
    text = _OPEN_LINK.sub(lambda match: match[0] if _inside(match.start(), kept) else "］", text)
    text = _ADDRESS.sub(lambda match: _address(match[0], hosts), text)
    return _DOMAIN.sub(lambda match: _domain(match[0], hosts), text)


def _is_plain(match: re.Match[str], hosts: Sequence[str]) -> bool:
    """Whether an inline link is no picture and leads to an allowed host, with nothing beside the address."""
    return not match[0].startswith("!") and is_allowed(match[2], hosts)


def _inside(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)


def _address(found: str, hosts: Sequence[str]) -> str:
    address = found.rstrip(".,;:!?)")
    if _FRACTION.fullmatch(address) or is_allowed(address, hosts):
        return found
    return REMOVED + found[len(address) :]


def _domain(found: str, hosts: Sequence[str]) -> str:
    """A bare name of a host, which some programs make a link of: made unusable, and still readable."""
    *before, last = re.split(_DOT, found.lower())
    ends = last in _TOP or (len(before) > 1 and _COUNTRY.fullmatch(last))
    if not ends or _matches(found.lower(), hosts):
        return found
    return re.sub(_DOT, "[.]", found)


def is_allowed(address: str, hosts: Sequence[str]) -> bool:
    """Whether `address` is a plain http(s) address of an allowed host."""
    if not address.isascii() or any(character in address for character in "\\<>\"'` \t\n@"):
        return False
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and host is not None and _matches(host, hosts)


def _matches(host: str, hosts: Sequence[str]) -> bool:
    return any(
        host == allowed.lower() or (allowed.startswith("*.") and host.endswith(allowed[1:].lower()))
        for allowed in hosts
    )
