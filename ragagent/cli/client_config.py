"""The config files of MCP clients: where each keeps its own, and what it wants to be told of a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ragagent import atomic
from ragagent.errors import ConfigError

_MOST_BYTES = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program that speaks MCP. `file` is below the home folder; servers stand in it under `key`, by name."""

    name: str
    file: str
    key: str = "mcpServers"
    typed: bool = False
    """Whether an entry says that it is of the type stdio."""


CLIENTS: Mapping[str, Client] = {
    one.name: one
    for one in (
        Client(name="claude-desktop", file=".config/Claude/claude_desktop_config.json"),
        Client(name="claude-code", file=".claude.json", typed=True),
        Client(name="cursor", file=".cursor/mcp.json"),
        Client(name="vscode", file=".config/Code/User/mcp.json", key="servers", typed=True),
        Client(name="windsurf", file=".codeium/windsurf/mcp_config.json"),
        Client(name="zed", file=".config/zed/settings.json", key="context_servers"),
    )
}


def entry(client: Client, command: str, arguments: Sequence[str]) -> dict[str, Any]:
    """What the client wants to be told of a server that it starts."""
    kind = {"type": "stdio"} if client.typed else {}
    return {**kind, "command": command, "args": list(arguments)}


def changed(client: Client, text: str, name: str, wanted: Mapping[str, Any]) -> str:
    """The config `text` with the server in it, all else as it was, keys in their order.

    Raises ConfigError for a text that is not plain JSON: one with comments would lose them.
    """
    try:
        config = json.loads(text) if text.strip() else {}
    except (ValueError, RecursionError):
        config = None
    servers = config.get(client.key, {}) if isinstance(config, dict) else None
    if not isinstance(config, dict) or not isinstance(servers, dict):
        raise ConfigError(
            f"the config of {client.name} is not plain JSON (comments, or another shape), and is left as it is; "
            "put in by hand what this prints: ragagent mcp install --print"
        )
    config[client.key] = {**servers, name: dict(wanted)}
    return json.dumps(config, ensure_ascii=False, indent=2) + "\n"


def read(file: Path) -> str:
    """The text of a config; empty where there is none. Raises ConfigError for one that cannot be read."""
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ConfigError(f"{file} has more than {_MOST_BYTES} bytes")
        return file.read_text("utf-8")
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error


def write(file: Path, text: str) -> Path | None:
    """Puts the config in place as a whole; what was there is kept beside it, and that file is what comes back."""
    file = file.resolve()
    kept: Path | None = None
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = 0o600
    if file.exists():
        mode = file.stat().st_mode & 0o777
        kept = file.with_name(file.name + ".before-ragagent")
        kept.write_bytes(file.read_bytes())
        kept.chmod(mode)
    atomic.write(file, text, mode=mode)
    return kept
