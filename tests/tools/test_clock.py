from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ragagent.errors import ToolError
from ragagent.tools.builtin import current_time


def test_the_clock_tells_the_time_of_a_zone_and_does_nothing_else() -> None:
    clock = current_time(lambda: datetime(2026, 11, 26, 23, 30, tzinfo=UTC))
    assert clock.call({}) == "Thursday, 2026-11-26 23:30:00 UTC"
    assert clock.call({"zone": "Europe/Berlin"}) == "Friday, 2026-11-27 00:30:00 CET"
    assert clock.spec.effects == ()


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "../../etc/passwd", "", "/etc/passwd", "\x00"])
def test_a_zone_that_is_none_is_named(zone: str) -> None:
    with pytest.raises(ToolError, match="no time zone"):
        current_time().call({"zone": zone})
