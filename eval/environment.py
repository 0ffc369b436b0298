"""What a figure depends on besides the code: packages, processor, settings. No host names and no paths."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path
from typing import Any

import ragagent
from ragagent.settings import SECRET_KEYS, Settings, values

# A path from the root or from ~, or a URL; not the slash inside a name such as hf:owner/model.
_PLACE = re.compile(r"(?<![\w.])(?:[a-z]+://|~)?(?:/|(?<=://)[^\s/]+/?)(?:[^\s/:'\"]+/)*([^\s/:'\"]*)")

PACKAGES = (
    "numpy",
    "faiss-cpu",
    "llama-cpp-python",
    "openvino",
    "tokenizers",
    "sentence-transformers",
    "torch",
    "rank-bm25",
)


def facts() -> dict[str, Any]:
    """Versions of ragagent, Python and the engines, and what the processor is. A package that is absent is None."""
    return {
        "ragagent": ragagent.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cpus": usable_cpus(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def usable_cpus() -> int:
    """The number of processors this process may run on, which a container may have limited."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def processor() -> str:
    """The processor's model name; the machine type where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def settings_facts(settings: Settings) -> dict[str, Any]:
    """Every setting in force by its dotted key. Secrets are left out, and so are the folders of paths."""
    return {key: without_folder(value) for key, value in values(settings).items() if key not in SECRET_KEYS}


def without_folder(value: Any) -> Any:
    """`value` with each absolute path and each URL cut to its last part: a run must not tell where it was made."""
    if isinstance(value, tuple | list):
        return [without_folder(item) for item in value]
    return _PLACE.sub(r"\1", value) if isinstance(value, str) else value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
