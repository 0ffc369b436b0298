"""Who may read what: principals, the acl of a document, and the one mask that a session looks through.

    Principal(user="ann", groups=("law", "board"))        user:ann, group:law, group:board and public
    Document(..., acl=("group:law", "user:bob"))          read by whoever is one of these

An acl is a tuple of principals. A document is read by a principal that has one of the names in its acl. A document
without an acl is nobody's but the owner's, unless the setting access.unlabelled makes such documents public: what
somebody forgot to label must not be what everybody reads. Names compare code point by code point.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ragagent.errors import AccessDenied, ConfigError
from ragagent.where import Expression, In

PUBLIC = "public"
"""Every principal has this name."""
USER, GROUP = "user:", "group:"
Unlabelled = Literal["owner", "public"]

_MOST_NAMES = 10_000
_MOST_CHARACTERS = 1000
_COMMA = re.compile(rf",(?=\s*(?:{USER}|{GROUP}|{PUBLIC}\s*(?:,|$)))")
_FORMS = "public, user:NAME or group:NAME"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who looks at a knowledge base: a user, and the groups that the user belongs to. Neither is the public.

    Who somebody is has to be settled before: nothing is asked for here. Raises ConfigError for a name that is none.
    """

    user: str | None = None
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A text is a sequence of letters, each of which would be a group.
        given: object = self.groups
        if isinstance(given, str):
            raise ConfigError(f"groups = {given!r}: give a tuple of names")
        object.__setattr__(self, "groups", tuple(sorted(set(self.groups))))
        acl_of(self.names)

    @property
    def names(self) -> tuple[str, ...]:
        """The principal as acls name it."""
        users = [] if self.user is None else [f"{USER}{self.user}"]
        return (PUBLIC, *users, *(f"{GROUP}{name}" for name in self.groups))

    def __str__(self) -> str:
        return ", ".join(self.names[1:]) or PUBLIC


def principal_of(names: Iterable[str]) -> Principal:
    """The principal that has those names, one of them a user's at most: user:ann, group:law. Raises ConfigError."""
    given = acl_of([one for name in names for one in _parted(name)])
    users = [name.removeprefix(USER) for name in given if name.startswith(USER)]
    if len(users) > 1:
        raise ConfigError(f"{', '.join(users)}: a principal is one user at most")
    groups = tuple(name.removeprefix(GROUP) for name in given if name.startswith(GROUP))
    return Principal(user=users[0] if users else None, groups=groups)


def denied(principal: Principal, what: str) -> AccessDenied:
    """The error for something that is the owner's to do. It says nothing of what it was to be done to."""
    return AccessDenied(
        f"{what}: this session was opened as {principal} and may only read; "
        "whoever owns the knowledge base opens it without a principal"
    )


def acl_of(value: Any) -> tuple[str, ...]:
    """An acl as it was written: a list of principals, or one text with commas between them; sorted, each once.

    Raises ConfigError for what is no principal.
    """
    value = _parted(value) if isinstance(value, str) else value
    if not isinstance(value, Sequence) or len(value) > _MOST_NAMES:
        raise ConfigError(f"acl = {value!r:.80}: give a list of {_FORMS}, at most {_MOST_NAMES} of them")
    for name in value:
        _require_name(name)
    return tuple(sorted(set(value)))


def _parted(text: str) -> list[str]:
    """The principals of a text. A name may hold commas, as those of directories do, but no principal after one."""
    return [one.strip() for one in _COMMA.split(text) if one.strip()]


def _require_name(name: Any) -> None:
    if isinstance(name, str) and len(name) <= _MOST_CHARACTERS and name.isprintable():
        rest = name.removeprefix(USER if name.startswith(USER) else GROUP)
        if name == PUBLIC or (rest != name and rest.strip() == rest != ""):
            return
    raise ConfigError(f"{name!r:.80} is no principal: write {_FORMS}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """What a principal may see, said twice: of one document, and as a filter that acts inside searches."""

    principal: Principal
    unlabelled: Unlabelled = "owner"

    def admits(self, acl: Sequence[str]) -> bool:
        """Whether a document with that acl is to be seen."""
        if not acl:
            return self.unlabelled == "public"
        return not set(self.principal.names).isdisjoint(acl)

    @property
    def where(self) -> Expression:
        """The filter that lets the same documents through; those without an acl have null there."""
        return In("acl", (*self.principal.names, *((None,) if self.unlabelled == "public" else ())))
