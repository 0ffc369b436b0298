"""Values that only the tools which declare them may see: kept out of prompts, logs, checkpoints and answers."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import Any

from ragagent.errors import ConfigError

_MIN_CHARS = 4


class Secrets:
    """Secrets by name. Shorter ones than four characters are refused: they would be found in every other word."""

    def __init__(self, values: Mapping[str, str] | None = None) -> None:
        self._values = dict(values or {})
        for name, value in self._values.items():
            if len(value) < _MIN_CHARS:
                raise ConfigError(f"the secret {name!r} is shorter than {_MIN_CHARS} characters")
        spellings = [(text, name) for name, value in self._values.items() for text in _spellings(value)]
        # The longest first: one secret may be part of another.
        self._spellings = sorted(dict(spellings).items(), key=lambda pair: -len(pair[0]))

    def chosen(self, names: Iterable[str]) -> dict[str, str]:
        """The secrets of these names. Raises ConfigError for one that was not given."""
        missing = [name for name in names if name not in self._values]
        if missing:
            raise ConfigError(f"a tool needs the secret {missing[0]!r}; give it with secrets={{...}}")
        return {name: self._values[name] for name in names}

    def hidden(self, text: str) -> str:
        """`text` with the name of each secret in its place, in the spellings it is likely to come in."""
        for spelling, name in self._spellings:
            if spelling in text:
                text = text.replace(spelling, f"[secret {name}]")
        return text

    def hidden_within(self, value: Any) -> Any:
        """`value` with the secrets hidden in all texts within."""
        if isinstance(value, str):
            return self.hidden(value)
        if isinstance(value, Mapping):
            return {self.hidden(str(key)): self.hidden_within(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.hidden_within(item) for item in value]
        return value


def _spellings(value: str) -> Iterable[str]:
    data = value.encode()
    # Base64 of the value alone; within a longer text its letters shift, and nothing can be looked for.
    encoded = base64.b64encode(data).decode().rstrip("=")
    escaped = json.dumps(value)[1:-1]
    quoted = urllib.parse.quote(value, safe="")
    return [value, escaped, quoted, data.hex(), data.hex().upper(), encoded, encoded.translate({43: 45, 47: 95})]
