"""Images that hang or crash their decoder: text searches continue, and the service stops in time."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from retrieval.catalog import Catalog
from retrieval.imaging.decoder_pool import decoders
from tests.retrieval.imaging.test_decoders import is_running
from tests.service.conftest import Client, assert_problem
from tests.service.live import ConcurrentRequests, serving, until
from tests.service.load.test_drain import MARGIN_S, process

ROOT = Path(__file__).parents[3]
STRANGE = ROOT / "tests" / "retrieval" / "imaging" / "strange_decoder.py"


@pytest.fixture
def strange(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Replaces the decoder processes by failing ones, with `use_decoder`."""
    decoders.close()
    yield monkeypatch
    monkeypatch.undo()
    decoders.close()


def use_decoder(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(decoders, "_command", (sys.executable, str(STRANGE), how))


@pytest.mark.parametrize(
    ("how", "code"), [("crash", "decoder_crashed"), ("leave", "decoder_crashed"), ("swell", "decoder_crashed")]
)
@pytest.mark.parametrize("path", ["/v1/search/image", "/search/image"])
def test_a_decoder_that_dies_is_reported_and_the_next_image_is_searched(
    strange: pytest.MonkeyPatch, client: Client, png: bytes, how: str, code: str, path: str
) -> None:
    use_decoder(strange, how)
    answer = client.post(path, files={"image": ("a.png", png)})
    if path.startswith("/v1"):
        assert_problem(answer, 422, code)
    else:
        assert answer.status_code == 422
    strange.undo()
    decoders.close()
    assert client.post(path, files={"image": ("a.png", png)}).status_code == 200


def test_text_searches_continue_while_all_decoders_hang(
    strange: pytest.MonkeyPatch, shared_catalog: Catalog, png: bytes
) -> None:
    use_decoder(strange, "sleep")
    strange.setattr(decoders, "limit_wall_seconds", 6.0)
    options = {"concurrent_searches": 2, "waiting_searches": 8, "request_timeout_s": 5.0}
    with serving(shared_catalog, **options) as live:
        requests = ConcurrentRequests()
        for _ in range(8):
            requests.ask(lambda: live.client.post("/v1/search/image", files={"image": ("a.png", png)}))
        until(lambda: live.operations.drain.active == 8)
        for _ in range(5):
            assert live.post().status_code == 200
            assert live.client.get("/health/live").status_code == 200
        assert live.operations.drain.active == 8
        answers = requests.wait()
        assert {answer.json()["code"] for answer in answers} <= {"request_timeout", "queue_timeout"}
        strange.undo()
        assert live.client.post("/v1/search/image", files={"image": ("a.png", png)}).status_code in (200, 503)


def test_excess_images_get_429(strange: pytest.MonkeyPatch, shared_catalog: Catalog, png: bytes) -> None:
    use_decoder(strange, "sleep")
    strange.setattr(decoders, "limit_wall_seconds", 4.0)
    with serving(shared_catalog, waiting_searches=2, request_timeout_s=3.0) as live:
        requests = ConcurrentRequests()
        for number in range(1, 7):
            requests.ask(lambda: live.client.post("/v1/search/image", files={"image": ("a.png", png)}))
            until(lambda number=number: live.operations.drain.active == number)
        time.sleep(0.2)
        answer = live.client.post("/v1/search/image", files={"image": ("a.png", png)})
        assert_problem(answer, 429, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        requests.wait()


@pytest.mark.parametrize("how", ["sleep", "spin"])
def test_sigterm_ends_the_service_within_its_grace_period_while_images_are_decoded(
    tiny_home: Path, png: bytes, how: str
) -> None:
    code = (
        "import sys\nfrom retrieval.imaging.decoder_pool import decoders\n"
        f"decoders._command, decoders.limit_seconds = (sys.executable, {str(STRANGE)!r}, {how!r}), 100\n"
        "decoders.limit_wall_seconds = 100\nsys.argv[0] = 'cxr'\nfrom cxr.main import main\nmain()"
    )
    with process(tiny_home, code=code, shutdown_grace_s="6") as (service, port):
        url = f"http://127.0.0.1:{port}/v1/search/image"
        senders = [threading.Thread(target=send, args=(url, png)) for _ in range(6)]
        for sender in senders:
            sender.start()
        until(lambda: len(children_of(service.pid)) == 4, 30)
        children = children_of(service.pid)
        time.sleep(1)
        started = time.monotonic()
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=30) == 0
        assert time.monotonic() - started < 6 + MARGIN_S
        until(lambda: not any(map(is_running, children)))
        for sender in senders:
            sender.join()


def test_the_decoder_of_an_abandoned_request_is_ended(
    strange: pytest.MonkeyPatch, shared_catalog: Catalog, png: bytes
) -> None:
    use_decoder(strange, "spin")
    with serving(shared_catalog, request_timeout_s=3.0) as live:

        def post(timeout: float) -> httpx.Response:
            return live.client.post("/v1/search/image", files={"image": ("a.png", png)}, timeout=timeout)

        started = time.monotonic()
        assert_problem(post(30), 504, "request_timeout")
        with pytest.raises(httpx.ReadTimeout):
            post(1.5)
        until(lambda: not decoders._all)
        assert time.monotonic() - started < 9  # without cancelling, either would have taken 10 s


def send(url: str, png: bytes) -> None:
    with suppress(httpx.HTTPError):
        httpx.post(url, files={"image": ("a.png", png)}, timeout=60)


def children_of(process: int) -> list[int]:
    tasks = Path(f"/proc/{process}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]
