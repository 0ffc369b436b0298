"""Tokens of an authorization server: only its own, for this server, unaltered and in time, let anybody in."""

from __future__ import annotations

import base64
import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ConfigError
from ragagent.serve.mcp.http import Either, _Verified
from ragagent.serve.mcp.issuers import Issuer, Issuers
from ragagent.serve.mcp.sessions import PRINCIPAL_CLAIM

AUDIENCE = "https://docs.example.org/mcp"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def published(name: str, key: Any) -> dict[str, Any]:
    algorithm = jwt.algorithms.RSAAlgorithm if key is not EC else jwt.algorithms.ECAlgorithm
    return {**algorithm.to_jwk(key.public_key(), as_dict=True), "kid": name, "use": "sig"}


class Authority:
    """An authorization server on loopback."""

    def __init__(self) -> None:
        self.keys = [published("rsa", RSA), published("ec", EC)]
        self.asked = 0
        self.broken = False
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                authority.asked += 1
                told = {
                    "/.well-known/openid-configuration/realm": {
                        "issuer": authority.url,
                        "jwks_uri": authority.url + "/keys",
                    },
                    "/realm/keys": {"keys": authority.keys},
                }
                found = None if authority.broken else told.get(self.path)
                self.send_response(200 if found else 404)
                self.end_headers()
                self.wfile.write(json.dumps(found).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/realm"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def claims(self, **other: Any) -> dict[str, Any]:
        fixed = {"iss": self.url, "aud": AUDIENCE, "sub": "ann", "exp": time.time() + 600, "scope": "read write"}
        return {**fixed, **other}

    def token(self, key: Any = RSA, name: str = "rsa", algorithm: str = "RS256", **claims: Any) -> str:
        return jwt.encode(self.claims(**claims), key, algorithm=algorithm, headers={"kid": name})


@pytest.fixture
def authority() -> Iterator[Authority]:
    found = Authority()
    yield found
    found.close()


@pytest.fixture(scope="module")
def lasting() -> Iterator[tuple[Authority, Issuers]]:
    found = Authority()
    yield found, Issuers([Issuer(found.url, AUDIENCE)])
    found.close()


def test_a_token_looks_with_the_eyes_of_whom_it_names(authority: Authority) -> None:
    issuers = Issuers([Issuer(authority.url, AUDIENCE, owners=["boss"])])
    ann = issuers.find(authority.token(groups=["law"]))
    assert ann is not None
    assert ann.scopes == ("read", "write")
    assert ann.sees() is not None
    assert ann.sees().names == ("public", "user:ann", "group:law")  # type: ignore[union-attr]
    boss = issuers.find(authority.token(sub="boss", key=EC, name="ec", algorithm="ES256"))
    assert boss is not None
    assert boss.sees() is None
    assert authority.asked == 3, "two places of metadata and the keys, once"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "https://other.example.org/mcp"},
        {"aud": []},
        {"iss": "https://evil.example.org"},
        {"exp": time.time() - 60},
        {"nbf": 4_102_444_800, "exp": 4_133_980_800},
        {"sub": ""},
        {"sub": 7},
        {"scope": ["read"]},
        {"groups": "law"},
        {"groups": ["a,group:board", ""]},
    ],
)
def test_a_token_that_is_not_for_here_or_now_lets_nobody_in(
    lasting: tuple[Authority, Issuers], claims: dict[str, Any]
) -> None:
    authority, issuers = lasting
    assert issuers.find(authority.token()) is not None
    assert issuers.find(authority.token(**claims)) is None


@pytest.mark.parametrize("left_out", ["iss", "aud", "exp", "sub"])
def test_a_token_that_does_not_say_what_it_must_lets_nobody_in(
    lasting: tuple[Authority, Issuers], left_out: str
) -> None:
    authority, issuers = lasting
    claims = {key: value for key, value in authority.claims().items() if key != left_out}
    assert issuers.find(jwt.encode(claims, RSA, algorithm="RS256", headers={"kid": "rsa"})) is None


def test_no_signature_but_one_by_a_published_key_pair_counts(lasting: tuple[Authority, Issuers]) -> None:
    authority, issuers = lasting
    assert issuers.find(authority.token(OTHER)) is None
    assert issuers.find(authority.token(OTHER, name="other")) is None
    assert issuers.find(jwt.encode(authority.claims(), None, algorithm="none", headers={"kid": "rsa"})) is None
    public = RSA.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    secret = base64.b64encode(public)
    assert issuers.find(jwt.encode(authority.claims(), secret, algorithm="HS256", headers={"kid": "rsa"})) is None


@given(
    share=st.floats(0, 1),
    letter=st.sampled_from("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."),
)
def test_a_token_of_which_any_part_was_altered_lets_nobody_in(
    lasting: tuple[Authority, Issuers], share: float, letter: str
) -> None:
    authority, issuers = lasting
    token = authority.token()
    place = int(share * (len(token) - 1))
    altered = token[:place] + letter + token[place + 1 :]
    head, _, signature = token.rpartition(".")
    same = altered == token or (altered.startswith(head + ".") and _bytes(altered) == _bytes(f"{head}.{signature}"))
    assert (issuers.find(altered) is not None) == same


def _bytes(token: str) -> bytes:
    signature = token.rpartition(".")[2]
    try:
        return base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    except ValueError:
        return b""


@given(
    text=st.text(max_size=300)
    | st.lists(st.binary(max_size=80), min_size=3, max_size=3).map(
        lambda parts: ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    )
)
def test_whatever_is_no_token_is_no_error(lasting: tuple[Authority, Issuers], text: str) -> None:
    assert lasting[1].find(text) is None


def test_a_new_key_is_learned_and_a_withdrawn_one_forgotten(authority: Authority) -> None:
    now = [1000.0]
    issuers = Issuers([Issuer(authority.url, AUDIENCE, clock=lambda: now[0])])
    fresh = authority.token(OTHER, name="new")
    assert issuers.find(fresh) is None
    authority.keys = [published("new", OTHER)]
    assert issuers.find(fresh) is None, "asked a moment ago"
    now[0] += 60
    assert issuers.find(fresh) is not None
    assert issuers.find(authority.token()) is None


def test_an_issuer_that_is_silent_lets_nobody_new_in_and_keeps_those_it_let_in(authority: Authority) -> None:
    now = [1000.0]
    issuers = Issuers([Issuer(authority.url, AUDIENCE, clock=lambda: now[0])])
    authority.broken = True
    assert issuers.find(authority.token()) is None
    asked = authority.asked
    assert issuers.find(authority.token()) is None
    assert authority.asked == asked, "a silent one is not asked for each token"
    authority.broken, now[0] = False, now[0] + 60
    assert issuers.find(authority.token()) is not None
    authority.broken, now[0] = True, now[0] + 7200
    assert issuers.find(authority.token()) is not None


def test_an_issuer_that_others_could_listen_to_is_refused() -> None:
    with pytest.raises(ConfigError, match="https"):
        Issuer("http://login.example.org", AUDIENCE)


def test_what_the_server_takes_of_a_token_is_its_scopes_and_its_principal(authority: Authority) -> None:
    class Nobody:
        def find(self, text: str) -> None:
            return None

    verified = _Verified(Either(Nobody(), Issuers([Issuer(authority.url, AUDIENCE)])))
    found = anyio.run(verified.verify_token, authority.token(scope="read"))
    assert found is not None
    assert found.scopes == ["read"]
    assert found.claims == {PRINCIPAL_CLAIM: ["public", "user:ann"]}
