"""A second run over a changed source updates what has changed, and several datasets share a collection."""

import msgspec
import pytest

from archives.indiana import IndianaSource
from ingest.run_mode import RunMode
from retrieval.index.interface import IndexPoint
from retrieval.index.schema import DENSE_VECTORS, Payload
from tests.conftest import write_archive
from tests.ingest.worker_fixtures import NAME, CallOnProgress, contents, edit_rows, replace_in_reports


def test_a_changed_report_changes_payload_and_text_vectors_and_runs_no_image_tower(start, index, encoder, archive):
    start().run(IndianaSource(**archive))
    before = contents(index)
    replace_in_reports(archive, "Small left pleural effusion.", "Large right pleural effusion.")
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


def test_a_report_without_text_has_no_vectors_until_it_gets_text_again(start, index, archive):
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


def test_payloads_link_to_their_thumbnail_and_follow_a_new_address_without_any_encoding(start, index, encoder, archive):
    start().run(IndianaSource(**archive))
    before = contents(index)
    assert all("thumbnail_url" not in payload for payload, _ in before.values())
    for url in ("https://old.example", "https://new.example/cxr"):
        encoder.image_batches.clear()
        encoder.texts.clear()
        assert start(public_url=url).run(IndianaSource(**archive)).updated == 24
        assert (encoder.image_batches, encoder.texts) == ([], [])
        assert start(public_url=url).run(IndianaSource(**archive)).unchanged == 24
        for payload, _ in contents(index).values():
            assert payload["thumbnail_url"] == f"{url}/v1/images/{payload['image_sha256']}/thumbnail.webp"
    assert start().run(IndianaSource(**archive)).updated == 24
    assert contents(index) == before


def test_without_thumbnails_payloads_have_no_link(start, index, archive):
    start(public_url="https://cxr.example", media_dir=None).run(IndianaSource(**archive))
    assert all("thumbnail_url" not in payload for payload, _ in contents(index).values())


def test_points_have_labels_with_their_sources(start, index, archive):
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


def test_a_collection_is_incomplete_while_another_of_its_datasets_is_interrupted(start, index, archive, tmp_path):
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
