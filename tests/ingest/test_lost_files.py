"""Lost ledgers, indexes and thumbnails are restored by the next run."""

import os

from PIL import Image

from archives.indiana import IndianaSource
from tests.ingest.worker_fixtures import NAME, contents


def test_a_file_with_unchanged_size_and_time_is_read_only_with_rehash(start, encoder, archive):
    start().run(IndianaSource(**archive))
    path = archive["images_dir"] / "1_Frontal.png"
    before = path.stat()
    Image.linear_gradient("L").resize((48, 40)).save(path)
    content = path.read_bytes()
    assert len(content) <= before.st_size
    path.write_bytes(content + b"\0" * (before.st_size - len(content)))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert start().run(IndianaSource(**archive)).unchanged == 24
    assert start(rehash=True).run(IndianaSource(**archive)).indexed == 1
    assert encoder.image_batches == [1]


def test_a_lost_ledger_costs_time_and_changes_nothing(start, index, encoder, archive, open_ledger):
    start().run(IndianaSource(**archive))
    before = contents(index)
    with open_ledger() as ledger:
        ledger.clear()
    assert start().run(IndianaSource(**archive)).unchanged == 24
    assert (encoder.image_batches, encoder.texts) == ([], [])
    assert contents(index) == before
    with open_ledger() as ledger:
        assert len(ledger.rows("indiana", list(before))) == 24


def test_a_lost_index_is_filled_again_although_the_ledger_lists_its_files(start, index, archive):
    start().run(IndianaSource(**archive))
    before = contents(index)
    index.drop(NAME)
    assert start().run(IndianaSource(**archive)).indexed == 24
    assert contents(index) == before


def test_lost_thumbnails_are_made_again_without_encoding(start, encoder, archive, tmp_path):
    start().run(IndianaSource(**archive))
    made = {path: path.read_bytes() for path in (tmp_path / "media").rglob("*.webp")}
    for path in list(made)[:5]:
        path.unlink()
    summary = start().run(IndianaSource(**archive))
    assert (summary.unchanged, encoder.image_batches) == (24, [])
    assert {path: path.read_bytes() for path in (tmp_path / "media").rglob("*.webp")} == made


def test_half_written_thumbnails_of_a_killed_run_are_removed(start, archive, tmp_path):
    folder = tmp_path / "media" / "ab"
    folder.mkdir(parents=True)
    (folder / f".{'ab' * 32}.webp.123.456.draft").write_bytes(b"half")
    start().run(IndianaSource(**archive))
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file() and path.suffix != ".webp"] == []
