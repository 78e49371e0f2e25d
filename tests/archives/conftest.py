from __future__ import annotations

from pathlib import Path

import pytest

from tests.archives.dicom_tree import Ward
from tests.archives.indiana_archive import Archive
from tests.ingest.conftest import encoder as encoder
from tests.ingest.conftest import index as index


@pytest.fixture
def ward(tmp_path: Path) -> Ward:
    return Ward(tmp_path)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)
