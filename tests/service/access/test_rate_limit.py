"""Rate limit by key and by address, and the answer to excess requests."""

from __future__ import annotations

import itertools

import pytest

from retrieval.catalog import Catalog
from service.access.rate_limit import RateLimit, TokenBuckets, network_of
from service.settings import ServiceSettings
from tests.service.conftest import assert_problem, bearer, connect


def allowed(times: list[float], per_minute: int) -> list[bool]:
    """Slow reference: tokens counted one request after the other, in the order of `times`."""
    tokens, last, answers = float(per_minute), 0.0, []
    for time in times:
        tokens = min(per_minute, tokens + (time - last) * per_minute / 60)
        last = time
        answers.append(tokens >= 1 - 1e-9)
        tokens -= answers[-1]
    return answers


@pytest.mark.parametrize("gap_s", [0.0, 0.25, 0.5, 1.0, 1.5])
def test_a_bucket_allows_a_burst_of_one_minute_and_then_the_rate(gap_s: float) -> None:
    times = [number * gap_s for number in range(200)]
    clock = iter(times)
    buckets = TokenBuckets(60, clock=lambda: next(clock))
    assert [buckets.take("a") == 0 for _ in times] == allowed(times, 60)


def test_the_wait_is_the_time_until_the_next_token() -> None:
    now = [0.0]
    buckets = TokenBuckets(6, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(7)] == [0] * 6 + [10]
    now[0] = 9.0
    assert buckets.take("a") == pytest.approx(1)
    now[0] = 10.0
    assert buckets.take("a") == 0


def test_names_have_their_own_buckets_and_zero_means_no_limit() -> None:
    buckets = TokenBuckets(1, clock=lambda: 0.0)
    assert [buckets.take(name) == 0 for name in ("a", "b", "a", "b")] == [True, True, False, False]
    assert not any(TokenBuckets(0, clock=lambda: 0.0).take("a") for _ in range(100))


def test_memory_is_bounded_for_any_number_of_names() -> None:
    buckets = TokenBuckets(1, clock=itertools.count().__next__)
    for number in range(20_000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10_000


def test_excess_requests_get_429_with_retry_after(shared_catalog: Catalog) -> None:
    with connect(shared_catalog, ServiceSettings(rate_per_minute=6)) as client:
        assert [client.get("/v1/models").status_code for _ in range(6)] == [200] * 6
        answer = client.get("/v1/models")
        assert_problem(answer, 429, "rate_limited")
        assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert_problem(client.get("/v1/studies/1"), 429, "rate_limited")
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 200
        assert client.get("/static/page.css").status_code == 200


def test_each_key_has_its_own_limit_and_proxy_headers_are_ignored(keyed_catalog: Catalog, keys: dict[str, str]) -> None:
    with connect(keyed_catalog, ServiceSettings(rate_per_minute=3)) as client:
        for name in ("read", "admin"):
            statuses = [client.get("/v1/models", headers=bearer(keys[name])).status_code for _ in range(4)]
            assert statuses == [200, 200, 200, 429]
        forwarded = bearer(keys["read"]) | {"x-forwarded-for": "203.0.113.7", "forwarded": "for=203.0.113.7"}
        assert_problem(client.get("/v1/models", headers=forwarded), 429, "rate_limited")


def test_requests_without_a_key_are_counted_by_address(keyed_catalog: Catalog, keys: dict[str, str]) -> None:
    with connect(keyed_catalog, ServiceSettings(rate_per_minute=3)) as client:
        assert [client.get("/v1/models").status_code for _ in range(4)] == [401, 401, 401, 429]
        assert client.get("/v1/models", headers=bearer(keys["read"])).status_code == 200


def test_wrong_keys_have_a_lower_limit_that_does_not_affect_valid_keys(
    keyed_catalog: Catalog, keys: dict[str, str]
) -> None:
    with connect(keyed_catalog) as client:
        wrong = [client.get("/v1/models", headers=bearer(f"cxr_{number}")) for number in range(12)]
        assert [answer.status_code for answer in wrong] == [401] * 10 + [429] * 2
        assert int(wrong[-1].headers["retry-after"]) <= 6
        assert client.post("/login", data={"key": "cxr_x"}).status_code == 429
        assert client.get("/v1/models", headers=bearer(keys["read"])).status_code == 200


@pytest.mark.parametrize(("size", "answered"), [(32, 3), (10, 10), (2, 50), (1, 100)])
def test_each_query_of_a_batch_counts_as_a_request(
    monkeypatch: pytest.MonkeyPatch, shared_catalog: Catalog, size: int, answered: int
) -> None:
    batch = {"queries": [{"text": "heart", "k": 1}] * size}
    with connect(shared_catalog, ServiceSettings(rate_per_minute=100)) as client:
        limit = next(each for each in client.app.middleware if isinstance(each, RateLimit))
        monkeypatch.setattr(limit._buckets, "_clock", lambda: 0.0)  # a slow machine would refill the bucket
        for _ in range(answered):
            assert client.post("/v1/search/batch", json=batch).status_code == 200
        refused = client.post("/v1/search/batch", json=batch)
        assert_problem(refused, 429, "rate_limited")
        assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_a_refused_batch_is_answered_after_its_retry_after(
    monkeypatch: pytest.MonkeyPatch, shared_catalog: Catalog
) -> None:
    now = [0.0]
    batch = {"queries": [{"text": "heart", "k": 1}] * 20}
    with connect(shared_catalog, ServiceSettings(rate_per_minute=30)) as client:
        limit = next(each for each in client.app.middleware if isinstance(each, RateLimit))
        monkeypatch.setattr(limit._buckets, "_clock", lambda: now[0])
        assert client.post("/v1/search/batch", json=batch).status_code == 200
        refused = client.post("/v1/search/batch", json=batch)
        assert "counts as 20" in refused.json()["detail"]
        now[0] += float(refused.headers["retry-after"])
        assert client.post("/v1/search/batch", json=batch).status_code == 200


def test_a_batch_larger_than_the_limit_uses_a_whole_minute(
    monkeypatch: pytest.MonkeyPatch, shared_catalog: Catalog
) -> None:
    now = [0.0]
    batch = {"queries": [{"text": "heart", "k": 1}] * 32}
    with connect(shared_catalog, ServiceSettings(rate_per_minute=6)) as client:
        limit = next(each for each in client.app.middleware if isinstance(each, RateLimit))
        monkeypatch.setattr(limit._buckets, "_clock", lambda: now[0])
        for _ in range(3):
            assert client.post("/v1/search/batch", json=batch).status_code == 200
            assert client.post("/v1/search/batch", json=batch).status_code == 429
            now[0] += 60


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("10.1.2.3", "10.1.2.3"),
        ("::1", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_addresses_of_one_ipv6_network_count_as_one(address: str, counted_as: str) -> None:
    assert network_of(address) == counted_as
