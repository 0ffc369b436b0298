"""The tools every agent has: documents to read and arithmetic to do; and a clock for those that are given it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ragagent.errors import ToolError
from ragagent.protocols import Tool
from ragagent.tools.arithmetic import MAX_CHARS, SUM_KEY, evaluate, shown
from ragagent.tools.documents import list_documents, read_document, search_documents
from ragagent.types import ToolSpec

__all__ = ["calculate", "current_time", "list_documents", "read_document", "search_documents"]

_FORMULA = {
    "type": "string",
    "description": "what is computed, by names: (new price - old price) / old price * 100",
    # Begun with a figure it would be the sum again, and name nothing.
    "pattern": r"^\({0,3}[^\W\d_].{0,200}$",
}
_EXPRESSION = {
    "type": "string",
    "description": "the formula in numbers and + - * / ( ) %: (1200 - 950) / 950 * 100",
    "minLength": 1,
    "maxLength": MAX_CHARS,
    SUM_KEY: True,
}


def calculate() -> Tool:
    """A tool for exact arithmetic, so that the model never has to do sums (`ragagent.tools.arithmetic.evaluate`)."""
    return _Calculate()


class _Calculate:
    @property
    def spec(self) -> ToolSpec:
        return ToolSpec(
            name="calculate",
            description="Computes an arithmetic expression exactly: any sum, difference, product, ratio, percentage.",
            parameters={
                "type": "object",
                "properties": {"formula": _FORMULA, "expression": _EXPRESSION},
                "required": ["expression"],
                "additionalProperties": False,
            },
            effects=(),
        )

    def call(self, arguments: Mapping[str, Any]) -> str:
        """The value alone: numbers that the model put in must not come back as if they had been computed."""
        return shown(evaluate(arguments["expression"]))


def current_time(now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Tool:
    """A tool that tells the date and the time in a time zone. What it says can be trusted: it reads the clock alone."""
    return _CurrentTime(now)


@dataclass(frozen=True, slots=True)
class _CurrentTime:
    now: Callable[[], datetime]

    @property
    def spec(self) -> ToolSpec:
        zone = {
            "type": "string",
            "description": "a time zone, such as Europe/Berlin",
            "default": "UTC",
            "maxLength": 64,
        }
        return ToolSpec(
            name="current_time",
            description="Tells the day of the week, the date and the time.",
            parameters={"type": "object", "properties": {"zone": zone}, "required": [], "additionalProperties": False},
            effects=(),
        )

    def call(self, arguments: Mapping[str, Any]) -> str:
        """Raises ToolError for a zone that is not known."""
        name = str(arguments.get("zone", "UTC"))
        try:
            zone = ZoneInfo(name)
        except (ValueError, OSError, ZoneInfoNotFoundError):
            raise ToolError(f"there is no time zone {name!r}; name one such as Europe/Berlin") from None
        return self.now().astimezone(zone).strftime("%A, %Y-%m-%d %H:%M:%S %Z")
