import json
from pathlib import Path

import pytest

from retrieval.errors import BundleDamaged, BundleError, UnknownModel
from retrieval.model.bundle import ModelBundle, find_bundle, installed_bundles
from tests.conftest import write_tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> ModelBundle:
    return write_tiny_bundle(tmp_path / "models", "tiny", seed=1)


def test_a_changed_byte_is_found_and_named(bundle):
    path = bundle.path("text.onnx")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleDamaged, match=r"text\.onnx has changed"):
        ModelBundle.load(bundle.folder)


def test_a_missing_file_is_found_and_named(bundle):
    bundle.path("tokenizer.json").unlink()
    with pytest.raises(BundleDamaged, match=r"tokenizer\.json is missing"):
        ModelBundle.load(bundle.folder)


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        (("preprocessing", "mode"), "squeeze", "squeeze"),
        (("preprocessing", "interpolation"), "cubic", "cubic"),
        (("tokenization", "padding"), "left", "left"),
        (("surprise",), 1, "surprise"),
        (("format",), 2, "format"),
    ],
)
def test_unknown_values_and_fields_of_a_manifest_raise(bundle, path, value, complaint):
    manifest = bundle.path("manifest.json")
    document = json.loads(manifest.read_text())
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    manifest.write_text(json.dumps(document))
    with pytest.raises(BundleError, match=complaint):
        ModelBundle.load(bundle.folder)


def test_a_manifest_may_not_point_outside_its_folder(bundle):
    manifest = bundle.path("manifest.json")
    document = json.loads(manifest.read_text())
    document["files"]["../../secret"] = "0" * 64
    manifest.write_text(json.dumps(document))
    with pytest.raises(BundleError, match="outside its folder"):
        ModelBundle.load(bundle.folder)


def test_the_bundle_id_follows_the_files_and_the_preprocessing(tmp_path, bundle):
    same = write_tiny_bundle(tmp_path / "again", "tiny", seed=1)
    other = write_tiny_bundle(tmp_path / "other", "tiny", seed=2)
    assert same.bundle_id == bundle.bundle_id != other.bundle_id
    manifest = bundle.path("manifest.json")
    manifest.write_text(manifest.read_text().replace('"stretch"', '"pad_square"'))
    assert ModelBundle.load(bundle.folder).bundle_id != same.bundle_id


def test_an_unknown_model_is_refused_with_those_installed(bundle):
    with pytest.raises(UnknownModel, match="tiny"):
        find_bundle("huge", bundle.folder.parent)


def test_a_draft_is_not_an_installed_bundle(bundle):
    bundle.folder.rename(bundle.folder.with_name(".tiny-draft"))
    assert ".tiny-draft" not in installed_bundles(bundle.folder.parent)
