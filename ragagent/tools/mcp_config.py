"""Which servers there are, and which of their tools the user has allowed.

The servers stand in the `mcp.json` that other programs read as well. What is allowed stands in a file of our own beside
the knowledge base: for each tool the hash of the description that the user saw, and the effects it is taken to have.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ragagent import atomic
from ragagent.errors import ConfigError
from ragagent.jsonable import canonical
from ragagent.types import EFFECTS, Effect

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"\$\{(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """How we are known to the authorization server of a server; all empty where we register with it by ourselves.

    `metadata_url` is the address of a client id metadata document, `port` the one that its user has registered.
    """

    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    metadata_url: str = ""
    port: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server: a command that is started here and spoken to over its pipes, or the address of one that runs."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    cwd: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, hash=False, repr=False)
    oauth: Registration = Registration()


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowed:
    """A tool that the user has allowed: the hash of its description then, and what it is taken to do."""

    hash: str
    effects: tuple[Effect, ...] = EFFECTS


def read_servers(file: Path, environ: Mapping[str, str] | None = None) -> dict[str, Server]:
    """The servers of an `mcp.json`, by name. `${NAME}` stands for a variable of `environ`.

    Raises ConfigError for a file that cannot be read, and for a server that has neither a command nor an address.
    """
    said = _read(file)
    servers = said.get("mcpServers", said.get("servers", {}))
    if not isinstance(servers, dict):
        raise ConfigError(f'{file}: "mcpServers" has to be an object of servers by name')
    return {name: _server(name, one, file, environ or {}) for name, one in servers.items() if not _is_off(one)}


def _is_off(said: Any) -> bool:
    return isinstance(said, dict) and bool(said.get("disabled"))


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise ConfigError(f"{file}: it has more than {_MAX_BYTES} bytes")
        said = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: not valid JSON: {error}") from error
    if not isinstance(said, dict):
        raise ConfigError(f"{file}: has to be a JSON object")
    return said


def _server(name: str, said: Any, file: Path, environ: Mapping[str, str]) -> Server:
    where = f"{file}: the server {name!r}"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{where}: its name may have letters, digits, dots, dashes and underscores, at most 64")
    if not isinstance(said, dict) or bool(said.get("command")) == bool(said.get("url")):
        raise ConfigError(f'{where}: it needs either a "command" or a "url"')
    url = _text(said.get("url", ""), where, environ)
    if url and not url.startswith(("http://", "https://")):
        raise ConfigError(f"{where}: its url has to begin with http:// or https://")
    return Server(
        name=name,
        command=_text(said.get("command", ""), where, environ),
        args=tuple(_text(one, where, environ) for one in said.get("args", ())),
        env=_texts(said.get("env", {}), where, environ),
        cwd=_text(said["cwd"], where, environ) if said.get("cwd") else None,
        url=url,
        headers=_texts(said.get("headers", {}), where, environ),
        oauth=_registration(said.get("oauth") or {}, where, environ),
    )


def _registration(said: Any, where: str, environ: Mapping[str, str]) -> Registration:
    port = said.get("callbackPort", 0) if isinstance(said, dict) else None
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port < 65536:
        raise ConfigError(f'{where}: "oauth" is an object with clientId, clientSecret, clientMetadataUrl, callbackPort')
    url = _text(said.get("clientMetadataUrl", ""), where, environ)
    if url and not re.fullmatch(r"https://[^/]+/.+", url):
        raise ConfigError(f"{where}: its clientMetadataUrl has to be an https:// address with a path")
    return Registration(
        client_id=_text(said.get("clientId", ""), where, environ),
        client_secret=_text(said.get("clientSecret", ""), where, environ),
        metadata_url=url,
        port=port,
    )


def _texts(said: Any, where: str, environ: Mapping[str, str]) -> dict[str, str]:
    if not isinstance(said, dict):
        raise ConfigError(f"{where}: env and headers are objects of texts")
    return {str(key): _text(value, where, environ) for key, value in said.items()}


def _text(said: Any, where: str, environ: Mapping[str, str]) -> str:
    if not isinstance(said, str):
        raise ConfigError(f"{where}: {said!r} has to be a text")

    def value(match: re.Match[str]) -> str:
        found = environ.get(match[1], match[2])
        if found is None:
            raise ConfigError(f"{where}: the variable {match[1]} is not set")
        return found

    return _VARIABLE.sub(value, said)


class Allowances:
    """The file of what is allowed. Read when it is asked; written whole, so that a crash leaves the old one."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, server: str) -> dict[str, Allowed]:
        """The tools of a server that are allowed, by name."""
        tools = self._all().get(server, {})
        return {name: _allowed(one, self._file) for name, one in tools.items()}

    def allow(self, server: str, tools: Mapping[str, Allowed]) -> None:
        """Allows tools of a server, in addition to those that are."""
        said = self._all()
        kept = said.setdefault(server, {})
        kept.update({name: {"hash": one.hash, "effects": list(one.effects)} for name, one in tools.items()})
        self._write(said)

    def forbid(self, server: str, names: Sequence[str]) -> None:
        """Takes tools of a server out again."""
        said = self._all()
        said[server] = {name: one for name, one in said.get(server, {}).items() if name not in names}
        self._write(said)

    def _all(self) -> dict[str, Any]:
        return _read(self._file) if self._file.exists() else {}

    def _write(self, said: Mapping[str, Any]) -> None:
        atomic.write(self._file, json.dumps(said, indent=2, sort_keys=True) + "\n")


def _allowed(said: Any, file: Path) -> Allowed:
    effects = said.get("effects", EFFECTS) if isinstance(said, dict) else None
    if effects is None or not isinstance(said.get("hash"), str) or not set(effects) <= set(EFFECTS):
        raise ConfigError(f"{file}: an entry is not a hash with effects of {', '.join(EFFECTS)}")
    return Allowed(hash=said["hash"], effects=tuple(effect for effect in EFFECTS if effect in effects))


def description_hash(described: Mapping[str, Any]) -> str:
    """What pins a description: a digest of everything that the server says of a tool."""
    return hashlib.sha256(canonical(described).encode()).hexdigest()
