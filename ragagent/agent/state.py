"""What a run of an agent knows, as one frozen record that goes through a checkpoint as JSON.

Documents' text stays out of it but for the bounded observations: passages are remembered by id, and found again by
repeating the calls that found them.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ragagent.errors import AgentError
from ragagent.jsonable import jsonable
from ragagent.settings import Strategy
from ragagent.types import Approval, Cap, Observation, Step, Stopped, ToolCall, Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A call of a plan: the arguments that are `fixed`, and for each parameter that is left open what goes there."""

    tool: str
    fixed: Mapping[str, Any]
    holes: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentState:
    """A run between two steps, and within one.

    `reply`, `thought`, `call` and `observation` belong to the step under way and are empty between steps. `forced`
    names the cap that leaves only the final answer; `stopped` is empty while the run goes on. `verdict` says that the
    call may be made, or made `again`; `approval` is what a human is or was asked about it. `elapsed_s` is how long the
    run had worked when its step was begun. `plan` is empty until there is one, and in runs that make none.
    """

    run_id: str
    task: str
    strategy: Strategy = "react"
    plan: tuple[Planned, ...] = ()
    steps: tuple[Step, ...] = ()
    receipts: tuple[tuple[int, int], ...] = ()
    """The steps of whose results the model sees a receipt, and how many steps there were when it was made."""
    reply: str = ""
    cut: bool = False
    thought: str = ""
    call: ToolCall | None = None
    observation: Observation | None = None
    step_usage: Usage = field(default_factory=Usage)
    documents: tuple[str, ...] = ()
    chunks: tuple[str, ...] = ()
    forced: Cap | Literal[""] = ""
    stopped: Stopped | Literal[""] = ""
    answer: str = ""
    reason: str = ""
    verdict: Literal["", "allow", "again"] = ""
    approval: Approval | None = None
    elapsed_s: float = 0.0

    @property
    def waiting(self) -> bool:
        """Whether nothing happens before a human has decided."""
        return self.approval is not None and not self.verdict and self.observation is None

    @property
    def usage(self) -> Usage:
        """What all steps so far cost together."""
        return sum((step.usage for step in self.steps), start=Usage())


def to_json(state: AgentState) -> str:
    """`state` as JSON text: numbers of any size pass, and a checkpoint holds nothing that could be executed."""
    return json.dumps(jsonable(state))


def from_json(text: str) -> AgentState:
    """The state that `to_json` was given, checked field by field. Raises AgentError for anything else."""
    import pydantic

    try:
        state: AgentState = _adapter().validate_json(text)
    except pydantic.ValidationError as error:
        raise AgentError(f"the checkpoint is not one of this version: {error.errors()[0]['msg']}") from error
    return state


@functools.cache
def _adapter() -> Any:
    import pydantic

    return pydantic.TypeAdapter(AgentState)
