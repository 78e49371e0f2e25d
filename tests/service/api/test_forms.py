"""Bodies with many fields or values, and text that is slow to decode, are refused before they block others."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from service.api.forms import LIMIT_FIELDS, LIMIT_TEXT_BYTES, LIMIT_VALUES, parse_urlencoded
from tests.service.conftest import Client, assert_problem

PATHS = ["/v1/search/image", "/search/image", "/login"]
URLENCODED = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


def multipart(*parts: tuple[str, str, bytes]) -> tuple[dict[str, str], bytes]:
    """Headers and body of a form whose parts have a name, a character set and content."""
    body = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\nContent-Type: text/plain; charset={charset}\r\n\r\n'.encode()
        + content
        + b"\r\n"
        for name, charset, content in parts
    )
    return {"content-type": "multipart/form-data; boundary=b"}, body + b"--b--\r\n"


def slow_punycode(size: int) -> bytes:
    return b"a" * (size // 4) + b"-" + b"b9a" * (size // 4)


BODIES: dict[str, Callable[[], tuple[dict[str, str], bytes]]] = {
    "punycode": lambda: multipart(("filters", "punycode", slow_punycode(200_000))),
    "escapes": lambda: multipart(("filters", "unicode_escape", b"\\u0041" * 40_000)),
    "idna": lambda: multipart(("filters", "idna", b"a." * 100_000)),
    "no characters": lambda: multipart(("filters", "hex", b"41")),
    "text without end": lambda: multipart(("filters", "utf-8", b"x" * 8_000_000)),
    "much text in many fields": lambda: multipart(*[("filters", "utf-8", b"x" * 100_000)] * 20),
    "many parts": lambda: multipart(*[("filters", "utf-8", b"x")] * (LIMIT_FIELDS + 1)),
    "many fields": lambda: (URLENCODED, b"k=1&" * 2_000_000),
    "many short fields": lambda: (URLENCODED, b"k&" * (LIMIT_FIELDS + 1)),
    "many names": lambda: (URLENCODED, b"".join(b"%06x=&" % number for number in range(500_000))),
    "percent signs": lambda: (URLENCODED, b"filters=" + b"%41" * 2_000_000),
    "no boundary": lambda: ({"content-type": "multipart/form-data"}, b"--b--\r\n"),
    "no end": lambda: (multipart()[0], b'--b\r\nContent-Disposition: form-data; name="k"\r\n\r\n1'),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", BODIES)
def test_an_expensive_form_is_refused_at_once(client: Client, path: str, name: str) -> None:
    headers, body = BODIES[name]()
    started = time.perf_counter()
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code in (400, 413)
    assert time.perf_counter() - started < 3  # before, each took seconds to minutes, or gigabytes


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "us-ascii", "iso-8859-1"])
def test_common_character_sets_are_decoded(client: Client, charset: str) -> None:
    headers, body = multipart(("key", charset, b"cxr_wrong"), ("key", "utf-8", "ä".encode()))
    assert client.post("/login", content=body, headers=headers).status_code == 401


def test_repeated_names_become_a_list() -> None:
    assert parse_urlencoded(b"a=1&b=%C3%A4+x&a=&c") == {"a": ["1", ""], "b": "ä x", "c": ""}


@pytest.mark.parametrize(
    "body",
    [
        b'{"like": [' + b"[]," * 300_000 + b"1]}",
        b'{"text": "x", "filters": ' + b'{"a":' * 300_000,
        b'{"like": [' + b'"1",' * 300_000 + b'"1"]}',
    ],
)
@pytest.mark.parametrize("path", ["/v1/search", "/v1/search/batch"])
def test_json_with_too_many_values_is_refused(client: Client, path: str, body: bytes) -> None:
    assert len(body) > LIMIT_VALUES
    assert_problem(client.post(path, content=body, headers=JSON), 413, "request_too_large")


def test_the_largest_allowed_form_text_is_read(client: Client, png: bytes) -> None:
    fields = {"filters": "{}" + " " * 99_000}
    assert client.post("/v1/search/image", files={"image": ("a.png", png)}, data=fields).status_code == 200
    fields = {"filters": "{}" + " " * LIMIT_TEXT_BYTES}
    assert_problem(
        client.post("/v1/search/image", files={"image": ("a.png", png)}, data=fields), 413, "request_too_large"
    )
