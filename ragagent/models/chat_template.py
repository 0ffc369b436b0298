"""A conversation laid out the way a model was trained to read it, with every text kept apart from the markup.

The template comes with the model; the texts come from anywhere. A text must never turn into markup, so the template
is rendered over placeholders, and the result is given as parts that say which is which.
"""

from __future__ import annotations

import datetime
import json
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import jinja2.ext
import jinja2.sandbox

from ragagent.errors import ModelError

# What a model without a template gets: ChatML, which most instruct models of the last years have seen.
DEFAULT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{{ '<|im_start|>assistant\n' }}"
)
# A template that prints today's date would change the prompt's beginning every day and undo the reuse of its cache.
_FIXED_DAY = datetime.datetime(2024, 7, 26, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a laid-out conversation: `markup` was written by the template, anything else by somebody."""

    text: str
    markup: bool


class ChatTemplate:
    """Renders conversations with a Jinja template in a sandbox."""

    def __init__(self, source: str | None, *, bos: str = "", eos: str = "", specials: Sequence[str] = ()) -> None:
        """`source` None means ChatML. `specials` are the texts that the tokenizer would read as special tokens."""
        self._bos, self._eos, self._specials = bos, eos, tuple(specials)
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_refuse, strftime_now=_FIXED_DAY.strftime)
        try:
            self._template = environment.from_string(source or DEFAULT)
        except jinja2.TemplateError as error:
            raise ModelError(f"the model's chat template cannot be read: {error}") from error

    def render(self, messages: Sequence[Mapping[str, str]], tools: Sequence[Mapping[str, Any]] = ()) -> list[Part]:
        """The conversation up to where the assistant writes. Raises ModelError when the template refuses it."""
        try:
            return self._render(messages, tools)
        except _SystemLost:
            return self._render(_merge_system(messages), tools)

    def _render(self, messages: Sequence[Mapping[str, str]], tools: Sequence[Mapping[str, Any]]) -> list[Part]:
        texts = _Texts()
        hidden = [{"role": message["role"], "content": texts.hide(message["content"])} for message in messages]
        tool_list = texts.hide_specials(list(tools), self._contains_special) if tools else None
        has_system = len(messages) > 1 and messages[0]["role"] == "system"
        try:
            text = self._template.render(
                messages=hidden, tools=tool_list, add_generation_prompt=True, bos_token=self._bos, eos_token=self._eos
            )
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
            if has_system and isinstance(error, jinja2.TemplateError):
                raise _SystemLost from error
            raise ModelError(f"the model's chat template refuses this conversation: {error}") from error
        if has_system and hidden[0]["content"] not in text:
            raise _SystemLost
        return texts.reveal(text)

    def _contains_special(self, text: str) -> bool:
        return any(special in text for special in self._specials)


class _SystemLost(Exception):
    """The template has no place for a system message."""


def _merge_system(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """The same conversation with the system message at the head of the one that follows it."""
    system, following, *rest = messages
    merged = {"role": following["role"], "content": f"{system['content']}\n\n{following['content']}"}
    return [merged, *rest]


class _Texts:
    """Texts and the placeholders that stand for them in one rendering."""

    def __init__(self) -> None:
        # Not to be guessed, or a text could contain the placeholder of another.
        self._mark = secrets.token_hex(12)
        self._texts: list[str] = []

    def hide(self, text: str) -> str:
        self._texts.append(text)
        return f"{self._mark}x{len(self._texts) - 1}x"

    def hide_specials(self, value: Any, dangerous: Callable[[str], bool]) -> Any:
        """`value` with each dangerous string, inside lists and mappings too, hidden in its JSON spelling."""
        if isinstance(value, str):
            return self.hide(json.dumps(value, ensure_ascii=False)[1:-1]) if dangerous(value) else value
        if isinstance(value, Mapping):
            return {
                self.hide_specials(key, dangerous): self.hide_specials(item, dangerous) for key, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.hide_specials(item, dangerous) for item in value]
        return value

    def reveal(self, rendered: str) -> list[Part]:
        pieces = re.split(f"{self._mark}x([0-9]+)x", rendered)
        parts = [
            Part(self._texts[int(piece)], False) if place % 2 else Part(piece, True)
            for place, piece in enumerate(pieces)
        ]
        return [part for part in parts if part.text]


def _tojson(value: Any, indent: int | None = None, **_ignored: Any) -> str:
    # Jinja's own filter escapes for HTML, which no model was trained on.
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> str:
    raise jinja2.TemplateError(message)
