"""What is installed: one top-level name, every module, prompt and data file inside it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = {
    "ragagent": "ragagent",
    "connectors": "ragagent/connectors",
    "prompts": "ragagent/prompts",
    "eval": "ragagent/eval",
}


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(_copy(folder))], check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def _copy(folder: Path) -> Path:
    """The tracked and new files only, so that the build leaves nothing in the checkout."""
    target = folder / "source"
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes((ROOT / name).read_bytes())
    return target


def test_the_wheel_installs_one_top_level_name(wheel_names: list[str]) -> None:
    assert {name.split("/")[0] for name in wheel_names if ".dist-info/" not in name} == {"ragagent"}


def test_the_wheel_holds_every_module_prompt_and_data_file(wheel_names: list[str]) -> None:
    for folder, inside in FOLDERS.items():
        for pattern in ("*.py", "*.md", "*.toml", "*.json", "*.npz", "*.c", "py.typed"):
            for file in (ROOT / folder).rglob(pattern):
                assert f"{inside}/{file.relative_to(ROOT / folder).as_posix()}" in wheel_names


def test_every_package_folder_is_declared() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {
        ".".join((inside.replace("/", "."), *file.parent.relative_to(ROOT / folder).parts))
        for folder, inside in FOLDERS.items()
        for file in (ROOT / folder).rglob("__init__.py")
    }
    assert declared == found
