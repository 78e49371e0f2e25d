"""Damaged uploads: hundreds of mutations of valid files, the same in every run, never get a 5xx."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless

from tests.dicom_files import make_dicom
from tests.forked_decoders import forked_decoders
from tests.repetitions import repetitions
from tests.service.conftest import Client

# Litestar does not close the files of a form that it gives up; the interpreter does.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in.*SpooledTemporaryFile")
SEED = 20_260_131
MUTATIONS_EACH = repetitions(24, 90)


@pytest.fixture(scope="module", autouse=True)
def _forked_decoders() -> Iterator[None]:
    with forked_decoders():
        yield


def raster(kind: str, mode: str, **options: object) -> bytes:
    pixels = np.add.outer(np.arange(40), np.arange(48) * 3).astype(np.uint8)
    image = Image.fromarray(pixels).convert(mode) if mode != "I;16" else Image.fromarray(pixels.astype(np.uint16) * 257)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def stored() -> np.ndarray:
    return np.add.outer(np.arange(40), np.arange(48) * 7).astype(np.uint16)


ORIGINALS: dict[str, Callable[[], bytes]] = {
    "png": lambda: raster("PNG", "L"),
    "png-16": lambda: raster("PNG", "I;16"),
    "png-palette": lambda: raster("PNG", "P"),
    "jpeg": lambda: raster("JPEG", "L"),
    "jpeg-progressive": lambda: raster("JPEG", "RGB", progressive=True),
    "webp": lambda: raster("WEBP", "RGB"),
    "webp-lossless": lambda: raster("WEBP", "RGBA", lossless=True),
    "dicom": lambda: make_dicom(stored(), syntax=ExplicitVRLittleEndian),
    "dicom-deflated": lambda: make_dicom(stored(), syntax=DeflatedExplicitVRLittleEndian),
    "dicom-rle": lambda: make_dicom(stored(), syntax=RLELossless),
}


def flip(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def flip_header(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 2, 4))):
        data[rng.randrange(min(len(data), 400))] = rng.randrange(256)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[rng.randrange(1, len(data)) :]


def remove(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    del data[start : start + rng.choice((1, 2, 4, 50))]


def insert(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = rng.randbytes(rng.choice((1, 4, 300)))


def repeat(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(data))
    data[start:start] = data[start : start + rng.randrange(1, 200)] * rng.choice((1, 3))


def inflate_number(data: bytearray, rng: random.Random) -> None:
    start = rng.randrange(min(len(data), 600))
    data[start : start + 4] = rng.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0", b"\xff\xff\xff\x7f"))


def graft(data: bytearray, rng: random.Random) -> None:
    other = ORIGINALS[rng.choice(sorted(ORIGINALS))]()
    data[rng.randrange(len(data)) :] = other[rng.randrange(len(other)) :]


MUTATIONS = (flip, flip_header, cut, remove, insert, repeat, inflate_number, graft)


def mutants(name: str) -> Iterator[bytes]:
    rng = random.Random(f"{SEED} {name}")
    original = ORIGINALS[name]()
    for number in range(MUTATIONS_EACH):
        data = bytearray(original)
        for mutate in (
            {MUTATIONS[number % len(MUTATIONS)], rng.choice(MUTATIONS)}
            if number % 3 == 0
            else {MUTATIONS[number % len(MUTATIONS)]}
        ):
            mutate(data, rng)
        yield bytes(data)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ORIGINALS)
def test_damaged_uploads_never_get_a_5xx(client: Client, name: str) -> None:
    whole = client.post("/v1/search/image", files={"image": ("a", ORIGINALS[name]())}, data={"k": "1"})
    assert whole.status_code == 200, whole.text
    answers: Counter[str] = Counter()
    for number, content in enumerate(mutants(name)):
        answer = client.post("/v1/search/image", files={"image": ("a", content)}, data={"k": "1"})
        assert answer.status_code in (200, 413, 422), (number, answer.text)
        answers["ok" if answer.status_code == 200 else answer.json()["code"]] += 1
    assert answers.total() == MUTATIONS_EACH
    assert answers["ok"] < MUTATIONS_EACH  # at least some were damaged enough to be refused


def test_damaged_forms_never_get_a_5xx(client: Client) -> None:
    rng = random.Random(SEED)
    boundary = b"----cxr"
    form = (
        b"--" + boundary + b'\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + raster("PNG", "L") + b"\r\n--" + boundary + b"\r\n"
        b'Content-Disposition: form-data; name="filters"\r\n\r\n{"all": ["Cardiomegaly"]}\r\n--' + boundary + b"--\r\n"
    )
    headers = {"content-type": f"multipart/form-data; boundary={boundary.decode()}"}
    for number in range(120):
        data = bytearray(form)
        MUTATIONS[number % 6](data, rng)
        for path in ("/v1/search/image", "/search/image"):
            answer = client.post(path, content=bytes(data), headers=headers)
            assert answer.status_code < 500, (number, answer.text)
