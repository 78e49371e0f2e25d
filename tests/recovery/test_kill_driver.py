"""Kill points are checked before a command runs."""

from __future__ import annotations

import pytest

from tests.recovery.kill_driver import KillPoint


@pytest.mark.parametrize(
    "target",
    [
        "ingest.gone:Ledger.record",
        "ingest.ledger:Gone.record",
        "ingest.ledger:Ledger.gone",
        "ingest.ledger:__name__",
        "ingest.ledger",
    ],
)
def test_a_kill_point_that_names_no_function_is_an_error(target):
    with pytest.raises(ValueError, match=f"kill point `{target}`"):
        KillPoint(target)
