"""What the repository holds and must not hold."""

from __future__ import annotations

import json

from tests.docs.markdown import ROOT

PACKAGES = ("cxr", "service", "exporters", "evaluation", "ingest", "archives", "retrieval")


def test_no_image_of_the_indiana_collection_is_in_the_repository() -> None:
    folders = (*PACKAGES, "tests", "benchmarks", "docs")
    assert not [path for folder in folders for path in (ROOT / folder).rglob("*_IM-*")]


def test_packaged_manifests_name_no_path_of_the_machine_that_made_them() -> None:
    manifests = list((ROOT / "retrieval" / "bundles").glob("*/manifest.json"))
    assert len(manifests) == 2
    for manifest in manifests:
        assert not json.loads(manifest.read_text())["source"].startswith("/"), manifest


def test_every_package_declares_its_types() -> None:
    assert all((ROOT / package / "py.typed").is_file() for package in PACKAGES)
