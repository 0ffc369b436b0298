"""Addresses of sources without what must not be seen in them: credentials never reach a uri, a log or the index."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

_SECRET = re.compile(
    r"x-amz-(signature|credential|security-token)|x-goog-(signature|credential)|awsaccesskeyid|sig|signature"
    r"|(access|auth|api)[_-]?(token|key)|token|password|passwd|pwd|secret",
    re.IGNORECASE,
)
_SECRET_OPTION = re.compile(r"password|passwd|secret|token|passphrase|(^|_)key$|credential", re.IGNORECASE)
_AUTHORITY = re.compile(r"://([^/?#]*)@")


class Credentials(NamedTuple):
    """What stood before the host of an address."""

    user: str
    password: str


def split_credentials(address: str, *, keep_user: bool = False) -> tuple[str, Credentials | None]:
    """The address without user and password, and these, decoded; `keep_user` leaves the user where it stands."""
    found = _AUTHORITY.search(address)
    if found is None:
        return address, None
    user, _, password = found[1].partition(":")
    return _without(address, keep_user), Credentials(unquote(user), unquote(password))


def public(address: str, *, keep_user: bool = False) -> str:
    """The address as it may be shown and stored: without password, and without parameters that carry a secret."""
    plain = _without(address, keep_user)
    before, mark, query = plain.partition("?")
    if not mark:
        return plain
    kept = [piece for piece in query.split("&") if not _SECRET.fullmatch(piece.partition("=")[0])]
    return before + mark * bool(kept) + "&".join(kept)


def _without(address: str, keep_user: bool) -> str:
    """The address, or each of a chain of addresses, without what stands before its host."""
    return _AUTHORITY.sub(lambda found: "://" + (found[1].partition(":")[0] + "@" if keep_user else ""), address)


def has_secret(address: str) -> bool:
    """Whether something in the address must not be shown."""
    parts = urlsplit(address)
    return "@" in parts.netloc or any(_SECRET.fullmatch(name) for name, _ in parse_qsl(parts.query))


def names_secret(option: str) -> bool:
    """Whether an option of this name holds what must not be shown or kept."""
    return _SECRET_OPTION.search(option) is not None


def outside(address: str) -> str:
    """The address as that of an item: what is inside one is named after `!/`, so the address itself holds no `!/`."""
    return address.replace("!/", "%21/")
