"""The audit log: its content, what it never contains, and that unrecorded requests are not answered."""

from __future__ import annotations

import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from retrieval.catalog import Catalog
from service.access import audit
from service.access.audit import AuditLog, AuditUnavailable
from service.settings import ServiceSettings
from tests.service.access.test_login import log_in, same_site
from tests.service.conftest import Client, assert_problem, bearer, connect

SECRETS = ("Jane", "Doe", "4711")


def today(folder: Path) -> Path:
    return folder / f"{datetime.now(UTC):%Y-%m-%d}.jsonl"


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in sorted(folder.iterdir()) for line in file.read_text().splitlines()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def recorded(keyed_catalog: Catalog, folder: Path) -> Any:
    """A client of a service that needs keys and logs into `folder`."""
    with connect(keyed_catalog, ServiceSettings(rate_per_minute=0, audit_dir=folder)) as client:
        yield client


def test_a_search_is_one_line_with_names_and_ids(recorded: Client, keys: dict[str, str], folder: Path) -> None:
    query = {
        "text": "Jane Doe, effusion, no cardiomegaly",
        "k": 4,
        "filters": {"none": ["Nodule"], "view": "frontal", "dataset": "indiana"},
    }
    answer = recorded.post("/v1/search/text", json=query, headers=bearer(keys["read"]))
    (line,) = lines(folder)
    shown = list(dict.fromkeys(hit["study_id"] for hit in answer.json()["hits"]))
    assert shown
    assert abs((datetime.now(UTC) - datetime.fromisoformat(line.pop("time"))).total_seconds()) < 60
    assert line == {
        "request_id": answer.headers["x-request-id"],
        "key": "read",
        "action": "search",
        "kind": "text",
        "model": "tiny-a",
        "collection": "cxr_tiny-a",
        "filters": {"none": ["Nodule", "Cardiomegaly"], "view": "frontal", "dataset": True},
        "k": 4,
        "studies": shown,
    }


def test_every_way_to_see_a_study_is_recorded(recorded: Client, keys: dict[str, str], folder: Path, png: bytes) -> None:
    headers = bearer(keys["read"])
    asked = [
        (
            "POST",
            "/v1/search/image",
            {"files": {"image": ("Jane.png", png)}, "data": {"k": "2"}},
            [("search", "image")],
        ),
        ("GET", "/v1/studies/2", {}, [("open_study", None)]),
        ("GET", "/v1/studies/2/similar?k=3", {}, [("search", "study")]),
        ("GET", "/?text=Jane+effusion&k=2", {}, [("search", "text")]),
        ("GET", "/?study=2&k=2", {}, [("open_study", None), ("search", "study")]),
        ("POST", "/search/image", {"files": {"image": ("Jane.png", png)}}, [("search", "image")]),
        ("GET", "/", {}, []),
        ("GET", "/v1/models", {}, []),
    ]
    seen = 0
    for method, path, body, expected in asked:
        answer = recorded.request(method, path, headers=headers, **body)
        assert answer.status_code == 200, path
        new = lines(folder)[seen:]
        seen += len(new)
        assert [(line["action"], line.get("kind")) for line in new] == expected, path
        for line in new:
            shown = set(re.findall(r"Study (\w+)", answer.text)) or {
                hit["study_id"] for hit in answer.json().get("hits", [{"study_id": "2"}])
            }
            assert set(line["studies"]) == ({"2"} if line["action"] == "open_study" else shown), path
            assert (line["key"], line["model"], line["collection"]) == ("read", "tiny-a", "cxr_tiny-a")


def test_the_log_contains_no_text_of_queries_or_reports(
    recorded: Client, keys: dict[str, str], folder: Path, png: bytes
) -> None:
    headers = bearer(keys["admin"])
    name = "Jane Doe 4711"
    filters = {"dataset": name, "study_id": name, "exclude_studies": [name], "has_report": True}
    recorded.post("/v1/search/text", json={"text": name, "filters": filters}, headers=headers)
    recorded.post("/v1/search/text", json={"text": name, "filters": {"all": [name]}}, headers=headers)
    recorded.post("/v1/search/text", json={"text": name, "model": name}, headers=headers)
    recorded.post("/v1/search/image", files={"image": (f"{name}.png", png)}, headers=headers)
    recorded.get(f"/v1/studies/{name}", headers=headers)
    recorded.get(f"/v1/studies/{name}/similar", headers=headers)
    recorded.get(f"/?text={name}&study={name}", headers=headers)
    recorded.put("/v1/models/active", json={"model": name}, headers=headers)
    recorded.get(f"/v1/models?{name}", headers=bearer(name))
    recorded.post("/login", data={"key": name})
    text = today(folder).read_text()
    assert text.count("\n") >= 6
    for secret in (*SECRETS, *keys.values(), "testclient", "127.0.0.1"):
        assert secret not in text
    for finding in ("effusion left", "Small nodule", "cardiomegaly."):  # from reports in the answers
        assert finding not in text


def test_logins_and_refused_keys_are_recorded(recorded: Client, keys: dict[str, str], folder: Path) -> None:
    log_in(recorded, "cxr_wrong")
    log_in(recorded, keys["expired"])
    recorded.get("/v1/models", headers=bearer(keys["revoked"]))
    log_in(recorded, keys["read"])
    recorded.get("/?text=heart&k=1")
    recorded.post("/logout", headers=same_site(recorded), follow_redirects=False)
    assert [(line["action"], line.get("reason"), line.get("refused"), line["key"]) for line in lines(folder)] == [
        ("key_refused", "unknown", None, None),
        ("key_refused", "expired", "expired", None),
        ("key_refused", "revoked", "revoked", None),
        ("login", None, None, None),
        ("search", None, None, "read"),
        ("logout", None, None, "read"),
    ]
    assert [line["login"] for line in lines(folder) if line["action"] == "login"] == ["read"]


def test_switching_models_is_recorded_before_and_after(catalog: Catalog, own_client: Client) -> None:
    own_client.put("/v1/models/active", json={"model": "tiny-b"})
    own_client.put("/v1/models/active", json={"model": "no-such-model"})
    recorded = [
        (line["action"], line["model"], line["outcome"], line["key"]) for line in lines(catalog.settings.home / "audit")
    ]
    assert recorded == [
        ("switch_model", "tiny-b", "asked", None),
        ("switch_model", "tiny-b", "done", None),
        ("switch_model", None, "asked", None),
        ("switch_model", None, "unknown_model", None),
    ]


def test_requests_that_cannot_be_recorded_are_refused(catalog: Catalog, folder: Path, png: bytes) -> None:
    folder.write_text("a file is in the way")
    with connect(catalog, ServiceSettings(audit_dir=folder)) as client:
        answers = [
            client.post("/v1/search/text", json={"text": "heart"}),
            client.post("/v1/search/image", files={"image": ("a.png", png)}),
            client.get("/v1/studies/1"),
            client.get("/v1/studies/1/similar"),
            client.get("/?text=heart"),
            client.get("/?study=1"),
            client.post("/search/image", files={"image": ("a.png", png)}),
            client.put("/v1/models/active", json={"model": "tiny-b"}),
        ]
        for answer in answers:
            assert_problem(answer, 503, "audit_unavailable")
            assert "study_id" not in answer.text
        assert catalog.active_model() == "tiny-a"
        assert client.get("/v1/models").status_code == 200
        reasons = assert_problem(client.get("/health/ready"), 503, "not_ready")["reasons"]
        assert reasons[0].startswith("audit_unavailable")
        folder.unlink()
        assert client.get("/health/ready").status_code == 200
        assert client.post("/v1/search/text", json={"text": "heart"}).status_code == 200
    assert [line["action"] for line in lines(folder)] == ["audit_resumed", "search"]


def test_a_login_that_cannot_be_recorded_fails(keyed_catalog: Catalog, keys: dict[str, str], folder: Path) -> None:
    folder.write_text("a file is in the way")
    with connect(keyed_catalog, ServiceSettings(audit_dir=folder)) as client:
        answer = log_in(client, keys["read"])
        assert answer.status_code == 503
        assert "set-cookie" not in answer.headers
        assert_problem(client.get("/v1/models", headers=bearer("cxr_wrong")), 503, "audit_unavailable")
        assert_problem(client.get("/v1/models"), 401, "key_required")


def test_the_log_can_be_switched_off(catalog: Catalog) -> None:
    with connect(catalog, ServiceSettings(audit=False)) as client:
        assert client.post("/v1/search/text", json={"text": "heart"}).status_code == 200
        assert client.get("/health/ready").status_code == 200
    assert not (catalog.settings.home / "audit").exists()


def test_only_the_owner_can_read_the_log(recorded: Client, keys: dict[str, str], folder: Path) -> None:
    recorded.get("/v1/studies/1", headers=bearer(keys["read"]))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(today(folder).stat().st_mode) == 0o600


def append(log: AuditLog, number: int) -> None:
    log._append({"number": number, "padding": "x" * 3000})


def test_lines_of_several_writers_do_not_mix(folder: Path) -> None:
    logs = [AuditLog(folder) for _ in range(4)]  # like four processes
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: append(logs[number % 4], number), range(200)))
    assert sorted(line["number"] for line in lines(folder)) == list(range(200))


def test_a_truncated_line_does_not_damage_the_next(folder: Path) -> None:
    log = AuditLog(folder)
    append(log, 1)
    with today(folder).open("ab") as file:
        file.write(b'{"number": 2, "padd')
    append(log, 3)
    whole, cut, after = today(folder).read_text().splitlines()
    assert (json.loads(whole)["number"], json.loads(after)["number"]) == (1, 3)
    assert cut == '{"number": 2, "padd'


def test_a_partly_written_line_on_a_full_disk_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog(folder)
    real = audit.os.write
    monkeypatch.setattr(audit.os, "write", lambda descriptor, content: real(descriptor, content[:10]))
    with pytest.raises(AuditUnavailable, match="no space"):
        append(log, 1)
    with pytest.raises(AuditUnavailable):
        log.check()
    monkeypatch.setattr(audit.os, "write", real)
    log.check()
    assert json.loads(today(folder).read_text().splitlines()[-1])["action"] == "audit_resumed"


def test_the_log_does_not_follow_symbolic_links(folder: Path, tmp_path: Path) -> None:
    folder.mkdir()
    today(folder).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditUnavailable):
        append(AuditLog(folder), 1)
    assert not (tmp_path / "elsewhere").exists()


def test_each_day_has_its_own_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Clock(datetime):
        day = 1

        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime(2026, 1, cls.day, 23, 59, tzinfo=tz)

    monkeypatch.setattr(audit, "datetime", Clock)
    log = AuditLog(folder)
    append(log, 1)
    Clock.day = 2
    append(log, 2)
    assert [path.name for path in sorted(folder.iterdir())] == ["2026-01-01.jsonl", "2026-01-02.jsonl"]


def test_an_answer_and_its_line_name_the_same_studies(
    recorded: Client, keyed_catalog: Catalog, keys: dict[str, str], folder: Path
) -> None:
    expected = keyed_catalog.retriever("tiny-b").search_text("nodule", k=7)
    query = {"text": "nodule", "k": 7, "model": "tiny-b"}
    recorded.post("/v1/search/text", json=query, headers=bearer(keys["read"]))
    (line,) = lines(folder)
    assert line["studies"] == list(dict.fromkeys(hit.study_id for hit in expected.hits))
    assert line["model"] == "tiny-b"
