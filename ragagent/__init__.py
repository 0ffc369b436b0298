"""ragagent: answers about private documents that can be checked, and agents that stay inside their rights.

    with KnowledgeBase.open(".ragagent") as kb:
        kb.ingest("documents/")
        answer = kb.ask("When does the contract end?")

Importing this module loads no engine: names are resolved when they are first used.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# In a checkout the folders connectors/, prompts/ and eval/ stand beside this one; installed, they are inside it.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "pyproject.toml").is_file() and str(_checkout) not in __path__:
    __path__.append(str(_checkout))

if TYPE_CHECKING:
    from ragagent.access import Principal as Principal
    from ragagent.app import Agent as Agent
    from ragagent.app import KnowledgeBase as KnowledgeBase
    from ragagent.errors import AccessDenied as AccessDenied
    from ragagent.errors import RagAgentError as RagAgentError
    from ragagent.settings import Settings as Settings
    from ragagent.tools.function import tool as tool
    from ragagent.types import AgentResult as AgentResult
    from ragagent.types import Answer as Answer
    from ragagent.types import Chunk as Chunk
    from ragagent.types import Citation as Citation
    from ragagent.types import Document as Document
    from ragagent.types import Hit as Hit
    from ragagent.types import IngestReport as IngestReport
    from ragagent.types import Span as Span

_HOMES = {
    "AccessDenied": "ragagent.errors",
    "Agent": "ragagent.app",
    "AgentResult": "ragagent.types",
    "Answer": "ragagent.types",
    "Chunk": "ragagent.types",
    "Citation": "ragagent.types",
    "Document": "ragagent.types",
    "Hit": "ragagent.types",
    "IngestReport": "ragagent.types",
    "KnowledgeBase": "ragagent.app",
    "Principal": "ragagent.access",
    "RagAgentError": "ragagent.errors",
    "Settings": "ragagent.settings",
    "Span": "ragagent.types",
    "tool": "ragagent.tools.function",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
