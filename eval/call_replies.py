"""What a model replied to each case of a calls run, kept in a file so that a run which was killed goes on.

What is kept is the text, not what it is worth: a change of the rules judges it anew, and no reply is asked for twice.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ragagent.errors import ConfigError


class Replies:
    """The replies of one model to one prompt, by case and decoding; without a path they are kept in memory alone.

    The first line of the file says what `made_by` says; a last line that a kill cut off is dropped. Raises ConfigError
    when the file cannot be written, is of another run or is no such file at all.
    """

    def __init__(self, path: Path | None, made_by: Mapping[str, str]) -> None:
        self._path = path
        self._known: dict[tuple[str, bool], str] = {}
        if path is not None:
            try:
                self._take_over(path, dict(made_by))
            except OSError as error:
                raise ConfigError(f"{path}: replies cannot be kept there: {error.strerror}") from error

    def reply(self, case_id: str, constrained: bool, ask: Callable[[], str]) -> str:
        """The reply that is known, or else what `ask` returns, which is on the disk when this returns."""
        key = (case_id, constrained)
        if key not in self._known:
            self._known[key] = ask()
            if self._path is not None:
                _append(self._path, {"id": case_id, "constrained": constrained, "reply": self._known[key]})
        return self._known[key]

    def _take_over(self, path: Path, made_by: Mapping[str, str]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith(b"\n")]
        if lines and not whole:
            raise ConfigError(f"{path}: holds no replies of a calls run; name another file")
        if not whole:
            _append(path, {"run": made_by})
            return
        self._read(path, whole, made_by)
        os.truncate(path, sum(map(len, whole)))

    def _read(self, path: Path, lines: list[bytes], made_by: Mapping[str, str]) -> None:
        try:
            found = json.loads(lines[0])["run"]
            for row in map(json.loads, lines[1:]):
                self._known[str(row["id"]), bool(row["constrained"])] = str(row["reply"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ConfigError(f"{path}: holds no replies of a calls run ({error}); name another file") from error
        if found != made_by:
            raise ConfigError(f"{path}: holds the replies of another run ({found}, not {made_by}); name another file")


def _append(path: Path, value: object) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(value).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
