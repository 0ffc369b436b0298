"""The members of a team: agents as tools of the one that leads them, each with the tools that its part takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ragagent.agent.delegate import AgentTool
from ragagent.agent.policy import consequential
from ragagent.agent.runner import AgentRunner
from ragagent.protocols import Tool
from ragagent.settings import AgentSettings

_ABOUT = {
    "researcher": "Finds out one thing in the documents, with its sources. It sees nothing but its task.",
    "worker": "Computes or does one thing with the tools that there are. It sees nothing but its task.",
    "critic": "Checks a draft of an answer against the documents, and says what in it nothing supports.",
}


class Opened(Protocol):
    """Makes a runner with these tools."""

    def __call__(self, limits: AgentSettings, tools: Sequence[Tool]) -> AgentRunner: ...


def members(opened: Opened, tools: Sequence[Tool], settings: AgentSettings) -> list[Tool]:
    """A researcher and a critic who only read, and a worker who may call all of `tools`, as far as the policy goes.

    They work within what is left of the leader's caps, and cannot lead teams of their own.
    """
    reading = [tool for tool in tools if not consequential(tool.spec)]
    return [
        _member(opened, name, tools if name == "worker" else reading, settings)
        for name in _ABOUT
        if reading or name == "worker"
    ]


def _member(opened: Opened, name: str, tools: Sequence[Tool], settings: AgentSettings) -> Tool:
    effects = opened(settings, tools).effects
    return AgentTool(
        lambda limits: opened(limits, tools), settings, name=name, description=_ABOUT[name], effects=effects
    )
