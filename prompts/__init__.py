"""The prompts: one Markdown file each, with the models it was checked on, filled in without reading the values."""

from __future__ import annotations

import functools
import importlib.resources
import re
from dataclasses import dataclass

from ragagent.errors import ConfigError

_PLACE = re.compile(r"\{\{([a-z_]+)\}\}")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_KEYS = {"purpose", "checked_on"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """One prompt. `checked_on` names the models whose answers to it were looked at; other models are a try."""

    name: str
    text: str
    purpose: str
    checked_on: tuple[str, ...]

    @property
    def places(self) -> frozenset[str]:
        """The names that `render` wants."""
        return frozenset(_PLACE.findall(self.text))

    def render(self, **values: str) -> str:
        """The text with each `{{name}}` replaced by its value.

        Values are put in as they are: braces inside them mean nothing. Raises ConfigError for a name that is missing
        or not in the prompt.
        """
        missing, extra = self.places - values.keys(), values.keys() - self.places
        if missing or extra:
            problems = [f"without {name!r}" for name in sorted(missing)] + [
                f"unknown {name!r}" for name in sorted(extra)
            ]
            raise ConfigError(
                f"prompt {self.name!r}: {', '.join(problems)}; it takes {', '.join(sorted(self.places)) or 'nothing'}"
            )
        return _PLACE.sub(lambda match: values[match[1]], self.text)


@functools.cache
def load(name: str) -> Prompt:
    """The prompt `name`, from the file `name.md` of this package. Raises ConfigError for a name it does not have."""
    folder = importlib.resources.files("ragagent.prompts")
    file = folder / f"{name}.md"
    if not _NAME.fullmatch(name) or not file.is_file():
        known = sorted(entry.name[:-3] for entry in folder.iterdir() if entry.name.endswith(".md"))
        raise ConfigError(f"no prompt {name!r}; there are {', '.join(known)}")
    return parse(name, file.read_text(encoding="utf-8"))


def parse(name: str, source: str) -> Prompt:
    """A prompt from the text of its file: front matter (`purpose`, `checked_on`) between two `---`, then the prompt."""
    opening, _, rest = source.partition("---\n")
    matter, closing, text = rest.partition("\n---\n")
    if opening or not closing:
        raise ConfigError(f"prompt {name!r}: begins with front matter between two lines of ---")
    pairs = dict(_pair(name, line) for line in matter.splitlines() if line.strip())
    if pairs.keys() != _KEYS:
        raise ConfigError(
            f"prompt {name!r}: front matter has {', '.join(sorted(pairs)) or 'nothing'}, not {', '.join(sorted(_KEYS))}"
        )
    models = tuple(model.strip() for model in pairs["checked_on"].split(",") if model.strip())
    return Prompt(name=name, text=text.strip("\n"), purpose=pairs["purpose"], checked_on=models)


def _pair(name: str, line: str) -> tuple[str, str]:
    key, colon, value = line.partition(":")
    if not colon:
        raise ConfigError(f"prompt {name!r}: front matter line {line!r} is not `key: value`")
    return key.strip(), value.strip()
