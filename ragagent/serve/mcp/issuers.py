"""Access tokens of an authorization server: JSON Web Tokens, checked against the keys that it publishes.

What a token has to have is what RFC 9068 asks for: the issuer's signature, made with a key pair, its name as `iss`,
the address of this server as `aud`, an `exp` that lies ahead, a `sub`, and the scopes as `scope`. Whoever it names
looks as the principal user:SUB with the groups of the claim `groups`, not as the owner, unless that subject is said
to be.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from ragagent.access import Principal
from ragagent.errors import ConfigError

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures by a key pair. One made with a shared secret is never taken: the published key would be that secret."""
LEEWAY_S = 30.0
"""How far the clocks of the two servers may be apart."""

_KEYS_KEPT_S = 3600.0
_ASKED_AGAIN_S = 30.0
_TIMEOUT_S = 5.0
_MOST_BYTES = 1 << 20
_MOST_TOKEN_CHARS = 16_384
_MOST_GROUPS = 1000


_LOG = logging.getLogger(__name__)


class _Silent(Exception):
    """An authorization server does not say what its keys are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """What a valid token grants: who it names, what it allows, and whom it looks for (None is the owner)."""

    id: str
    scopes: tuple[str, ...]
    principal: Principal | None = None

    def sees(self) -> Principal | None:
        return self.principal


class Issuer:
    """One authorization server. Safe for several threads."""

    def __init__(
        self, url: str, audience: str, *, owners: Sequence[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        """`url` is its name, `audience` the address of this server, `owners` the subjects that are the owner.

        Nothing is asked of it before the first token. Raises ConfigError for an address that others could listen to.
        """
        parts = urlsplit(url)
        if parts.scheme != "https" and parts.hostname not in ("127.0.0.1", "localhost", "::1"):
            raise ConfigError(f"issuer {url!r}: must be an https address")
        self.url = url
        self._audience = audience
        self._owners = frozenset(owners)
        self._clock = clock
        self._lock = threading.Lock()
        self._keys = _Keys()

    def granted(self, token: str) -> Granted | None:
        """What a token of this issuer grants; None for one that is not valid here.

        Asks the issuer for its keys the first time, each hour, and, at most twice a minute, for one that is not among
        them. Where it does not say, the log does, and the keys known before go on to count.
        """
        import jwt

        try:
            key = self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            claims = jwt.decode(token, key, **self._demands()) if key is not None else None
        except jwt.PyJWTError:
            return None
        return None if claims is None else self._grant(claims)

    def _demands(self) -> dict[str, Any]:
        return {
            "algorithms": list(ALGORITHMS),
            "issuer": self.url,
            "audience": self._audience,
            "leeway": LEEWAY_S,
            "options": {"require": ["iss", "aud", "exp", "sub"]},
        }

    def _grant(self, claims: Mapping[str, Any]) -> Granted | None:
        subject, scope, groups = claims.get("sub"), claims.get("scope", ""), claims.get("groups", [])
        listed = isinstance(groups, list) and all(isinstance(one, str) for one in groups)
        if not isinstance(subject, str) or not isinstance(scope, str) or not listed or len(groups) > _MOST_GROUPS:
            return None
        try:
            principal = None if subject in self._owners else Principal(user=subject, groups=tuple(groups))
        except ConfigError:
            return None
        return Granted(id=f"{self.url}#{subject}", scopes=tuple(scope.split()), principal=principal)

    def _key(self, name: str) -> Any:
        """The key of that name, or the only one where tokens do not say; None where there is none."""
        with self._lock:
            age = self._clock() - self._keys.asked_at
            if age > _KEYS_KEPT_S or (age > _ASKED_AGAIN_S and self._keys.one(name) is None):
                self._keys = self._asked()
            return self._keys.one(name)

    def _asked(self) -> _Keys:
        try:
            by_name = _published(self.url)
        except _Silent as error:
            _LOG.warning("issuer %s: %s", self.url, error)
            by_name = self._keys.by_name
        return _Keys(asked_at=self._clock(), by_name=by_name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keys:
    """The keys that were published, by name."""

    asked_at: float = float("-inf")
    by_name: Mapping[str, Any] = field(default_factory=dict)

    def one(self, name: str) -> Any:
        if not name and len(self.by_name) == 1:
            return next(iter(self.by_name.values()))
        return self.by_name.get(name)


def _published(issuer: str) -> Mapping[str, Any]:
    """The keys for signatures that an issuer publishes: its metadata (RFC 8414, or OpenID's) says where."""
    import jwt

    told = _metadata(issuer)
    address = told.get("jwks_uri")
    if told.get("issuer") != issuer or not isinstance(address, str):
        raise _Silent("its metadata names another issuer, or no jwks_uri")
    if urlsplit(address).scheme != urlsplit(issuer).scheme:
        raise _Silent(f"its keys are at {address}, which is not as safe as itself")
    try:
        found = jwt.PyJWKSet.from_dict(_fetched(address))
    except (jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
        raise _Silent(f"{address} holds no keys that can be used ({error})") from error
    return {
        one.key_id or "": one for one in found.keys if one.public_key_use in (None, "sig") and one.key_type != "oct"
    }


def _metadata(issuer: str) -> Mapping[str, Any]:
    parts = urlsplit(issuer)
    base, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    places = [
        f"{base}/.well-known/oauth-authorization-server{path}",
        f"{base}/.well-known/openid-configuration{path}",
        f"{base}{path}/.well-known/openid-configuration",
    ]
    errors = []
    for place in dict.fromkeys(places):
        try:
            return _fetched(place)
        except _Silent as error:
            errors.append(str(error))
    raise _Silent(f"no metadata: {'; '.join(errors)}")


def _fetched(address: str) -> dict[str, Any]:
    """A JSON object from an address; no redirect is followed, and no more than a megabyte read."""
    import httpx

    body = bytearray()
    try:
        with httpx.stream("GET", address, timeout=_TIMEOUT_S, headers={"Accept": "application/json"}) as answer:
            if answer.status_code != httpx.codes.OK:
                raise _Silent(f"{address}: status {answer.status_code}")
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > _MOST_BYTES:
                    raise _Silent(f"{address}: more than {_MOST_BYTES} bytes")
        return _object(bytes(body), address)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise _Silent(f"{address}: {error or type(error).__name__}") from error


def _object(body: bytes, address: str) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _Silent(f"{address}: not JSON") from error
    if not isinstance(found, dict):
        raise _Silent(f"{address}: not a JSON object")
    return found


class Issuers:
    """The tokens of several authorization servers, as a Verifier has them."""

    def __init__(self, issuers: Sequence[Issuer]) -> None:
        self._issuers = {one.url: one for one in issuers}

    def find(self, text: str) -> Granted | None:
        """What a token grants by the issuer that it says it is of; None for one that is not valid here.

        A token without a known issuer costs nothing but its parsing.
        """
        import jwt

        if text.count(".") != 2 or len(text) > _MOST_TOKEN_CHARS:
            return None
        try:
            said = jwt.decode(text, options={"verify_signature": False}).get("iss")
        except jwt.PyJWTError:
            return None
        issuer = self._issuers.get(said) if isinstance(said, str) else None
        return None if issuer is None else issuer.granted(text)
