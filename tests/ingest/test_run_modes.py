"""Run modes: full run, prune, part of a shared ingest, retry."""

import pytest
from PIL import Image

from archives.indiana import IndianaSource
from ingest.ledger import Ledger, ledger_path
from ingest.run_mode import RunMode
from ingest.worker import Worker
from retrieval.errors import InvalidRequest, NoCollection
from retrieval.index.edge.index import EdgeIndex
from tests.conftest import write_archive
from tests.ingest.worker_fixtures import NAME, CallOnProgress, contents, edit_rows


def remove_studies(archive, *uids):
    edit_rows(archive["projections_csv"], lambda row: None if row[0] in uids else row)


def test_prune_shows_the_count_asks_and_removes_images_that_are_gone(start, index, archive, open_ledger):
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


def test_prune_keeps_points_of_unreadable_files(start, index, archive):
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


def test_a_retry_does_not_complete_an_interrupted_run(start, index, archive):
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
