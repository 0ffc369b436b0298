"""Opens the language model that the settings name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ragagent.models import absent
from ragagent.protocols import LLM
from ragagent.settings import LlmSettings

if TYPE_CHECKING:
    from ragagent.models.store import ModelStore


def open_llm(settings: LlmSettings, store: ModelStore) -> LLM:
    """The model of `settings.model`: an endpoint for http(s) addresses, none, or a GGUF file that `store` finds.

    Nothing is loaded or sent before the first request. Raises ModelNotFound, ModelLoadError for a file that is no
    GGUF, or ConfigError.
    """
    if settings.model == absent.NAME:
        return absent.NoModel()
    if settings.model.startswith(("http://", "https://")):
        from ragagent.models.remote import RemoteModel

        return RemoteModel(settings.model, settings)
    from ragagent.models.llama import LlamaModel

    return LlamaModel(store.resolve(settings.model), settings, name=settings.model)
