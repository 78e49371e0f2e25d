import pytest
from PIL import Image

from ingest.thumbnails import THUMBNAIL_SIZE, thumbnail_path, write_thumbnail
from retrieval.errors import InvalidRequest

SHA = "ab" * 32


def test_thumbnails_are_bounded_and_addressed_by_hash(tmp_path):
    path = write_thumbnail(Image.new("L", (1000, 500), 128), SHA, tmp_path)
    assert path == thumbnail_path(tmp_path, SHA)
    with Image.open(path) as small:
        assert small.format == "WEBP"
        assert small.size == (THUMBNAIL_SIZE, THUMBNAIL_SIZE // 2)
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == [path.name]


def test_a_thumbnail_carries_no_metadata(tmp_path):
    image = Image.new("L", (10, 10))
    image.info["exif"] = b"Exif\x00\x00patient"
    with Image.open(write_thumbnail(image, SHA, tmp_path)) as small:
        assert "exif" not in small.info


@pytest.mark.parametrize("sha", ["", "..", "../" * 21 + "x", SHA.upper(), SHA + "0"])
def test_only_a_sha256_is_accepted_as_the_address_of_a_thumbnail(tmp_path, sha):
    with pytest.raises(InvalidRequest):
        thumbnail_path(tmp_path, sha)
