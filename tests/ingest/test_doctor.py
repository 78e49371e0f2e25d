"""The doctor finds each problem, and none in a healthy collection."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from ingest.doctor.collection import check_thumbnails, diagnose
from retrieval.index.edge.index import EdgeIndex
from retrieval.index.interface import IndexPoint
from retrieval.index.schema import DENSE_VECTORS, Payload


@pytest.fixture
def collection(tiny_home: Path):
    index = EdgeIndex(tiny_home / "index")
    yield index.open("cxr_tiny-a")
    index.close()


def levels(found) -> dict[str, str]:
    return {each.check: each.level for each in found.results}


def problems(found) -> set[str]:
    return {each.check for each in found.results if each.level == "problem"}


def look(home: Path, collection, ledger=None):
    found, images = diagnose("tiny-a", collection, home / "models", ledger=ledger)
    check_thumbnails(found, images, images, home / "media")
    return found


def ledger_of(collection) -> frozenset[tuple[str, str]]:
    return frozenset((point.payload["dataset"], point.payload["image_id"]) for point in collection.scroll(limit=None))


def test_a_fresh_collection_is_healthy_and_counted(tiny_home, collection):
    found = look(tiny_home, collection, ledger_of(collection))
    assert problems(found) == set()
    assert found.is_healthy
    assert (found.images, found.studies) == (24, 14)
    assert found.by_view == {"frontal": 14, "lateral": 10}
    assert found.by_dataset == {"indiana": 24}
    assert found.by_label["Cardiomegaly"] == sum(
        "Cardiomegaly" in p.payload["present"] for p in collection.scroll(limit=None)
    )
    assert levels(found)["ledger rows without points"] == levels(found)["points without ledger rows"] == "ok"


def test_a_bundle_that_was_exported_anew_is_a_problem(tiny_home, collection):
    from tests.conftest import write_tiny_bundle

    write_tiny_bundle(tiny_home / "models", "tiny-a", seed=7)
    assert problems(look(tiny_home, collection)) == {"bundle"}


def test_a_damaged_or_missing_bundle_is_a_problem(tiny_home, collection):
    (tiny_home / "models" / "tiny-a" / "text.onnx").write_bytes(b"x")
    found = look(tiny_home, collection)
    assert problems(found) == {"bundle"}
    assert "checksum" in str(found.results[0]) or "has changed" in found.results[0].message
    found, _ = diagnose("nobody", collection, tiny_home / "models")
    assert "bundle" in problems(found)


def test_an_interrupted_ingest_is_a_problem(tiny_home, collection):
    collection.record(msgspec.structs.replace(collection.meta, complete=False))
    assert problems(look(tiny_home, collection)) == {"complete"}


def test_points_that_went_missing_are_a_problem(tiny_home, collection):
    ledger = ledger_of(collection)
    gone = next(iter(collection.scroll(limit=1)))
    collection.delete([gone.point_id])
    found = look(tiny_home, collection, ledger)
    assert problems(found) == {"counts", "ledger rows without points", "orphaned thumbnails"}
    told = next(each for each in found.results if each.check == "ledger rows without points")
    assert told.message.endswith(f"the first: indiana/{gone.payload['image_id']}")


def test_points_that_the_ledger_does_not_know_are_a_note(tiny_home, collection):
    ledger = frozenset(sorted(ledger_of(collection))[1:])
    found = look(tiny_home, collection, ledger)
    assert found.is_healthy
    assert levels(found)["points without ledger rows"] == "note"


def test_a_missing_thumbnail_is_a_note_and_one_without_a_point_a_problem(tiny_home, collection):
    drawn = sorted((tiny_home / "media").glob("??/*.webp"))
    drawn[0].unlink()
    found = look(tiny_home, collection)
    assert levels(found)["thumbnails"] == "note" and found.is_healthy
    stray = tiny_home / "media" / "ff" / f"{'f' * 64}.webp"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(drawn[1].read_bytes())
    assert problems(look(tiny_home, collection)) == {"orphaned thumbnails"}


def rewritten(collection, **vectors):
    """The first point with all vectors, with `vectors` replaced; None removes a vector."""
    stored = next(p for p in collection.scroll(limit=None, vectors=DENSE_VECTORS) if len(p.vectors) == 3)
    kept = {name: vector for name, vector in (stored.vectors | vectors).items() if vector is not None}
    payload = msgspec.convert(stored.payload, Payload)
    collection.upsert([IndexPoint(stored.point_id, kept, payload.report_text, payload)])


def test_a_vector_that_is_not_of_unit_norm_is_a_problem(tiny_home, collection):
    rewritten(collection, image=np.zeros(16, dtype=np.float32))
    assert problems(look(tiny_home, collection)) == {"vectors"}


def test_a_report_without_its_vector_is_a_problem(tiny_home, collection):
    rewritten(collection, impression=None)
    assert problems(look(tiny_home, collection)) == {"report vectors"}


def test_an_image_without_a_vector_is_a_problem(tiny_home, collection):
    rewritten(collection, image=None)
    assert "vectors" in problems(look(tiny_home, collection))


def test_missing_scales_are_a_note(tiny_home, collection):
    collection.record(msgspec.structs.replace(collection.meta, calibration={}))
    found = look(tiny_home, collection)
    assert levels(found)["calibration"] == "note" and found.is_healthy


def test_the_document_can_be_written_as_json(tiny_home, collection):
    document = look(tiny_home, collection).to_dict()
    assert json.loads(json.dumps(document))["healthy"] is True


def test_images_read_by_pixel_rules_of_an_earlier_version_are_noted(tiny_home, collection):
    assert levels(look(tiny_home, collection))["pixels"] == "ok"
    collection.record(msgspec.structs.replace(collection.meta, pixel_rules={}))
    found = look(tiny_home, collection)
    assert levels(found)["pixels"] == "note"
    assert found.is_healthy


def test_links_to_another_address_are_a_problem_only_where_the_settings_name_one(tiny_home, collection):
    def link_check(public_url):
        found, _ = diagnose("tiny-a", collection, tiny_home / "models", public_url=public_url)
        return next(((each.level, each.message) for each in found.results if each.check == "thumbnail links"), None)

    assert link_check(None) is None
    level, message = link_check("https://cxr.example")
    assert (level, message) == (
        "problem",
        "0 of 24 images link to https://cxr.example (CXR_PUBLIC_URL); ingest again, which changes payloads only",
    )
    points = [
        IndexPoint(
            point.point_id,
            point.vectors,
            "",
            msgspec.convert(
                point.payload
                | {"thumbnail_url": f"https://cxr.example/v1/images/{point.payload['image_sha256']}/thumbnail.webp"},
                Payload,
            ),
        )
        for point in collection.scroll(limit=None, vectors=DENSE_VECTORS)
    ]
    collection.upsert(points)
    assert link_check("https://cxr.example")[0] == "ok"
    assert link_check("https://other.example")[0] == "problem"
    assert link_check(None) == ("note", "payloads link to https://cxr.example, but CXR_PUBLIC_URL is not set here")
