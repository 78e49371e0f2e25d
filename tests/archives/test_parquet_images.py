"""Parquet tables that contain the images."""

from __future__ import annotations

import io
import random
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from archives.tables.image_cells import ImageColumn
from archives.tables.source import TableSource
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.worker import Worker
from retrieval.errors import MissingFile, SourceError
from retrieval.records import Quarantined, Study
from tests.dicom_files import make_dicom
from tests.ingest.worker_fixtures import NAME, contents

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def png(seed: int, side: int = 24) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, images: list[Any], kind: pa.DataType = STRUCT, **columns: list[Any]) -> Path:
    pq.write_table(pa.table({"image": pa.array(images, kind), **columns}), path, row_group_size=5)
    return path


def cells(count: int, **changes: dict[str, Any]) -> list[Any]:
    return [{"bytes": png(n), "path": f"{n}.png"} | changes.get(f"_{n}", {}) for n in range(count)]


def open_table(path: Path, **columns: str) -> TableSource:
    return TableSource(path, images_dir=None, columns=columns, dataset="own")


def names(source: TableSource) -> list[str]:
    return [image.image_id for record in source if isinstance(record, Study) for image in record.images]


def test_each_row_gives_its_bytes_under_the_name_that_it_bears(tmp_path: Path) -> None:
    source = open_table(write(tmp_path / "t.parquet", cells(12), study_id=[str(n // 2) for n in range(12)]))
    images = [image for record in source if isinstance(record, Study) for image in record.images]
    assert [image.image_id for image in images] == [f"{n}.png" for n in range(12)]
    assert [image.stored.read() for image in images if image.stored] == [png(n) for n in range(12)]
    assert source.image_count() == 12


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_plain_binary_goes_by_the_number_of_its_row(tmp_path: Path, kind: pa.DataType) -> None:
    source = open_table(write(tmp_path / "t.parquet", [png(0), png(1)], kind, study_id=["7", None]))
    assert names(source) == ["row 1", "row 2"]
    assert [study.study_id for study in source if isinstance(study, Study)] == ["7", "row 2"]


def test_names_that_several_rows_bear_are_no_ids_and_a_column_of_ids_counts_first(tmp_path: Path) -> None:
    images = cells(4, _1={"path": "0.png"}, _2={"path": None})
    assert names(open_table(write(tmp_path / "t.parquet", images))) == ["row 1", "row 2", "row 3", "3.png"]
    write(tmp_path / "t.parquet", images, image_id=["a", "b", None, "d"])
    assert names(open_table(tmp_path / "t.parquet")) == ["a", "b", "row 3", "d"]


def test_a_struct_without_any_bytes_names_files(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(png(0))
    (study,) = open_table(write(tmp_path / "t.parquet", [{"bytes": None, "path": "0.png"}]))
    assert isinstance(study, Study)
    assert (study.images[0].path, study.images[0].stored) == (tmp_path / "0.png", None)


@pytest.mark.parametrize("kind", [pa.list_(STRUCT), pa.list_(pa.binary()), pa.struct([("x", pa.int8())]), pa.float32()])
def test_other_columns_are_refused_at_once(tmp_path: Path, kind: pa.DataType) -> None:
    with pytest.raises(SourceError, match=r"'image' of .*t\.parquet is of the type"):
        open_table(write(tmp_path / "t.parquet", [None], kind))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_columns_of_names_still_name_files(tmp_path: Path, kind: pa.DataType) -> None:
    (tmp_path / "a.png").write_bytes(png(0))
    (study,) = open_table(write(tmp_path / "t.parquet", ["a.png"], kind))
    assert isinstance(study, Study)
    assert study.images[0].path == tmp_path / "a.png"


def test_rows_are_read_in_any_order_by_several_threads_and_little_is_kept(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet", cells(200))
    column = ImageColumn(tmp_path / "t.parquet", "image", "struct")
    order = list(range(200))
    random.Random(1).shuffle(order)
    near = [
        row
        for start in range(0, 200, 16)
        for row in random.Random(start).sample(range(start, min(start + 16, 200)), min(16, 200 - start))
    ]
    for rows in (range(200), near, order):
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(column.read, rows)) == [png(row) for row in rows]
        assert len(column._kept) <= 48


def test_a_damaged_page_costs_its_rows_and_no_others(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", cells(20))
    place = pq.ParquetFile(path).metadata.row_group(1).column(0)
    start = place.dictionary_page_offset or place.data_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + place.total_compressed_size] = bytes(place.total_compressed_size)
    path.write_bytes(data)
    column = ImageColumn(path, "image", "struct")
    for row in range(20):
        if 5 <= row < 10:
            with pytest.raises(SourceError, match=r"t\.parquet"):
                column.read(row)
        else:
            assert column.read(row) == png(row)


@pytest.fixture
def start(encoder, index, tmp_path):
    def start(**options):
        return Worker(encoder, index, **{"home": tmp_path, "media_dir": tmp_path / "media", "batch_size": 4} | options)

    return start


def test_images_of_a_table_are_ingested_and_no_byte_stays_but_in_thumbnails(start, index, encoder, tmp_path):
    texts = [f"Report {n}." for n in range(9)]
    images = cells(
        9,
        _3={"bytes": None},
        _4={"bytes": b""},
        _5={"bytes": b"SECRET text"},
        _6={"bytes": make_dicom(np.arange(576, dtype=np.uint16).reshape(24, 24))},
    )
    path = write(tmp_path / "t.parquet", images, findings=texts)
    summary = start().run(open_table(path))
    assert summary.indexed == 6
    assert [(each.file, each.code) for each in summary.quarantined] == [
        ("3.png", "missing_file"),
        ("4.png", "empty_file"),
        ("5.png", "wrong_type"),
    ]
    assert {image: payload["findings"] for image, (payload, _) in contents(index).items()} == {
        f"{n}.png": texts[n] for n in (0, 1, 2, 6, 7, 8)
    }
    ledger = ledger_path(tmp_path, index.location, NAME)
    with closing(sqlite3.connect(ledger)) as database:
        dump = "\n".join(database.iterdump())
    assert "SECRET" not in dump
    assert png(0)[:40].hex() not in dump.lower()
    assert sum(each.stat().st_size for each in ledger.parent.iterdir()) < 200_000
    assert "SECRET" not in repr(summary)


def test_unchanged_files_are_not_read_again_and_changes_are_found_by_content(
    start, index, encoder, tmp_path, monkeypatch
):
    path = write(tmp_path / "t.parquet", cells(10))
    start().run(open_table(path))
    read = []
    original = ImageColumn.read
    monkeypatch.setattr(ImageColumn, "read", lambda self, row: read.append(row) or original(self, row))
    encoder.image_batches.clear()
    assert start().run(open_table(path)).unchanged == 10
    assert (read, encoder.image_batches) == ([], [])
    write(path, cells(10, _4={"bytes": png(99)}), other=[0] * 10)  # another file, in which one image differs
    summary = start().run(open_table(path))
    assert (summary.indexed, summary.unchanged, sorted(read)) == (1, 9, list(range(10)))
    assert encoder.image_batches == [1]


def test_a_second_image_column_is_not_mistaken_for_the_first(start, index, tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        name: pa.array([png(seed + n) for n in range(3)], pa.binary()) for name, seed in (("one", 0), ("two", 50))
    }
    pq.write_table(pa.table(columns), path)
    start().run(open_table(path, image="one"))
    assert start().run(open_table(path, image="two")).indexed == 3


def test_a_retry_and_a_part_of_the_work_read_their_rows(start, index, tmp_path):
    path = write(tmp_path / "t.parquet", cells(12, _7={"bytes": b"no image"}))
    for part in (1, 2):
        start().run(open_table(path), RunMode(part=(part, 2)))
    assert index.open(NAME).count() == 11
    with Ledger(ledger_path(tmp_path, index.location, NAME)) as ledger:
        assert [item.file for item in ledger.quarantined("own")] == ["7.png"]
    write(path, cells(12))
    assert start().run(open_table(path), RunMode(retry=frozenset({"7.png"}))).indexed == 1


def test_studies_with_scattered_rows_come_in_the_order_of_the_rows(start, index, tmp_path):
    path = write(
        tmp_path / "t.parquet",
        cells(6),
        study_id=["a", "b", "a", "b", "b", "a"],
        findings=["x", None, None, "y", None, None],
    )
    source = open_table(path)
    assert names(source) == [f"{n}.png" for n in range(6)]
    assert start().run(source).indexed == 6
    found = {image: (payload["study_id"], payload["findings"]) for image, (payload, _) in contents(index).items()}
    assert found["2.png"] == ("a", "x")
    assert found["1.png"] == ("b", "y")
    assert not [record for record in source if isinstance(record, Quarantined)]


def test_an_empty_image_cell_is_a_missing_file(tmp_path: Path) -> None:
    source = open_table(write(tmp_path / "t.parquet", [None, {"bytes": png(0), "path": None}]))
    images = [image for record in source if isinstance(record, Study) for image in record.images]
    with pytest.raises(MissingFile, match="row 1 has no image"):
        assert images[0].stored
        images[0].stored.read()
