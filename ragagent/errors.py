"""Every error that ragagent raises on purpose.

    RagAgentError
    ├── ConfigError              a setting, argument or key that is wrong
    ├── MissingExtra             an optional package is needed (ImportError too)
    ├── AccessDenied             what a session that was opened as a principal may not do
    ├── ConnectorError           a source cannot be enumerated or fetched
    │   └── ReadError            one document cannot be read; the rest goes on
    │       ├── UnsupportedFormat
    │       ├── EncryptedDocument
    │       ├── EmptyDocument
    │       ├── TooLarge
    │       ├── OverLimit        reading it takes too much time or memory
    │       ├── ReaderCrashed
    │       └── OcrNeeded        pictures of text, and OCR is missing, turned off or over its budget
    ├── IndexStateError          the knowledge base cannot be used as asked
    │   ├── Locked               another process is writing
    │   ├── FingerprintMismatch  built with another embedder, chunker or analyser
    │   │   └── EmbedderChanged  a migration ended between embedding a query and searching
    │   ├── NewerVersion         made by a newer ragagent
    │   ├── Corrupt              its files contradict one another
    │   └── StorageFull          no room, or no permission to write
    ├── ModelError
    │   ├── ModelNotFound
    │   ├── ModelDownloadError
    │   ├── ModelLoadError
    │   │   └── ModelTooLarge    memory has no room for it
    │   ├── ModelCrashed         the model process ended or hung in the middle of a request
    │   └── ContextOverflow      the prompt does not fit the context
    ├── AgentError
    │   └── StepLimit            carries the state reached
    └── ToolError                the one family the model sees, as an observation

A message says what happened, to which value, and what to do about it.
"""

from __future__ import annotations

from typing import Any


class RagAgentError(Exception):
    """The root of the tree: catch it to catch everything that ragagent raises on purpose."""


class ConfigError(RagAgentError):
    """A setting, argument or key that is wrong; the message names it and the choices."""


class MissingExtra(RagAgentError, ImportError):
    """A feature needs an optional package."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional package: pip install 'ragagent[{extra}]'")


class AccessDenied(RagAgentError):
    """A session that was opened as a principal may not do this, whatever it is done to."""


class ConnectorError(RagAgentError):
    """A source cannot be enumerated or fetched."""


class ReadError(ConnectorError):
    """One document cannot be read. An ingest reports it by name and goes on."""


class UnsupportedFormat(ReadError):
    """No reader knows the format."""


class EncryptedDocument(ReadError):
    """The document wants a password."""


class EmptyDocument(ReadError):
    """The document has no text."""


class OverLimit(ReadError):
    """Reading the document took more time or memory than it is given; its process was ended."""


class ReaderCrashed(ReadError):
    """The process that read the document ended in the midst of it."""


class TooLarge(ReadError):
    """The document is over a size limit."""


class OcrNeeded(ReadError):
    """Text stands on pictures, and OCR is missing, turned off, over its budget, or gave up; the message says which."""


class IndexStateError(RagAgentError):
    """The knowledge base cannot be used as asked."""


class Locked(IndexStateError):
    """Another process is writing to the knowledge base."""


class FingerprintMismatch(IndexStateError):
    """The index was built with another embedder, chunker or analyser than the one in force."""


class EmbedderChanged(FingerprintMismatch):
    """A query vector of another embedder than the live edition's; `KnowledgeBase.search` embeds the query again."""


class NewerVersion(IndexStateError):
    """The knowledge base was made by a newer version of ragagent and is left untouched."""


class Corrupt(IndexStateError):
    """The files of the knowledge base contradict one another."""


class StorageFull(IndexStateError):
    """There is no room, or no permission, to write; nothing that was committed before is lost."""


class ModelError(RagAgentError):
    """A model cannot do what was asked."""


class ModelNotFound(ModelError):
    """No model of that name, or its file is not on this machine."""


class ModelDownloadError(ModelError):
    """No source could deliver the model; the message lists each source and why."""


class ModelLoadError(ModelError):
    """A model file cannot be loaded."""


class ModelTooLarge(ModelLoadError):
    """A model for which there is no room in memory; with a smaller one, or a shorter context, it may work."""


class ModelCrashed(ModelError):
    """The model process ended or hung in the middle of a request; the next request starts a new one."""


class ContextOverflow(ModelError):
    """The prompt does not fit the context of the model."""


class AgentError(RagAgentError):
    """A run of an agent cannot go on."""


class StepLimit(AgentError):
    """The run reached its cap; `state` is how far it got."""

    def __init__(self, message: str, state: Any) -> None:
        super().__init__(message)
        self.state = state


class ToolError(RagAgentError):
    """A tool call failed in a way that the model should see."""
