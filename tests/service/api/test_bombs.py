"""Decompression bombs, deeply nested JSON and endless repetition are refused without decoding."""

from __future__ import annotations

import asyncio
import base64
import gzip
import io
import json
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import DeflatedExplicitVRLittleEndian

from retrieval.catalog import Catalog
from retrieval.imaging.decoder_pool import decoders
from service.load.body_budget import BodyBudget
from service.refusals import Overloaded
from service.settings import ServiceSettings
from tests.dicom_files import make_dicom
from tests.service.conftest import Client, assert_problem, connect


def bomb_png(width: int, height: int) -> bytes:
    """A PNG whose header announces `width` x `height` pixels, with the zeros of a few rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99_999)))
        + chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    """A small PNG with a comment of 100 MB, compressed to 100 KB."""
    buffer = io.BytesIO()
    Image.new("L", (16, 16)).save(buffer, "PNG")
    content = b"Comment\0\0" + zlib.compress(bytes(100_000_000), 9)
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content + struct.pack(">I", zlib.crc32(b"zTXt" + content))
    whole = buffer.getvalue()
    return whole[:33] + chunk + whole[33:]


def zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", bytes(50_000_000))
    return buffer.getvalue()


def inflating_dicom() -> bytes:
    """A deflated DICOM file of a few hundred kilobytes that inflates to hundreds of megabytes."""
    small = make_dicom(np.zeros((8, 8), np.uint16), syntax=DeflatedExplicitVRLittleEndian)
    length = struct.unpack("<I", small[140:144])[0]  # the group length, the first element of the file meta information
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(10_000_000)
    return small[: 144 + length] + b"".join(deflater.compress(zeros) for _ in range(40)) + deflater.flush()


@pytest.mark.parametrize(
    ("make", "status", "codes"),
    [
        (lambda: bomb_png(60_000, 60_000), 413, {"image_bomb"}),
        (lambda: bomb_png(2**31 - 1, 2**31 - 1), 413, {"image_bomb"}),
        (lambda: bomb_png(8_001, 8_000), 413, {"image_bomb"}),
        (text_bomb, 422, {"unreadable_image"}),
        (zip_bomb, 422, {"wrong_type"}),
        (lambda: gzip.compress(bytes(50_000_000)), 422, {"wrong_type"}),
        (inflating_dicom, 413, {"image_bomb"}),
    ],
)
def test_bombs_are_refused_without_decoding(
    client: Client, monkeypatch: pytest.MonkeyPatch, make: Any, status: int, codes: set[str]
) -> None:
    monkeypatch.setattr(decoders.budget, "hold", lambda *_: pytest.fail("its pixels were decoded"))
    answer = client.post("/v1/search/image", files={"image": ("a.png", make())})
    assert answer.status_code == status, answer.text
    assert answer.json()["code"] in codes


def test_the_pixels_of_a_valid_image_are_decoded(client: Client, monkeypatch: pytest.MonkeyPatch, png: bytes) -> None:
    hold, held = decoders.budget.hold, []
    monkeypatch.setattr(decoders.budget, "hold", lambda size, wanted: held.append(size) or hold(size, wanted))
    assert client.post("/v1/search/image", files={"image": ("a.png", png)}).status_code == 200
    assert held  # the test above would fail if it decoded


def test_a_compressed_body_is_not_decompressed(client: Client) -> None:
    content = gzip.compress(json.dumps({"text": "heart " * 1_000_000}).encode())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    assert_problem(client.post("/v1/search/text", content=content, headers=headers), 400, "invalid_request")


NESTED = [
    b"[" * 100_000,
    b'{"text":' * 20_000,
    b'{"text": "heart", "filters": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b'{"text": "heart", "filters": ' + b'{"all":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
    b'{"text": "heart", "k": 1' + b"0" * 5_000 + b"}",
    b'{"text": "heart", "k": 1e999}',
    b'{"text": "heart", "k": NaN}',
    b'{"text": "\\ud800"}',
    b'{"text": "heart", "text": "lungs", "k": 1, "k": -1}',
]


@pytest.mark.parametrize("content", NESTED, ids=range(len(NESTED)))
def test_deeply_nested_and_unusual_json_is_refused(client: Client, content: bytes) -> None:
    answer = client.post("/v1/search/text", content=content, headers={"content-type": "application/json"})
    assert_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize(
    "text", ["[" * 90_000, '{"all":' * 10_000 + "1", '{"all": ["Cardiomegaly"' + ', "Cardiomegaly"' * 5_000 + "]}"]
)
def test_deeply_nested_and_long_filters_in_forms_are_refused(client: Client, png: bytes, text: str) -> None:
    answer = client.post("/v1/search/image", files={"image": ("a.png", png)}, data={"filters": text})
    assert_problem(answer, 400, "invalid_request")


@pytest.mark.parametrize("name", ["all", "any", "none", "exclude_studies"])
def test_the_number_of_values_in_a_filter_is_limited(client: Client, name: str) -> None:
    def ask(count: int) -> Any:
        return client.post("/v1/search/text", json={"text": "heart", "filters": {name: ["Cardiomegaly"] * count}})

    assert ask(64).status_code == 200
    assert_problem(ask(3_000), 400, "invalid_request")
    query = "&".join(f"with=Cardiomegaly{number}" for number in range(3_000))
    assert client.get(f"/?text=heart&{query}").status_code == 400
    assert client.get(f"/v1/studies/1/similar?{query}").status_code == 400


def test_forms_of_thousands_of_fields_are_refused(client: Client, png: bytes) -> None:
    fields = {f"field-{number}": "x" for number in range(2_000)}
    answer = client.post("/v1/search/image", files={"image": ("a.png", png)}, data=fields)
    assert answer.status_code in (400, 413)


class Sent:
    """A body in blocks, and the error that the application got while it read the body."""

    def __init__(self, budget: BodyBudget, blocks: list[bytes]) -> None:
        self._budget = budget
        self._blocks = [
            {"type": "http.request", "body": block, "more_body": number < len(blocks)}
            for number, block in enumerate(blocks, start=1)
        ]
        self.read = 0
        self.may_end = asyncio.Event()

    async def run(self) -> None:
        async def receive() -> Any:
            return self._blocks.pop(0)

        async def send(_: Any) -> None:
            pytest.fail("nothing is answered")

        async def app(_: Any, receive: Any, __: Any) -> None:
            while (message := await receive())["more_body"]:
                self.read += len(message["body"])
            self.read += len(message["body"])
            await self.may_end.wait()

        await self._budget.handle({"type": "http"}, receive, send, app)  # type: ignore[arg-type, typeddict-item]


def test_large_bodies_are_refused_when_their_memory_is_used_up_and_small_ones_are_not() -> None:
    async def ask() -> None:
        budget = BodyBudget(free_bytes=10, limit_bytes=100)
        first = Sent(budget, [b"x" * 30, b"x" * 40])
        running = asyncio.create_task(first.run())
        await asyncio.sleep(0)
        assert (first.read, budget.held_bytes) == (70, 60)
        second = Sent(budget, [b"x" * 40, b"x" * 11, b"x" * 50])
        with pytest.raises(Overloaded, match="memory") as caught:
            await second.run()
        assert caught.value.headers["Retry-After"] == "1"
        assert (second.read, budget.held_bytes) == (40, 60)
        small = [Sent(budget, [b"x" * 10]) for _ in range(50)]
        asked = [asyncio.create_task(each.run()) for each in small]
        await asyncio.sleep(0)
        assert budget.held_bytes == 60
        for each in (first, *small):
            each.may_end.set()
        await asyncio.gather(running, *asked)
        assert budget.held_bytes == 0

    asyncio.run(ask())


def test_a_refused_upload_gets_retry_after(
    shared_catalog: Catalog, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BodyBudget.__init__, "__kwdefaults__", {"limit_bytes": 100_000})
    settings = ServiceSettings(rate_per_minute=0, json_limit_bytes=1_000)
    large = {"queries": [{"image": base64.b64encode(bytes(200_000)).decode()}]}
    with connect(shared_catalog, settings) as client:
        for answer in (
            client.post("/v1/search/image", files={"image": ("a.png", bytes(200_000))}),
            client.post("/v1/search/batch", json=large),
        ):
            assert_problem(answer, 429, "overloaded")
            assert answer.headers["retry-after"] == "1"
        assert client.post("/v1/search/text", json={"text": "heart"}).status_code == 200
        assert client.post("/v1/search/image", files={"image": ("a.png", png)}).status_code == 200
