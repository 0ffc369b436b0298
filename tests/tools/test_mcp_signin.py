"""What stands around signing in and asking; the flow itself is run by the conformance suite (tests/serve)."""

from __future__ import annotations

import asyncio
import stat
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragagent.errors import ConfigError, ToolError
from ragagent.tools import mcp_signin
from ragagent.tools.mcp_asking import completed, form, opening
from ragagent.tools.mcp_callback import Callback
from ragagent.tools.mcp_config import Allowances, Server
from ragagent.tools.mcp_signin import Browser
from ragagent.tools.mcp_tokens import Tokens
from ragagent.tools.mcp_tools import Servers

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "title": "Your name", "minLength": 1},
        "age": {"type": "integer", "minimum": 0, "maximum": 150, "default": 30},
        "colour": {"type": "string", "enum": ["red", "blue"], "enumNames": ["Red", "Blue"], "default": "blue"},
        "days": {"type": "array", "items": {"anyOf": [{"const": "mo", "title": "Monday"}]}, "maxItems": 1},
        "sure": {"type": "boolean"},
    },
    "required": ["name"],
}


def test_what_is_left_out_of_a_form_has_its_default_and_what_is_required_is_asked_for() -> None:
    asked = form("peer", "Who\u202e are\nyou?", SCHEMA)
    assert asked.message == "Who are you?"
    assert completed(asked, {"name": "Amy"}) == {"name": "Amy", "age": 30, "colour": "blue"}
    with pytest.raises(ToolError, match="Your name has to be answered"):
        completed(asked, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [("age", 151), ("age", True), ("age", 1.5), ("colour", "green"), ("days", ["tu"]), ("sure", "yes"), ("name", "")],
)
def test_an_answer_that_does_not_fit_its_field_never_leaves(name: str, value: Any) -> None:
    with pytest.raises(ToolError):
        completed(form("peer", "", SCHEMA), {"name": "Amy", name: value})


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda one: st.dictionaries(st.text(), one)))
def test_a_form_of_whatever_shape_is_read_or_refused(said: Any) -> None:
    try:
        form("peer", "", {"type": "object", "properties": {"a": said}})
    except ToolError:
        return


@pytest.mark.parametrize("url", ["file:///etc/passwd", "javascript:alert(1)", "https://a b", "https://" + "a" * 5000])
def test_only_an_address_of_the_web_may_be_asked_to_be_opened(url: str) -> None:
    with pytest.raises(ToolError):
        opening("peer", "", url)


def test_a_sign_in_is_kept_for_its_owner_alone_and_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    tokens = Tokens(file)
    assert tokens.of("https://a/mcp") == {}
    tokens.keep("https://a/mcp", {"tokens": {"access_token": "t"}})
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert tokens.of("https://a/mcp") == {"tokens": {"access_token": "t"}}
    file.chmod(0o644)
    with pytest.raises(ConfigError, match="others may read it"):
        tokens.of("https://a/mcp")
    file.chmod(0o600)
    assert tokens.forget("https://a/mcp")
    assert not tokens.forget("https://a/mcp")
    assert "access_token" not in file.read_text()


def test_only_the_visit_with_the_right_state_counts() -> None:
    callback = Callback()
    seen: list[int] = []

    def visit() -> None:
        for state in ("guessed", "right"):
            try:
                with urllib.request.urlopen(f"{callback.url}?code={state}&state={state}", timeout=20) as page:
                    seen.append(page.status)
            except urllib.error.HTTPError as error:
                seen.append(error.code)

    async def waited() -> dict[str, str]:
        thread = threading.Thread(target=visit)
        asyncio.get_running_loop().call_later(0.2, thread.start)
        found = await callback.visit("right", 60)
        await asyncio.to_thread(thread.join)
        return found

    try:
        assert asyncio.run(waited()) == {"code": "right", "state": "right"}
    finally:
        callback.close()
    assert seen == [404, 200]


@pytest.mark.parametrize(
    ("server", "url", "safe"),
    [
        ("https://example.com/mcp", "https://login.example.org/token", True),
        ("https://example.com/mcp", "http://login.example.org/token", False),
        ("https://example.com/mcp", "http://127.0.0.1:8080/token", False),
        ("https://example.com/mcp", "https://169.254.169.254/latest", False),
        ("https://example.com/mcp", "https://localhost/token", False),
        ("http://127.0.0.1:9/mcp", "http://127.0.0.1:8080/token", True),
        ("http://127.0.0.1:9/mcp", "http://login.example.org/token", False),
    ],
)
def test_a_secret_goes_only_where_nobody_can_read_it_on_the_way(server: str, url: str, safe: bool) -> None:
    there = Server(name="peer", url=server)
    if safe:
        mcp_signin._check(url, there)
    else:
        with pytest.raises(ToolError, match="not safe"):
            mcp_signin._check(url, there)


def test_a_server_of_pipes_cannot_be_signed_in_to(tmp_path: Path) -> None:
    servers = Servers(
        {"peer": Server(name="peer", command="x")}, Allowances(tmp_path / "a"), tokens=Tokens(tmp_path / "t")
    )
    with pytest.raises(ConfigError, match="only a server with an address"):
        servers.sign_in("peer", Browser(open=print))
