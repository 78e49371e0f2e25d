"""A dataset is always filled from the same archive, unless the user confirms that it has moved."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from archives import source_spec as specs
from retrieval.errors import SourceDiffers
from retrieval.index.schema import CollectionMeta
from tests.conftest import write_archive
from tests.ingest.identity.site import COUNT, Site, draw, radiographs, refused
from tests.ingest.worker_fixtures import NAME


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


def test_tables_are_distinguished_and_a_renamed_table_is_confirmed(site: Site, tmp_path: Path) -> None:
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


def test_indiana_and_dicom_archives_are_distinguished(site: Site, tmp_path: Path) -> None:
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


def test_the_source_of_a_refused_or_failed_run_is_not_recorded(site: Site, tmp_path: Path) -> None:
    folder = draw(tmp_path / "a", 1)
    site.ingest(images_dir=folder)
    refused(site, images_dir=draw(tmp_path / "b", 2))
    refused(site, images_dir=tmp_path / "b")
    site.index.drop(NAME)  # the collection is gone
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
    assert site.ingest(images_dir=folder).unchanged == COUNT  # each collection records its own source


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
    draw(folder, 2)  # another archive at the same path on a third machine
    third = Site(tmp_path / "third-home", site.index)
    refused(third, f"last filled from the images folder {mounted}", "0 are in this source", images_dir=folder)


def test_a_collection_without_a_recorded_source_is_accepted_if_its_images_agree(
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
    # The ledger of an earlier version has the source: paths decide.
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
