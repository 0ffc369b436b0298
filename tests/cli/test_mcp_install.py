"""The server in the config of a client: shown before, nothing else changed, what was there kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from ragagent.cli.client_config import CLIENTS, changed, entry
from ragagent.cli.mcp import install


@pytest.mark.parametrize("client", sorted(CLIENTS))
def test_a_client_gets_the_server_and_keeps_the_rest(tmp_path: Path, client: str) -> None:
    key = CLIENTS[client].key
    before = json.dumps({"theme": "dark", key: {"other": {"command": "x"}}, "last": [1]})
    file = tmp_path / "config.json"
    file.write_text(before)
    arguments = ["--client", client, "--config", str(file), "--kb", str(tmp_path / "kb")]
    done = CliRunner().invoke(install, [*arguments, "--yes"])
    assert done.exit_code == 0, done.output
    found = json.loads(file.read_text())
    assert list(found) == ["theme", key, "last"]
    assert found[key]["other"] == {"command": "x"}
    assert found[key]["ragagent"]["args"][-2:] == ["--kb", str(tmp_path / "kb")]
    assert file.with_name("config.json.before-ragagent").read_text() == before
    assert "says so already" in CliRunner().invoke(install, arguments).output


@pytest.mark.parametrize("answer", ["n\n", "\n", ""])
def test_nothing_is_changed_without_a_yes_and_the_change_is_shown_before(tmp_path: Path, answer: str) -> None:
    file = tmp_path / "deep" / "config.json"
    done = CliRunner().invoke(install, ["--client", "cursor", "--config", str(file)], input=answer)
    assert done.exit_code == 1
    assert '+    "ragagent": {' in done.output
    assert not file.parent.exists()


@pytest.mark.parametrize("text", ["// mine\n{}", "[]", "{", '{"mcpServers": []}', "[" * 100_000])
def test_a_config_that_would_lose_something_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    done = CliRunner().invoke(install, ["--client", "cursor", "--config", str(file), "--yes"])
    assert "left as it is" in str(done.exception)
    assert [one.name for one in tmp_path.iterdir()] == ["config.json"]
    assert file.read_text() == text


def test_what_the_page_shows_is_what_a_client_gets() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "mcp.md").read_text("utf-8")
    (shown,) = re.findall(r"^```json\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    client = CLIENTS["cursor"]
    wanted = entry(client, "ragagent", ["mcp", "--kb", "/path/to/.ragagent"])
    assert json.loads(shown) == json.loads(changed(client, "", "ragagent", wanted))


def test_printing_changes_nothing(tmp_path: Path) -> None:
    done = CliRunner().invoke(install, ["--client", "vscode", "--config", str(tmp_path / "c.json"), "--print"])
    assert json.loads(done.output)["servers"]["ragagent"]["type"] == "stdio"
    assert not (tmp_path / "c.json").exists()
