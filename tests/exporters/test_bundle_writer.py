"""A bundle appears as a whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from exporters.bundle_writer import write_bundle
from retrieval.errors import BundleError
from retrieval.model.bundle import ModelBundle
from tests.conftest import write_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return write_tiny_bundle(tmp_path / "models", "tiny", seed=1)


def test_a_failed_write_leaves_the_old_bundle_and_no_draft(bundle):
    before = bundle.bundle_id
    with pytest.raises(RuntimeError), write_bundle(bundle.folder) as draft:
        (draft / "image.onnx").write_bytes(b"half")
        raise RuntimeError
    assert ModelBundle.load(bundle.folder).bundle_id == before
    assert [path.name for path in bundle.folder.parent.iterdir()] == ["tiny"]


def test_a_write_without_a_manifest_leaves_nothing(tmp_path):
    with pytest.raises(BundleError, match=r"manifest\.json"), write_bundle(tmp_path / "new") as draft:
        (draft / "image.onnx").write_bytes(b"x")
    assert list(tmp_path.iterdir()) == []


def test_the_next_export_removes_files_of_a_killed_one_and_none_of_a_running_one(tmp_path):
    dead = """
import os, signal, sys
from pathlib import Path
from exporters.bundle_writer import write_bundle
with write_bundle(Path(sys.argv[1])) as draft:
    (draft / "image.onnx").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", dead, str(tmp_path / "tiny")], check=False)
    (left,) = tmp_path.iterdir()
    with pytest.raises(RuntimeError), write_bundle(tmp_path / "tiny") as running:
        assert not left.exists()
        with pytest.raises(RuntimeError), write_bundle(tmp_path / "tiny"):
            assert running.exists()
            raise RuntimeError
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
