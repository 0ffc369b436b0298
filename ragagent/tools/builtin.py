"""The tools every agent has: documents to read and arithmetic to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ragagent.protocols import Tool
from ragagent.tools.arithmetic import MAX_CHARS, SUM_KEY, evaluate, shown
from ragagent.tools.documents import list_documents, read_document, search_documents
from ragagent.types import ToolSpec

__all__ = ["calculate", "list_documents", "read_document", "search_documents"]

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
