"""Number of repetitions of randomised tests: few in `make test`, many in `make test-real`."""

from __future__ import annotations

import os

IS_THOROUGH = os.environ.get("CXR_TEST_THOROUGH") == "1"


def repetitions(few: int, many: int) -> int:
    """`many` if CXR_TEST_THOROUGH=1, which `make test-real` sets for tests with the marker `thorough`; otherwise `few`."""
    return many if IS_THOROUGH else few
