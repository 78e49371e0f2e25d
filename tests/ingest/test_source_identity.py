"""A dataset is filled from one archive, and a collection with one salt, unless somebody says otherwise."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from archives import source_spec as specs
from archives.dicom.pseudonyms import SALT_BYTES, fingerprint, load_salt
from archives.source_spec import SourceSpec
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.snapshot import create_snapshot, restore_snapshot
from ingest.summary import IngestSummary
from ingest.transfer import push
from ingest.worker import Worker
from retrieval.errors import SaltDiffers, SourceDiffers
from retrieval.index.interface import Index
from retrieval.index.schema import CollectionMeta
from retrieval.progress import StageProgress
from tests.conftest import write_archive, write_tiny_bundle
from tests.dicom_files import dicom
from tests.ingest.worker_fixtures import NAME, CallOnProgress, CountingEncoder
from tests.retrieval.engines import new_index

COUNT = 5


def draw(folder: Path, seed: int, prefix: str = "") -> Path:
    """A folder of pictures, and beside it a table with reports, which name them alike whatever the seed."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 255, (40, 48), dtype=np.uint8)).save(folder / f"{prefix}{number}.png")
    rows = [f"{prefix}{number}.png,{number},Report {seed}." for number in range(COUNT)]
    folder.with_suffix(".csv").write_text("\n".join(["image,study_id,findings", *rows]))
    return folder


def radiographs(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number in range(COUNT):
        pixels = np.full((40, 48), 100 * number, dtype=np.uint16)
        pixels[:20] += 1000
        uids = {"SOPInstanceUID": f"1.2.{number}", "StudyInstanceUID": f"1.3.{number}"}
        (folder / f"{number}.dcm").write_bytes(dicom(pixels, **uids))
    return folder


class Site:
    """A machine: a home of its own, and an index that others may share."""

    def __init__(self, home: Path, index: Index, model: str = "tiny") -> None:
        self.home = home
        self.index = index
        bundle = write_tiny_bundle(home / "models", model, seed=0)
        self._worker = Worker(CountingEncoder(bundle), index, home=home, batch_size=2)

    def ingest(
        self,
        *,
        dataset: str | None = None,
        prune: bool = False,
        moved: bool = False,
        progress: StageProgress | None = None,
        **options: Any,
    ) -> IngestSummary:
        paths = {name: options.pop(name) for name in list(options) if isinstance(options[name], Path)}
        spec = SourceSpec.from_options(dataset=dataset, **paths)
        mode = RunMode(prune=(lambda gone, total: True) if prune else None, **options)
        return self._worker.run(spec.open(self.home), mode, spec=spec, moved=moved, progress=progress)

    def held(self) -> list[tuple[str, str, str]]:
        points = self.index.open(NAME).scroll(limit=None)
        keys = ("image_id", "image_sha256", "findings")
        return sorted(tuple(str(point.payload[key]) for key in keys) for point in points)  # type: ignore[misc]

    def meta(self, name: str = NAME) -> CollectionMeta:
        return self.index.collections()[name]

    def age(self) -> None:
        """Let the collection be as the last version left it."""
        collection = self.index.open(NAME)
        collection.record(msgspec.structs.replace(collection.meta, sources={}, salt=""))

    def forget(self) -> None:
        with Ledger(ledger_path(self.home, self.index.location, NAME)) as ledger:
            ledger.clear()


@pytest.fixture(params=["edge", "local"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Index]:
    opened = new_index(request.param, tmp_path / "index")
    yield opened
    opened.close()


@pytest.fixture
def site(tmp_path: Path, index: Index) -> Site:
    return Site(tmp_path / "home", index)


@pytest.fixture
def other(tmp_path: Path, index: Index) -> Site:
    """Another machine that shares the index."""
    return Site(tmp_path / "other-home", index)


def refused(site: Site, *words: str, **options: Any) -> None:
    before, meta = site.held(), site.meta()
    with pytest.raises(SourceDiffers) as caught:
        site.ingest(**options)
    for word in (*words, "--dataset NAME", "--moved"):
        assert word in str(caught.value)
    assert (site.held(), site.meta()) == (before, meta)


@pytest.mark.parametrize("prefix", ["", "b"], ids=["the-same-names", "other-names"])
@pytest.mark.parametrize("prune", [False, True])
def test_a_second_folder_under_one_dataset_is_refused_by_name(
    site: Site, tmp_path: Path, prefix: str, prune: bool
) -> None:
    one, two = draw(tmp_path / "a", 1), draw(tmp_path / "b", 2, prefix)
    site.ingest(images_dir=one)
    refused(site, f"images folder {one}", f"images folder {two}", images_dir=two, prune=prune)
    assert site.ingest(images_dir=two, dataset="b").indexed == COUNT
    assert site.meta().counts == {"images": COUNT, "b": COUNT}
    assert site.ingest(images_dir=one).unchanged == COUNT


def test_tables_are_told_apart_and_a_corrected_table_under_a_new_name_is_confirmed(site: Site, tmp_path: Path) -> None:
    folder, table = draw(tmp_path / "a", 1), tmp_path / "a.csv"
    draw(tmp_path / "b", 2)
    site.ingest(table=table, images_dir=folder)
    refused(site, str(table), str(tmp_path / "b.csv"), table=tmp_path / "b.csv", images_dir=tmp_path / "b")
    refused(site, str(folder), str(tmp_path / "b"), table=table, images_dir=tmp_path / "b")
    corrected = tmp_path / "a_v2.csv"
    corrected.write_text(table.read_text().replace("Report", "Corrected report"))
    refused(site, str(table), str(corrected), table=corrected, images_dir=folder)
    assert site.ingest(table=corrected, images_dir=folder, moved=True).updated == COUNT
    refused(site, str(table), str(corrected), table=table, images_dir=folder)
    assert site.ingest(table=corrected, images_dir=folder).unchanged == COUNT


def test_archives_of_two_tables_and_of_dicom_are_told_apart(site: Site, tmp_path: Path) -> None:
    one, two = (write_archive(tmp_path / name, 4, seed=seed) for seed, name in enumerate("ab"))
    site.ingest(**one)
    refused(site, str(one["images_dir"]), str(two["images_dir"]), **two)
    refused(site, str(two["reports_csv"]), **one | {"reports_csv": two["reports_csv"]})
    site.ingest(dicom_dir=radiographs(tmp_path / "c"))
    refused(site, str(tmp_path / "c"), str(tmp_path / "d"), dicom_dir=radiographs(tmp_path / "d"))
    refused(site, "DICOM folder", "images folder", images_dir=draw(tmp_path / "e", 1), dataset="dicom")
    (tmp_path / "reports.csv").write_text("accession_number,findings\n7,Clear.\n")
    site.ingest(dicom_dir=tmp_path / "c", reports_csv=tmp_path / "reports.csv")  # the same images, with reports now


def test_the_same_archive_by_another_path_is_the_same(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = draw(tmp_path / "site" / "a", 1)
    site.ingest(images_dir=folder)
    (tmp_path / "link").symlink_to(tmp_path / "site")
    monkeypatch.chdir(tmp_path)
    spellings = (tmp_path / "link" / "a", Path("site/a"), Path("site/../link/./a"), Path(f"{folder}/"))
    for path in spellings:
        assert site.ingest(images_dir=path).quarantined == []
    bound = tmp_path / "bound"
    shutil.copytree(folder, bound)
    monkeypatch.setattr(specs.os.path, "samefile", lambda one, two: str(bound) in (one, two))  # as of a bind mount
    site.ingest(images_dir=bound)
    monkeypatch.undo()
    site.ingest(images_dir=folder, moved=True)
    table = tmp_path / "site" / "a" / "t.csv"
    table.write_text("image\n0.png\n")
    site.ingest(table=table)
    site.ingest(table=table, images_dir=folder)
    os.link(table, tmp_path / "hard.csv")
    site.ingest(table=tmp_path / "hard.csv", images_dir=folder)


def test_a_moved_archive_is_confirmed_once_and_read_from_there(site: Site, tmp_path: Path) -> None:
    folder = draw(tmp_path / "a", 1)
    site.ingest(images_dir=folder)
    moved = folder.rename(tmp_path / "b")
    refused(site, str(folder), str(moved), images_dir=moved)
    summary = site.ingest(images_dir=moved, moved=True, prune=True)
    assert (summary.unchanged, summary.indexed, summary.pruned) == (COUNT, 0, 0)
    assert site.ingest(images_dir=moved).unchanged == COUNT
    assert str(moved) in site.meta().sources["images"]


def test_what_a_refused_or_fruitless_run_read_is_not_remembered(site: Site, tmp_path: Path) -> None:
    folder = draw(tmp_path / "a", 1)
    site.ingest(images_dir=folder)
    refused(site, images_dir=draw(tmp_path / "b", 2))
    refused(site, images_dir=tmp_path / "b")
    site.index.drop(NAME)  # nothing of it is held any more
    assert site.ingest(images_dir=tmp_path / "b").indexed == COUNT
    assert site.ingest(images_dir=folder, recreate=True).indexed == COUNT


def test_a_second_model_takes_the_same_archive_and_no_other(site: Site, tmp_path: Path) -> None:
    folder, other = draw(tmp_path / "a", 1), draw(tmp_path / "b", 2)
    site.ingest(images_dir=folder)
    second = Site(site.home, site.index, model="second")
    with pytest.raises(SourceDiffers, match=r"was last filled from the images folder .*/a;"):
        second.ingest(images_dir=other)
    assert "cxr_second" not in site.index.collections()
    second.ingest(images_dir=folder)
    second.ingest(images_dir=other, moved=True)
    assert site.ingest(images_dir=folder).unchanged == COUNT  # each collection remembers its own


def test_a_retry_reads_the_remembered_source(site: Site, tmp_path: Path) -> None:
    folder = draw(tmp_path / "a", 1)
    content = (folder / "0.png").read_bytes()
    (folder / "0.png").write_bytes(b"")
    site.ingest(images_dir=folder)
    (folder / "0.png").write_bytes(content)
    assert site.ingest(images_dir=folder, retry=frozenset({"0.png"})).indexed == 1


def test_another_machine_may_bring_the_same_archive_from_another_path_and_no_other_from_the_same(
    site: Site, other: Site, tmp_path: Path
) -> None:
    folder = draw(tmp_path / "archive", 1)
    site.ingest(images_dir=folder, part=(1, 2))
    mounted = shutil.copytree(folder, tmp_path / "mounted")
    assert other.ingest(images_dir=mounted, part=(2, 2)).messages != []
    assert len(site.held()) == COUNT
    shutil.rmtree(folder)
    draw(folder, 2)  # what lies on a third machine at that path
    third = Site(tmp_path / "third-home", site.index)
    refused(third, f"last filled from the images folder {mounted}", "0 are in this source", images_dir=folder)


def test_a_collection_without_any_record_is_taken_where_its_images_agree(
    site: Site, other: Site, tmp_path: Path
) -> None:
    folder = draw(tmp_path / "a", 1)
    site.ingest(images_dir=folder)
    site.age()
    refused(other, "a source that was not recorded", "0 are in this source", images_dir=draw(tmp_path / "b", 2))
    refused(other, "0 are in this source", images_dir=draw(tmp_path / "c", 3, "other"))
    (said,) = other.ingest(images_dir=shutil.copytree(folder, tmp_path / "copy")).messages
    assert "its source was not recorded); 5 of 5 images" in said
    assert str(tmp_path / "copy") in site.meta().sources["images"]
    # The ledger of the last version has the source: paths decide.
    site.age()
    refused(site, images_dir=tmp_path / "b")
    assert site.ingest(images_dir=folder).messages == []
    assert str(folder) in site.meta().sources["images"]
    site.forget()
    assert site.ingest(images_dir=folder).unchanged == COUNT


def test_a_collection_file_of_the_last_version_opens(site: Site) -> None:
    meta = CollectionMeta(model="tiny", bundle_id="b", dim=16, created_at="")
    document = msgspec.to_builtins(meta)
    del document["sources"], document["salt"]
    assert msgspec.convert(document, CollectionMeta) == meta


def test_a_machine_with_another_salt_is_refused_until_it_brings_the_salt_along(
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
    other.ingest(images_dir=draw(tmp_path / "a", 1))  # whose names need no salt
    shutil.copy(site.home / "salt", other.home / "salt")
    other.ingest(dicom_dir=folder, part=(2, 2))
    assert len(site.held()) == 2 * COUNT


def test_a_collection_of_the_last_version_gets_the_fingerprint_with_the_next_ingest(
    site: Site, other: Site, tmp_path: Path
) -> None:
    folder = radiographs(tmp_path / "dicom")
    site.ingest(dicom_dir=folder)
    site.age()
    with pytest.raises(SourceDiffers, match="another salt"):  # its ids are not in the source
        other.ingest(dicom_dir=folder)
    site.ingest(dicom_dir=folder)
    assert site.meta().salt == fingerprint(load_salt(site.home))
    with pytest.raises(SaltDiffers):
        other.ingest(dicom_dir=folder)


def test_a_salt_that_another_machine_recorded_meanwhile_is_noticed_at_the_end(site: Site, tmp_path: Path) -> None:
    folder = radiographs(tmp_path / "dicom")

    def meanwhile(done: int, total: int) -> None:
        collection = site.index.open(NAME)
        collection.record(msgspec.structs.replace(collection.meta, salt="0" * 16))

    with pytest.raises(SaltDiffers):
        site.ingest(dicom_dir=folder, progress=CallOnProgress(meanwhile))
    assert not site.meta().complete


def test_recreating_a_collection_takes_the_salt_of_who_does(site: Site, other: Site, tmp_path: Path) -> None:
    folder = radiographs(tmp_path / "dicom")
    site.ingest(dicom_dir=folder)
    other.ingest(dicom_dir=folder, recreate=True)
    assert site.meta().salt == fingerprint(load_salt(other.home))


@pytest.mark.parametrize("engine", ["edge", "local"])
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
    target = new_index("local", tmp_path / "target")
    push(site.index.open(NAME), target)
    foreign = Site(tmp_path / "foreign", new_index("local", tmp_path / "elsewhere"))
    foreign.ingest(images_dir=draw(tmp_path / "a", 1))
    push(foreign.index.open(NAME), target)
    meta = target.collections()[NAME]
    assert (meta.salt, meta.sources.keys()) == (site.meta().salt, {"dicom", "images"})
    foreign.ingest(dicom_dir=tmp_path / "dicom")
    with pytest.raises(SaltDiffers):
        push(foreign.index.open(NAME), target)


def test_a_copy_does_not_replace_the_images_of_another_archive(site: Site, tmp_path: Path) -> None:
    site.ingest(images_dir=draw(tmp_path / "a", 1))
    target = new_index("local", tmp_path / "target")
    push(site.index.open(NAME), target)
    foreign = Site(tmp_path / "foreign", new_index("local", tmp_path / "elsewhere"))
    foreign.ingest(images_dir=draw(tmp_path / "b", 2))
    with pytest.raises(SourceDiffers, match=r"5 of 5 ids of the dataset images .*/a on "):
        push(foreign.index.open(NAME), target)
    Image.linear_gradient("L").save(tmp_path / "a" / "0.png")  # an archive that changed a little is the same
    site.ingest(images_dir=tmp_path / "a")
    assert push(site.index.open(NAME), target).sent == 1


def test_the_fingerprint_tells_salts_apart_and_is_not_a_part_of_them() -> None:
    salts = [bytes([number]) * SALT_BYTES for number in range(50)]
    prints = {fingerprint(salt) for salt in salts}
    assert len(prints) == len(salts)
    assert all(len(each) == 16 for each in prints)
    assert all(each not in salt.hex() for each in prints for salt in salts)
