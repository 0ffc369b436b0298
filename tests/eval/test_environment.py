from __future__ import annotations

import platform
import re
import socket
import sys
from pathlib import Path

import numpy as np
import pytest

from ragagent.eval.environment import facts, settings_facts, without_folder
from ragagent.settings import LlmSettings, Settings, keys


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("/home/someone/models/chat.gguf", "chat.gguf"),
        ("/srv/lora.gguf=0.5", "lora.gguf=0.5"),
        ("~/models/chat.gguf", "chat.gguf"),
        ("file:///home/someone/a%20b.pdf", "a%20b.pdf"),
        ("http://box.internal:8080/v1", "v1"),
        ("http://box.internal:8080", ""),
        ("hf:Qwen/Qwen2.5/file.gguf", "hf:Qwen/Qwen2.5/file.gguf"),
        ("qwen2.5-coder-1.5b-instruct", "qwen2.5-coder-1.5b-instruct"),
        ("ModelCrashed: '/home/someone/chat.gguf' ended with 9", "ModelCrashed: 'chat.gguf' ended with 9"),
        ("and/or 1/2", "and/or 1/2"),
        (("/home/someone/a", 3), ["a", 3]),
        (None, None),
    ],
)
def test_a_place_is_cut_to_its_last_part(value: object, expected: object) -> None:
    assert without_folder(value) == expected


def test_the_facts_name_versions_and_processors_but_no_host() -> None:
    found = facts()
    assert found["packages"]["numpy"] == np.__version__
    assert found["packages"]["tokenizers"]
    assert found["python"] == platform.python_version()
    assert found["cpus"] >= 1
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", str(found))
    assert sys.prefix not in str(found)
    assert str(Path.home()) not in str(found) or str(Path.home()) == "/"


def test_every_setting_but_the_secrets_is_a_fact() -> None:
    found = settings_facts(Settings(llm=LlmSettings(api_key="s3cret")))
    assert found.keys() == keys().keys() - {"llm.api_key"}
    assert "s3cret" not in str(found)
