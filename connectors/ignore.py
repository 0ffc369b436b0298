"""What the ignore files of a folder tree leave out, as git reads them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

FILES = (".gitignore", ".ragagentignore")
_MAX_BYTES = 1_000_000


def matcher(patterns: Sequence[str]) -> GitIgnoreSpec | None:
    """A matcher of paths by patterns as in .gitignore; None without patterns. Raises ValueError for a bad one."""
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns) if patterns else None


@dataclass(frozen=True, slots=True)
class Ignore:
    """The ignore files in force in a folder: those of the folder itself and of those above it, within the root."""

    specs: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    def entered(self, folder: str, names: Sequence[str]) -> tuple[Ignore, list[tuple[str, str]]]:
        """What is in force inside `folder`, which holds `names`, and the ignore files that cannot be used, and why."""
        specs = list(self.specs)
        broken: list[tuple[str, str]] = []
        for name in FILES:
            if name not in names:
                continue
            path = os.path.join(folder, name)
            try:
                spec = matcher(_lines(path))
            except (OSError, ValueError) as error:
                broken.append((path, f"this ignore file is not in force: {error}"))
                continue
            if spec is not None:
                specs.append((folder, spec))
        return Ignore(tuple(specs)), broken

    def matches(self, path: str, *, folder: bool) -> bool:
        """Whether `path` is left out; the deepest file that says something about it decides."""
        for base, spec in reversed(self.specs):
            inside = os.path.relpath(path, base) + (os.sep if folder else "")
            verdict = None if inside.startswith("..") else spec.check_file(inside).include
            if verdict is not None:
                return verdict
        return False


def _lines(path: str) -> list[str]:
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), encoding="utf-8", errors="replace") as file:
        return file.read(_MAX_BYTES).splitlines()
