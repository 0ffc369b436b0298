"""Bearer tokens: made once, shown once, kept as hashes beside the index.

A token is `rag_ID_SECRET`. The secret is 256 random bits, so that one SHA-256 is all the hashing it needs; what is on
disk lets nobody in. A token that was revoked or has expired stays listed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ragagent import atomic
from ragagent.access import Principal, acl_of, principal_of
from ragagent.errors import ConfigError

Scope = Literal["read", "write", "agent", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
FILE = "serve/tokens.json"
"""Below the folder of the knowledge base."""

_FORM = re.compile(r"rag_([a-z2-7]{8})_([A-Za-z0-9_-]{43})")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
_MOST = 10_000
_MOST_NAME = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is kept of a token. `principal` are the names that it looks with; None is the owner."""

    id: str
    name: str
    hash: str
    scopes: tuple[Scope, ...]
    principal: tuple[str, ...] | None
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def state(self, now: float) -> Literal["valid", "expired", "revoked"]:
        """Whether it lets anybody in."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else "valid"

    def sees(self) -> Principal | None:
        """Whom it looks for; None is the owner."""
        return None if self.principal is None else principal_of(self.principal)


class Tokens:
    """The tokens of one knowledge base. Safe for several threads and processes; a change counts at once."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.time) -> None:
        """`folder` is that of the knowledge base; nothing is made there before the first token."""
        self._file = folder / FILE
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[int, int, int] | None = None
        self._known: dict[str, Token] = {}

    def create(
        self,
        name: str,
        *,
        scopes: Sequence[str] = ("read",),
        principal: Sequence[str] | None = None,
        days: float | None = None,
    ) -> tuple[Token, str]:
        """A new token, and its text, which is known nowhere afterwards. Raises ConfigError for a wrong value."""
        chosen = _scopes(scopes)
        names = None if principal is None else principal_of(acl_of(list(principal))).names
        if not name.strip() or not name.isprintable() or len(name) > _MOST_NAME:
            raise ConfigError(f"name = {name!r:.80}: say in a few words what the token is for")
        if days is not None and not 0 < days <= 36_500:
            raise ConfigError(f"days = {days:g}: a token lasts more than 0 and at most 36,500 days")
        identifier = "".join(secrets.choice(_ALPHABET) for _ in range(8))
        text = f"rag_{identifier}_{secrets.token_urlsafe(32)}"
        now = self._clock()
        token = Token(
            id=identifier,
            name=name.strip(),
            hash=_hash(text),
            scopes=chosen,
            principal=names,
            created_at=now,
            expires_at=None if days is None else now + days * 86_400,
        )
        with self._writing() as known:
            if len(known) >= _MOST:
                raise ConfigError(f"there are {_MOST} tokens already, which is the most")
            known[identifier] = token
        return token, text

    def list(self) -> list[Token]:
        """All there ever were, the oldest first."""
        return sorted(self._read().values(), key=lambda token: (token.created_at, token.id))

    def revoke(self, identifier: str) -> Token:
        """Ends a token; again changes nothing. Raises ConfigError when there is none of that id."""
        with self._writing() as known:
            if identifier not in known:
                raise ConfigError(f"no token {identifier!r:.40}; list them with: ragagent token list")
            known[identifier] = replace(known[identifier], revoked_at=known[identifier].revoked_at or self._clock())
            return known[identifier]

    def any(self) -> bool:
        """Whether a token was ever made: from then on nobody gets in without one."""
        return bool(self._read())

    def find(self, text: str) -> Token | None:
        """The valid token of that text. Takes as long for one that is nearly right as for any other."""
        form = _FORM.fullmatch(text)
        if form is None:
            return None
        token = self._read().get(form[1])
        expected = token.hash if token is not None else _hash("")
        if not hmac.compare_digest(_hash(text), expected) or token is None:
            return None
        return token if token.state(self._clock()) == "valid" else None

    def _read(self) -> dict[str, Token]:
        """All tokens by id, read again when the file has changed. Raises ConfigError for one that cannot be used."""
        with self._lock:
            try:
                found = self._file.stat()
            except FileNotFoundError:
                return {}
            stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
            if stamp != self._seen:
                self._known = _loaded(self._file)
                self._seen = stamp
            return dict(self._known)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[dict[str, Token]]:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with open(self._file.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._read()
            yield known
            _store(self._file, known)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def _scopes(scopes: Sequence[str]) -> tuple[Scope, ...]:
    unknown = set(scopes) - set(SCOPES)
    if unknown or not scopes:
        named = ", ".join(sorted(unknown)) or "none"
        raise ConfigError(f"scopes = {named:.80}: choose of {', '.join(SCOPES)}")
    return tuple(scope for scope in SCOPES if scope in scopes)


def _loaded(file: Path) -> dict[str, Token]:
    try:
        rows = json.loads(file.read_text("utf-8"))
        return {row["id"]: _token(row) for row in rows}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{file} cannot be read ({type(error).__name__}); nobody is let in until it is restored, or removed and "
            "the tokens are made anew"
        ) from error


def _token(row: dict[str, object]) -> Token:
    names = row["principal"]
    scopes = row["scopes"]
    if not isinstance(scopes, list) or not (names is None or isinstance(names, list)):
        raise ValueError("no token")
    return Token(**{**row, "scopes": tuple(scopes), "principal": None if names is None else tuple(names)})  # type: ignore[arg-type]


def _store(file: Path, known: dict[str, Token]) -> None:
    """Written aside and put in place as a whole, for the owner's eyes alone."""
    atomic.write(file, json.dumps([asdict(token) for token in known.values()], indent=1))
