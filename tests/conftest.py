"""Models for tests, taken from the model folder; a test whose model is absent skips and says how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from ragagent.errors import ModelNotFound

# A slow machine is no failure: no test is held to the clock.
settings.register_profile("ragagent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ragagent")


def _model(name: str) -> Path:
    from ragagent.models.store import ModelStore

    try:
        return ModelStore().resolve(name)
    except ModelNotFound:
        pytest.skip(f"needs the model {name}: ragagent models pull {name}")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The folder of the default embedding model."""
    return _model("all-MiniLM-L6-v2")


@pytest.fixture(scope="session")
def tiny_gguf() -> Path:
    """A chat model for plumbing: fast, and it invents its answers."""
    return _model("smollm2-135m-instruct")


@pytest.fixture(scope="session")
def small_gguf() -> Path:
    """The chat model for machines with little memory."""
    return _model("qwen2.5-coder-0.5b-instruct")


@pytest.fixture(scope="session")
def chat_gguf() -> Path:
    """The default chat model."""
    return _model("qwen2.5-coder-1.5b-instruct")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public evaluation sets, beside the checkout."""
    folder = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"needs the evaluation sets in {folder}")
    return folder
