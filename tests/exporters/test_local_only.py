"""The export of a local folder makes no request to the hub, even if the folder lacks a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporters.checkpoints.location import CheckpointFolder
from exporters.checkpoints.open_clip_checkpoint import _add_missing
from retrieval.errors import ExportError


@pytest.mark.parametrize(("source", "offline"), [("folder", True), ("owner/name", False)])
def test_the_hub_is_used_only_for_a_hub_id(
    source: str, offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def download(*_: object, local_files_only: bool, **__: object) -> str:
        asked.append(local_files_only)
        raise OSError("not there")

    monkeypatch.setattr("exporters.checkpoints.location.snapshot_download", download)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExportError, match="copy it from owner/text"):
        _add_missing(tmp_path, "owner/text", CheckpointFolder(tmp_path / "folder", source, None), "tokenizer")
    assert asked == [offline]
