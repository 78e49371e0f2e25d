"""A dataset has one salt on all machines, and copies carry salt and source."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from archives.dicom.pseudonyms import SALT_BYTES, fingerprint, load_salt
from ingest.snapshot import create_snapshot, restore_snapshot
from ingest.transfer import push
from retrieval.errors import SaltDiffers, SourceDiffers
from tests.ingest.identity.site import COUNT, Site, draw, radiographs
from tests.ingest.worker_fixtures import NAME, CallOnProgress
from tests.retrieval.engines import new_index


def test_a_machine_with_another_salt_is_refused_until_it_has_the_same_salt(
    site: Site, other: Site, tmp_path: Path
) -> None:
    folder = radiographs(tmp_path / "dicom")
    site.ingest(dicom_dir=folder, part=(1, 2))
    before = site.held()
    assert site.meta().salt == fingerprint(load_salt(site.home))
    for options in ({}, {"dataset": "elsewhere"}, {"moved": True}, {"prune": True}):
        with pytest.raises(SaltDiffers, match="chmod 600"):
            other.ingest(dicom_dir=folder, **options)
    assert site.held() == before
    assert load_salt(site.home).hex() not in str(msgspec.to_builtins(site.meta()))
    other.ingest(images_dir=draw(tmp_path / "a", 1))  # image names need no salt
    shutil.copy(site.home / "salt", other.home / "salt")
    other.ingest(dicom_dir=folder, part=(2, 2))
    assert len(site.held()) == 2 * COUNT


def test_a_collection_of_the_last_version_gets_the_fingerprint_with_the_next_ingest(
    site: Site, other: Site, tmp_path: Path
) -> None:
    folder = radiographs(tmp_path / "dicom")
    site.ingest(dicom_dir=folder)
    site.age()
    with pytest.raises(SourceDiffers, match="another salt"):  # the source has none of its ids
        other.ingest(dicom_dir=folder)
    site.ingest(dicom_dir=folder)
    assert site.meta().salt == fingerprint(load_salt(site.home))
    with pytest.raises(SaltDiffers):
        other.ingest(dicom_dir=folder)


def test_a_salt_that_another_machine_recorded_during_the_run_is_noticed_at_the_end(site: Site, tmp_path: Path) -> None:
    folder = radiographs(tmp_path / "dicom")

    def meanwhile(done: int, total: int) -> None:
        collection = site.index.open(NAME)
        collection.record(msgspec.structs.replace(collection.meta, salt="0" * 16))

    with pytest.raises(SaltDiffers):
        site.ingest(dicom_dir=folder, progress=CallOnProgress(meanwhile))
    assert not site.meta().complete


def test_a_recreated_collection_gets_the_salt_of_the_machine_that_recreates_it(
    site: Site, other: Site, tmp_path: Path
) -> None:
    folder = radiographs(tmp_path / "dicom")
    site.ingest(dicom_dir=folder)
    other.ingest(dicom_dir=folder, recreate=True)
    assert site.meta().salt == fingerprint(load_salt(other.home))


@pytest.mark.parametrize("engine", ["edge", "server"])
def test_copies_and_snapshots_carry_source_and_salt(site: Site, tmp_path: Path, engine: str) -> None:
    site.ingest(dicom_dir=radiographs(tmp_path / "dicom"))
    target = new_index(engine, tmp_path / "target")
    push(site.index.open(NAME), target)
    create_snapshot(site.index.open(NAME), tmp_path / "snapshot.zip")
    restored = new_index(engine, tmp_path / "restored")
    restore_snapshot(tmp_path / "snapshot.zip", restored)
    for copy in (target, restored):
        meta = copy.collections()[NAME]
        assert (meta.salt, meta.sources) == (site.meta().salt, site.meta().sources)
        copy.close()


def test_a_copy_into_a_collection_of_another_salt_is_refused_and_one_without_keeps_it(
    site: Site, tmp_path: Path
) -> None:
    site.ingest(dicom_dir=radiographs(tmp_path / "dicom"))
    target = new_index("server", tmp_path / "target")
    push(site.index.open(NAME), target)
    foreign = Site(tmp_path / "foreign", new_index("server", tmp_path / "elsewhere"))
    foreign.ingest(images_dir=draw(tmp_path / "a", 1))
    push(foreign.index.open(NAME), target)
    meta = target.collections()[NAME]
    assert (meta.salt, meta.sources.keys()) == (site.meta().salt, {"dicom", "images"})
    foreign.ingest(dicom_dir=tmp_path / "dicom")
    with pytest.raises(SaltDiffers):
        push(foreign.index.open(NAME), target)
    for index in (target, foreign.index):
        index.close()


def test_a_copy_does_not_replace_the_images_of_another_archive(site: Site, tmp_path: Path) -> None:
    site.ingest(images_dir=draw(tmp_path / "a", 1))
    target = new_index("server", tmp_path / "target")
    push(site.index.open(NAME), target)
    foreign = Site(tmp_path / "foreign", new_index("server", tmp_path / "elsewhere"))
    foreign.ingest(images_dir=draw(tmp_path / "b", 2))
    with pytest.raises(SourceDiffers, match=r"5 of 5 ids of the dataset images .*/a on "):
        push(foreign.index.open(NAME), target)
    Image.linear_gradient("L").save(tmp_path / "a" / "0.png")  # a slightly changed archive is still the same
    site.ingest(images_dir=tmp_path / "a")
    assert push(site.index.open(NAME), target).sent == 1
    for index in (target, foreign.index):
        index.close()


def test_fingerprints_of_salts_differ_and_contain_no_part_of_the_salt() -> None:
    salts = [bytes([number]) * SALT_BYTES for number in range(50)]
    prints = {fingerprint(salt) for salt in salts}
    assert len(prints) == len(salts)
    assert all(len(each) == 16 for each in prints)
    assert all(each not in salt.hex() for each in prints for salt in salts)
