from __future__ import annotations

from tests.ingest.conftest import encoder as encoder
from tests.ingest.conftest import index as index
