"""What a second run does when the source has changed, when files got lost, and when the source is shared."""

import gc
import os

import msgspec
import pytest
from PIL import Image

from archives.indiana import IndianaSource
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.worker import Worker
from retrieval.errors import IndexFailure, InvalidRequest, NoCollection, SourceError
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import IndexPoint
from retrieval.index.schema import DENSE_VECTORS, Payload
from tests.conftest import write_archive
from tests.ingest.worker_fixtures import NAME, CallOnProgress, contents, edit_rows


@pytest.fixture
def start(encoder, index, tmp_path):
    """Make a worker that keeps its ledger and thumbnails in `tmp_path`."""

    def start(**options):
        return Worker(encoder, index, **{"home": tmp_path, "media_dir": tmp_path / "media", "batch_size": 4} | options)

    return start


@pytest.fixture
def open_ledger(index, tmp_path):
    return lambda: Ledger(ledger_path(tmp_path, index.location, NAME))


def rename_reports(archive, old, new):
    reports = archive["reports_csv"]
    text = reports.read_text()
    assert old in text
    reports.write_text(text.replace(old, new))


def test_a_changed_report_changes_payload_and_text_vectors_and_runs_no_image_tower(start, index, encoder, archive):
    start().run(IndianaSource(**archive))
    before = contents(index)
    rename_reports(archive, "Small left pleural effusion.", "Large right pleural effusion.")
    summary = start().run(IndianaSource(**archive))
    after = contents(index)
    changed = {image for image in after if after[image] != before[image]}
    assert changed == {image for image, (payload, _) in before.items() if "Small left" in payload["findings"]}
    assert summary.updated == len(changed) > 0
    assert encoder.image_batches == []
    assert encoder.texts == ["Large right pleural effusion."]
    for image in changed:
        assert after[image][1]["image"] == before[image][1]["image"]
        assert after[image][1]["findings"] != before[image][1]["findings"]
        assert after[image][1]["impression"] == before[image][1]["impression"]


def test_a_report_that_lost_its_text_loses_its_vectors_and_gets_them_back(start, index, archive):
    start().run(IndianaSource(**archive))
    before = contents(index)
    original = archive["reports_csv"].read_text()
    edit_rows(archive["reports_csv"], lambda row: [*row[:6], "", ""] if row[0] == "1" else row)
    assert start().run(IndianaSource(**archive)).updated == 2
    assert contents(index)["1_Frontal.png"][1].keys() == {"image"}
    archive["reports_csv"].write_text(original)
    assert start().run(IndianaSource(**archive)).updated == 2
    assert contents(index) == before


def test_a_changed_view_or_label_is_an_update_without_any_encoding(start, index, encoder, archive):
    start().run(IndianaSource(**archive))
    edit_rows(archive["projections_csv"], lambda row: [*row[:2], "Lateral"] if row[1] == "1_Frontal.png" else row)
    edit_rows(archive["reports_csv"], lambda row: [row[0], "Nodule", *row[2:]] if row[0] == "2" else row)
    assert start().run(IndianaSource(**archive)).updated == 3
    assert (encoder.image_batches, encoder.texts) == ([], [])
    assert contents(index)["1_Frontal.png"][0]["view"] == "lateral"
    assert contents(index)["2_Lateral.png"][0]["mesh"] == ["Nodule"]


def test_points_carry_what_indexing_and_text_say_and_who_said_it(start, index, archive):
    start().run(IndianaSource(**archive))
    by_findings = {payload["findings"]: payload for payload, _ in contents(index).values()}
    effusion = by_findings["Small left pleural effusion."]
    assert {"Pleural Effusion/left", "Pleural Effusion/small"} <= set(effusion["qualified"])
    assert (effusion["sides"], effusion["severities"]) == (["left"], ["small"])
    assert "Pleural Effusion" in effusion["from_indexing"]
    assert "Pleural Effusion" in effusion["from_text"]
    opacity = by_findings["Opacity left."]
    assert "Pleural Effusion" in opacity["absent"]
    assert "Pleural Effusion" not in opacity["from_indexing"]
    assert opacity["sites"] == ["lung", "base"]
    assert {payload["study_date"] for payload in by_findings.values()} == {""}


def test_points_whose_labels_were_read_by_older_rules_are_updated_without_any_encoding(start, index, encoder, archive):
    start().run(IndianaSource(**archive))
    before = contents(index)
    collection = index.open(NAME)
    stored = list(collection.scroll(limit=None, vectors=DENSE_VECTORS))
    old = [
        IndexPoint(point.point_id, point.vectors, "", msgspec.convert(point.payload | {"from_text": []}, Payload))
        for point in stored
    ]
    collection.upsert(old)
    encoder.image_batches.clear()
    encoder.texts.clear()
    told = sum(bool(payload["from_text"]) for payload, _ in before.values())
    assert start().run(IndianaSource(**archive)).updated == told > 0
    assert (encoder.image_batches, encoder.texts) == ([], [])
    assert {image: payload["from_text"] for image, (payload, _) in contents(index).items()} == {
        image: payload["from_text"] for image, (payload, _) in before.items()
    }


def test_each_distinct_text_is_encoded_once_over_all_runs(start, index, encoder, archive):
    class Cut(Exception):
        pass

    def cut(done, total):
        raise Cut

    with pytest.raises(Cut):
        start().run(IndianaSource(**archive), progress=CallOnProgress(cut))
    encoded = list(encoder.texts)
    start().run(IndianaSource(**archive))
    encoded += encoder.texts
    texts = {payload[name] for payload, _ in contents(index).values() for name in ("findings", "impression")}
    assert sorted(encoded) == sorted(texts - {""})
    start(home=None).run(IndianaSource(**archive), RunMode(recreate=True))
    assert sorted(encoder.texts) == sorted(texts - {""})


def remove_studies(archive, *uids):
    edit_rows(archive["projections_csv"], lambda row: None if row[0] in uids else row)


def test_prune_shows_the_count_asks_and_removes_what_the_source_no_longer_has(start, index, archive, open_ledger):
    start().run(IndianaSource(**archive))
    remove_studies(archive, "2", "4")
    asked = []

    def answer(yes):
        return lambda gone, total: asked.append((gone, total)) or yes

    assert start().run(IndianaSource(**archive)).pruned == 0
    assert start().run(IndianaSource(**archive), RunMode(prune=answer(False))).pruned == 0
    assert index.open(NAME).count() == 24
    assert start().run(IndianaSource(**archive), RunMode(prune=answer(True))).pruned == 3
    assert asked == [(3, 24)] * 2
    assert index.open(NAME).count() == 21
    assert index.open(NAME).meta.counts == {"indiana": 21}
    with open_ledger() as ledger:
        assert ledger.rows("indiana", ["2_Frontal.png", "4_Frontal.png"]) == {}
    assert start().run(IndianaSource(**archive), RunMode(prune=answer(True))).pruned == 0
    assert len(asked) == 2


def test_prune_leaves_the_points_of_files_that_merely_cannot_be_read_today(start, index, archive):
    start().run(IndianaSource(**archive))
    images = archive["images_dir"]
    (images / "1_Frontal.png").write_bytes(b"damaged")
    (images / "2_Frontal.png").unlink()  # its row is still there
    (images / "5_Frontal.png").write_bytes(b"")
    remove_studies(archive, "4")
    summary = start().run(IndianaSource(**archive), RunMode(prune=lambda gone, total: True))
    assert summary.pruned == 1
    assert {"1_Frontal.png", "2_Frontal.png", "5_Frontal.png"} <= contents(index).keys()
    assert "4_Frontal.png" not in contents(index)


def test_prune_touches_no_other_dataset(start, index, archive, tmp_path):
    start().run(IndianaSource(**archive))
    start().run(IndianaSource(**write_archive(tmp_path / "other", 4, seed=3), dataset="other"))
    remove_studies(archive, "2")
    assert start().run(IndianaSource(**archive), RunMode(prune=lambda gone, total: True)).pruned == 2
    assert index.open(NAME).facet("dataset") == {"indiana": 22, "other": 7}


def test_prune_and_recreate_need_the_whole_source(start, archive):
    with pytest.raises(InvalidRequest, match="whole source"):
        RunMode(part=(1, 2), prune=lambda gone, total: True)
    with pytest.raises(InvalidRequest, match="each part"):
        RunMode(part=(1, 2), recreate=True)
    with pytest.raises(InvalidRequest, match="whole source"):
        RunMode(retry=frozenset(), prune=lambda gone, total: True)


def test_two_datasets_share_a_collection_though_their_images_have_the_same_names(start, index, archive, tmp_path):
    other = write_archive(tmp_path / "other", 4, seed=3)
    start().run(IndianaSource(**archive))
    alone = contents(index)
    assert start().run(IndianaSource(**other, dataset="other")).indexed == 7
    collection = index.open(NAME)
    assert collection.count() == 31
    assert collection.meta.counts == {"indiana": 24, "other": 7}
    kept = [p for p in collection.scroll(limit=None, vectors=("image",)) if p.payload["dataset"] == "indiana"]
    assert {p.payload["image_id"]: p.vectors["image"].tobytes() for p in kept} == {
        image: vectors["image"] for image, (_, vectors) in alone.items()
    }


def test_a_collection_is_not_complete_while_another_of_its_datasets_was_cut_off(start, index, archive, tmp_path):
    class Cut(Exception):
        pass

    def cut(done, total):
        raise Cut

    with pytest.raises(Cut):
        start(batch_size=4).run(IndianaSource(**archive), progress=CallOnProgress(cut))
    other = IndianaSource(**write_archive(tmp_path / "other", 4, seed=3), dataset="other")
    assert start().run(other).unfinished == ["indiana"]
    assert not index.open(NAME).meta.complete
    assert start().run(IndianaSource(**archive)).unfinished == []
    assert index.open(NAME).meta.complete
    assert index.open(NAME).meta.counts == {"indiana": 24, "other": 7}


def test_a_file_that_looks_the_same_is_read_only_with_rehash(start, encoder, archive):
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


def test_a_lost_index_is_filled_again_in_spite_of_the_ledger(start, index, archive):
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


def test_half_written_thumbnails_of_a_killed_run_are_swept(start, archive, tmp_path):
    folder = tmp_path / "media" / "ab"
    folder.mkdir(parents=True)
    (folder / f".{'ab' * 32}.webp.123.456.draft").write_bytes(b"half")
    start().run(IndianaSource(**archive))
    assert [path for path in (tmp_path / "media").rglob("*") if path.is_file() and path.suffix != ".webp"] == []


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_and_finish_equal_one_run(order, start, index, encoder, archive, tmp_path):
    (archive["images_dir"] / "1_Frontal.png").write_bytes(b"not an image")
    indexed = 0
    for number in order:
        summary = start(home=tmp_path / "parts").run(IndianaSource(**archive), RunMode(part=(number, 3)))
        indexed += summary.indexed
        assert not index.open(NAME).meta.complete
        assert index.active() is None
    meta = start(home=tmp_path / "parts").finish()
    assert indexed == 23 and meta.complete and meta.counts == {"indiana": 23}
    assert index.active() == NAME

    one = EdgeIndex(tmp_path / "one")
    Worker(encoder, one, home=tmp_path / "whole", batch_size=4).run(IndianaSource(**archive))
    assert contents(index) == contents(one)
    assert index.open(NAME).meta.calibration == one.open(NAME).meta.calibration
    paths = [ledger_path(tmp_path / "parts", index.location, NAME), ledger_path(tmp_path / "whole", one.location, NAME)]
    with Ledger(paths[0]) as parts, Ledger(paths[1]) as whole:
        names = list(contents(one))
        assert parts.rows("indiana", names) == whole.rows("indiana", names)
        assert parts.quarantined() == whole.quarantined() != []
    one.close()


def test_there_is_nothing_to_finish_before_the_first_part(start):
    with pytest.raises(NoCollection):
        start().finish()


def test_a_retry_does_not_end_a_run_that_was_cut_off(start, index, archive):
    class Cut(Exception):
        pass

    def cut(done, total):
        if done >= 20:
            raise Cut

    bad = archive["images_dir"] / "1_Frontal.png"
    good = bad.read_bytes()
    bad.write_bytes(b"not an image")
    with pytest.raises(Cut):
        start().run(IndianaSource(**archive), progress=CallOnProgress(cut))
    bad.write_bytes(good)
    only = frozenset({"1_Frontal.png"})
    assert start().run(IndianaSource(**archive), RunMode(retry=only)).indexed == 1
    assert not index.open(NAME).meta.complete
    start().run(IndianaSource(**archive))
    assert index.open(NAME).meta.complete
    Image.linear_gradient("L").resize((48, 40)).save(bad)
    assert start().run(IndianaSource(**archive), RunMode(retry=only)).indexed == 1
    assert index.open(NAME).meta.complete


def test_pixels_are_let_go_once_they_are_encoded(start, encoder, tmp_path):
    archive = write_archive(tmp_path / "large", 60)
    summary = start(batch_size=4).run(IndianaSource(**archive))
    gc.collect()
    assert encoder.alive == 0
    # Two batches ahead, the one that is encoded, the one that is being handed over, and the one just encoded.
    assert summary.indexed == 105
    assert encoder.most_alive <= 5 * 4


class Broken(IndexFailure):
    pass


def test_an_error_in_writing_ends_the_run_with_that_error(start, index, archive, monkeypatch, no_thread_left):
    start().run(IndianaSource(**archive), RunMode(part=(1, 2)))

    def refuse(points):
        raise Broken("the disk is full")

    monkeypatch.setattr(index.open(NAME), "upsert", refuse)
    with pytest.raises(Broken, match="disk is full"):
        start().run(IndianaSource(**archive))


def test_an_error_in_the_source_ends_the_run_with_that_error(start, archive, no_thread_left):
    class Failing(IndianaSource):
        def __iter__(self):
            for number, record in enumerate(super().__iter__()):
                if number == 8:
                    raise SourceError("the share is gone")
                yield record

    with pytest.raises(SourceError, match="share is gone"):
        start().run(Failing(**archive))


def test_an_unforeseen_error_in_reading_ends_the_run_with_that_error(start, encoder, archive, no_thread_left):
    class Surprise(Exception):
        pass

    def fail(square):
        raise Surprise("not foreseen")

    encoder.preprocess.normalize = fail
    with pytest.raises(Surprise, match="not foreseen"):
        start().run(IndianaSource(**archive))


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_interruption_ends_the_run_and_its_threads(error, start, archive, no_thread_left):
    def interrupt(done, total):
        raise error

    with pytest.raises(error):
        start().run(IndianaSource(**archive), progress=CallOnProgress(interrupt))
