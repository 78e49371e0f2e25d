"""A damaged or hostile snapshot is named and changes nothing."""

import io
import zipfile

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ingest.snapshot import Snapshot, open_snapshot, restore_snapshot
from ingest.transfer import LoadOptions
from retrieval.errors import (
    InvalidRequest,
    MissingFile,
    SnapshotDamaged,
)
from tests.congruence.conftest import NAME
from tests.retrieval.engines import WHOLE, load, new_index, points_of_reports

POINTS = points_of_reports()


def rewritten(file, change):
    """The zip with entries changed by `change(name, data)`, with valid checksums; None leaves an entry out."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as changed:
        for name in archive.namelist():
            data = change(name, archive.read(name))
            if data is not None:
                changed.writestr(name, data)
    return buffer.getvalue()


def manifest_with(**values):
    def change(name, data):
        return msgspec.json.encode(msgspec.json.decode(data) | values) if name == "head.json" else data

    return change


def page_with(edit):
    def change(name, data):
        if name != "points/000001.msgpack":
            return data
        page = msgspec.msgpack.decode(data)
        edit(page)
        return msgspec.msgpack.encode(page)

    return change


DAMAGES = {
    "a head without its format": (lambda n, d: b"{}" if n == "head.json" else d, "format None"),
    "a manifest of a later format": (manifest_with(format=2), "format 2; this version reads format 1"),
    "no head": (lambda n, d: None if n == "head.json" else d, "head.json"),
    "a head that is no JSON": (lambda n, d: b"\xff\xfe" if n == "head.json" else d, "damaged"),
    "a head that is a list": (lambda n, d: b"[]" if n == "head.json" else d, "damaged"),
    "a head too large": (lambda n, d: b" " * (1 << 20) + d if n == "head.json" else d, "limit"),
    "a page missing": (lambda n, d: None if n.endswith("1.msgpack") else d, "points/000001"),
    "a page no longer announced": (manifest_with(pages=2), "holds 400 points, and its manifest says 450"),
    "another number of points": (manifest_with(points=451), "says 451"),
    "other counts": (manifest_with(counts={"even": 450}), "damaged"),
    "a page that is no list": (page_with(lambda page: page.clear()), "holds 250 points"),
    "a point twice": (page_with(lambda page: page.__setitem__(1, page[0])), "out of order"),
    "points in another order": (page_with(lambda page: page.reverse()), "out of order"),
    "an id that is none": (page_with(lambda page: page[0].update(id="../../x")), "damaged"),
    "an id in another spelling": (
        page_with(lambda page: page[0].update(id=page[0]["id"].upper())),
        "not the id of a point",
    ),
    "a short vector": (page_with(lambda page: page[0]["vectors"].update(image=b"12")), "no valid vector"),
    "a torn vector": (page_with(lambda page: page[0]["vectors"].update(image=b"123")), "damaged"),
    "a vector of nothing": (
        page_with(lambda page: page[0]["vectors"].update(image=b"\xff\x7f" * 24)),
        "no valid vector 'image'",
    ),
    "an unknown vector": (page_with(lambda page: page[0]["vectors"].update(audio=b"0" * 48)), "audio"),
    "a payload without a field": (page_with(lambda page: page[0]["payload"].pop("study_id")), "study_id"),
    "a payload of another type": (page_with(lambda page: page[0]["payload"].update(present="x")), "damaged"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_named_and_changes_nothing(snapshot_file, target, tmp_path, name):
    change, message = DAMAGES[name]
    path = tmp_path / "case.zip"
    path.write_bytes(rewritten(snapshot_file, change))
    load(target, POINTS[:3])
    with pytest.raises(SnapshotDamaged, match=message) as caught:
        restore_snapshot(path, target, LoadOptions(recreate=True))
    assert "case.zip" in str(caught.value)
    assert target.collections() == {NAME: WHOLE}
    assert target.open(NAME).count() == 3


def test_a_missing_file_and_another_kind_of_file_are_different_errors(target, tmp_path):
    with pytest.raises(MissingFile, match="nowhere"):
        restore_snapshot(tmp_path / "nowhere.zip", target)
    for content in (b"", b"PK", b"uid,filename\n", bytes(5000)):
        (tmp_path / "other").write_bytes(content)
        with pytest.raises(SnapshotDamaged, match="not a snapshot"):
            restore_snapshot(tmp_path / "other", target)
    assert target.collections() == {}


def test_a_model_name_cannot_lead_out_of_the_index(snapshot_file, tmp_path):
    index = new_index("edge", tmp_path / "deep" / "index")
    path = tmp_path / "case.zip"
    path.write_bytes(
        rewritten(snapshot_file, manifest_with(meta=msgspec.to_builtins(WHOLE) | {"model": "/../../escaped"}))
    )
    with pytest.raises(InvalidRequest, match="not a valid name"):
        restore_snapshot(path, index)
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_zip_bomb_is_not_unpacked(snapshot_file, tmp_path, monkeypatch):
    path = tmp_path / "case.zip"
    path.write_bytes(rewritten(snapshot_file, lambda n, d: bytes(70 << 20) if n.endswith("0.msgpack") else d))
    assert path.stat().st_size < 1 << 20
    monkeypatch.setattr(zipfile.ZipFile, "read", refuse_large(zipfile.ZipFile.read))
    with open_snapshot(path) as opened, pytest.raises(SnapshotDamaged, match="announces 73,400,320 bytes, the limit"):
        opened.check()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_changed_byte_and_every_truncation_is_detected(snapshot_file, data):
    whole = snapshot_file.read_bytes()
    if data.draw(st.booleans()):
        damaged = whole[: data.draw(st.integers(0, len(whole) - 1))]
    else:
        # Half of the changes hit the last kilobyte, where the table of contents lies.
        position = data.draw(st.one_of(st.integers(0, len(whole) - 1), st.integers(len(whole) - 1000, len(whole) - 1)))
        flipped = whole[position] ^ data.draw(st.integers(1, 255))
        damaged = whole[:position] + bytes([flipped]) + whole[position + 1 :]
    try:
        with Snapshot(io.BytesIO(damaged), snapshot_file) as opened:
            opened.check()
            found = list(opened.points())
    except SnapshotDamaged:
        return
    # A byte that carries nothing, such as a time: what is read is what was written.
    with open_snapshot(snapshot_file) as original:
        assert [msgspec.to_builtins(p.payload) for p in found] == [
            msgspec.to_builtins(p.payload) for p in original.points()
        ]
        for one, other in zip(found, original.points(), strict=True):
            assert one.point_id == other.point_id
            assert {n: v.tobytes() for n, v in one.vectors.items()} == {
                n: v.tobytes() for n, v in other.vectors.items()
            }


def refuse_large(read):
    def checked(self, entry):
        assert entry.file_size < 1 << 20, "unpacked"
        return read(self, entry)

    return checked
