"""Files are written as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from ragagent import atomic


def test_a_write_that_fails_leaves_what_was_there_and_nothing_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "kept"
    atomic.write(target, "before")
    with pytest.raises(ValueError, match="surrogates"):
        atomic.write(target, "half \ud800")
    assert target.read_text() == "before"
    assert list(tmp_path.iterdir()) == [target]


def test_a_file_is_for_its_owner_unless_said_otherwise_and_its_folder_is_made(tmp_path: Path) -> None:
    atomic.write(tmp_path / "new" / "own", "é")
    atomic.write(tmp_path / "shared", "é", mode=0o644)
    assert (tmp_path / "new" / "own").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "shared").stat().st_mode & 0o777 == 0o644
    assert (tmp_path / "shared").read_bytes() == "é".encode()
