"""Where it is kept what a server's sign-in gave: a file that its owner alone may read, or the keyring of the system."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ragagent import atomic
from ragagent.errors import ConfigError, MissingExtra

_SERVICE = "ragagent-mcp"
_MAX_BYTES = 1 << 20
_IN_KEYRING = "keyring"


class Tokens:
    """The sign-ins by address of the server. Read when asked; written whole, so that a crash leaves the old file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def of(self, url: str) -> dict[str, Any]:
        """What is kept of the sign-in at a server; empty where there is none."""
        found = self._all().get(url, {})
        if not isinstance(found, dict):
            raise ConfigError(f"{self._file}: the entry of {url} is not an object; sign out of it")
        return self._from_keyring(url) if found.get(_IN_KEYRING) else found

    def keep(self, url: str, record: Mapping[str, Any], *, keyring: bool | None = None) -> None:
        """Keeps a sign-in, in the keyring if `keyring`; by default where it was."""
        said = self._all()
        apart = bool(said.get(url, {}).get(_IN_KEYRING)) if keyring is None else keyring
        if apart:
            _keyring().set_password(_SERVICE, url, json.dumps(dict(record)))
        said[url] = {_IN_KEYRING: True} if apart else dict(record)
        self._write(said)

    def forget(self, url: str) -> bool:
        """Drops the sign-in at a server; whether there was one."""
        said = self._all()
        found = said.pop(url, None)
        if found is None:
            return False
        if found.get(_IN_KEYRING) and self._from_keyring(url):
            _keyring().delete_password(_SERVICE, url)
        self._write(said)
        return True

    def _from_keyring(self, url: str) -> dict[str, Any]:
        kept = _keyring().get_password(_SERVICE, url)
        found = json.loads(kept) if kept else {}
        return found if isinstance(found, dict) else {}

    def _all(self) -> dict[str, Any]:
        if not self._file.exists():
            return {}
        if self._file.stat().st_mode & 0o077:
            raise ConfigError(f"{self._file}: others may read it; set its mode to 600, or delete it and sign in again")
        try:
            text = self._file.read_text(encoding="utf-8")
            said = json.loads(text) if len(text) <= _MAX_BYTES else None
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigError(f"{self._file}: cannot be read; delete it and sign in again") from error
        if not isinstance(said, dict):
            raise ConfigError(f"{self._file}: has to be a JSON object; delete it and sign in again")
        return said

    def _write(self, said: Mapping[str, Any]) -> None:
        atomic.write(self._file, json.dumps(said, indent=2, sort_keys=True) + "\n", mode=0o600)


def _keyring() -> Any:
    try:
        import keyring
    except ImportError as error:
        raise MissingExtra("keeping a sign-in in the keyring", "keyring") from error
    return keyring
