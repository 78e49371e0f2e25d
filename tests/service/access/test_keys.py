"""API keys: created, stored, revoked and read again by a running service; in Python and on the command line."""

from __future__ import annotations

import json
import os
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cxr.main
from retrieval.errors import InvalidRequest
from service.access.keys import KeyFile, KeyRefused, KeyRing, KeysDamaged, hash_secret
from service.access.login_sessions import LIFETIME_S, LoginSessions


def test_the_secret_is_random_and_only_its_hash_is_stored(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    key, secret = file.create("ward-3", ("read",))
    _, other = file.create("ward-4", ("read",))
    assert secret.startswith("cxr_")
    assert len(secret) == len("cxr_") + 43  # 32 bytes in base64
    assert secret != other
    content = file.path.read_text()
    assert secret not in content
    assert secret.removeprefix("cxr_") not in content
    assert key.sha256 == hash_secret(secret)
    assert key.sha256 in content


def test_only_the_owner_can_read_the_file_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        KeyFile(tmp_path).create("ward-3", ("read",))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys.json").stat().st_mode) == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == [".keys.json.lock", "keys.json"]


def test_admin_includes_the_other_scopes_and_they_do_not_include_each_other(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    allowed = {name: file.create(name, (name,))[0].allowed for name in ("read", "ingest", "admin")}
    assert allowed == {"read": {"read"}, "ingest": {"ingest"}, "admin": {"read", "ingest", "admin"}}


def test_a_key_is_valid_until_it_expires_or_is_revoked(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    key, _ = file.create("short", ("read",), lifetime=timedelta(days=2))
    now = datetime.now(UTC)
    assert key.state(now) == "valid"
    assert key.state(now + timedelta(days=1, hours=23)) == "valid"
    assert key.state(now + timedelta(days=2, seconds=1)) == "expired"
    revoked = file.revoke("short")
    assert revoked.state(now) == "revoked"
    assert file.revoke("short").revoked == revoked.revoked
    assert file.read() == (revoked,)


@pytest.mark.parametrize("name", ["", "-x", "a b", "ä", "x" * 65, "../keys", "a\nb", 'a"'])
def test_malformed_names_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyRefused, match="a key's name"):
        KeyFile(tmp_path).create(name, ("read",))


def test_the_name_of_a_revoked_key_cannot_be_used_again(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.create("ward-3", ("read",))
    with pytest.raises(KeyRefused, match="used only once"):
        file.create("ward-3", ("read",))
    file.revoke("ward-3")
    with pytest.raises(KeyRefused, match="used only once"):
        file.create("ward-3", ("admin",))


def test_keys_need_a_scope_and_only_existing_keys_are_revoked(tmp_path: Path) -> None:
    with pytest.raises(KeyRefused, match="scope"):
        KeyFile(tmp_path).create("ward-3", ())
    with pytest.raises(KeyRefused, match="no key 'nobody'"):
        KeyFile(tmp_path).revoke("nobody")


def test_keys_created_at_the_same_time_are_all_stored(tmp_path: Path) -> None:
    threads = [
        threading.Thread(target=KeyFile(tmp_path).create, args=(f"key-{number}", ("read",))) for number in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    keys = KeyFile(tmp_path).read()
    assert keys is not None
    assert {key.name for key in keys} == {f"key-{number}" for number in range(12)}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"version": 1}',
        b'{"version": 2, "keys": []}',
        b'{"version": 1, "keys": [{"name": "x"}]}',
    ],
)
def test_a_damaged_file_is_an_error_and_is_never_overwritten(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys.json").write_bytes(content)
    for call in (KeyFile(tmp_path).read, lambda: KeyFile(tmp_path).create("x", ("read",))):
        with pytest.raises(KeysDamaged):
            call()
    assert (tmp_path / "keys.json").read_bytes() == content


def test_a_ring_requires_keys_once_one_exists_and_notices_every_change(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    ring = KeyRing(KeyFile(tmp_path), always_required=False)
    assert not ring.required
    _, secret = file.create("ward-3", ("read",))
    assert ring.required
    found = ring.find(hash_secret(secret))
    assert found
    assert found.name == "ward-3"
    assert ring.find(hash_secret(secret + "x")) is None
    file.revoke("ward-3")
    found = ring.find(hash_secret(secret))
    assert found
    assert found.state() == "revoked"


def test_a_lost_file_does_not_open_a_service_that_had_keys(tmp_path: Path) -> None:
    _, secret = KeyFile(tmp_path).create("ward-3", ("read",))
    ring = KeyRing(KeyFile(tmp_path), always_required=False)
    assert ring.required
    (tmp_path / "keys.json").unlink()
    assert ring.required
    assert ring.find(hash_secret(secret)) is None


def test_a_ring_for_other_machines_always_requires_keys(tmp_path: Path) -> None:
    assert KeyRing(KeyFile(tmp_path), always_required=True).required


def test_a_damaged_file_closes_the_ring_until_it_is_repaired(tmp_path: Path) -> None:
    _, secret = KeyFile(tmp_path).create("ward-3", ("read",))
    ring = KeyRing(KeyFile(tmp_path), always_required=False)
    whole = (tmp_path / "keys.json").read_bytes()
    (tmp_path / "keys.json").write_bytes(whole[:-20])
    for _ in range(2):
        with pytest.raises(KeysDamaged):
            _ = ring.required
    (tmp_path / "keys.json").write_bytes(whole)
    assert ring.find(hash_secret(secret))


def test_login_sessions_expire_and_can_be_ended() -> None:
    now = [0.0]
    sessions = LoginSessions(secure=False, clock=lambda: now[0])
    first, second = sessions.begin("a"), sessions.begin("b")
    assert (sessions.key_of(first), sessions.key_of(second)) == ("a", "b")
    assert sessions.key_of("a") is None
    sessions.end(first)
    assert (sessions.key_of(first), sessions.key_of(second)) == (None, "b")
    now[0] = LIFETIME_S - 1
    assert sessions.key_of(second) == "b"
    now[0] = LIFETIME_S
    assert sessions.key_of(second) is None


def run(*words: str) -> str:
    """Standard output of a `cxr keys` command."""
    result = CliRunner().invoke(cxr.main.app, ["keys", *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_commands_create_list_and_revoke_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path))
    secret = run("create", "ward-3").strip()
    made = json.loads(run("create", "ops", "--scope", "admin", "--scope", "ingest", "--days", "90", "--json"))
    assert made["scopes"] == ["admin", "ingest"]
    assert made["expires"][:10] == f"{datetime.now(UTC) + timedelta(days=90):%Y-%m-%d}"
    ring = KeyRing(KeyFile(tmp_path), always_required=True)
    assert [ring.find(hash_secret(key)).name for key in (secret, made["key"])] == ["ward-3", "ops"]  # type: ignore[union-attr]
    assert json.loads(run("revoke", "ops", "--json"))["state"] == "revoked"
    listed = json.loads(run("list", "--json"))["keys"]
    assert [(key["name"], key["scopes"], key["state"]) for key in listed] == [
        ("ward-3", ["read"], "valid"),
        ("ops", ["admin", "ingest"], "revoked"),
    ]
    for text in (run("list"), run("list", "--json")):
        assert "ward-3" in text
        assert secret not in text
        assert hash_secret(secret) not in text


def test_an_unknown_scope_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path))
    with pytest.raises(InvalidRequest, match="'write'"):
        run("create", "x", "--scope", "write")
    assert not (tmp_path / "keys.json").exists()


def test_help_describes_every_scope() -> None:
    text = " ".join(run("create", "--help").split())
    assert "ingest: reserved for endpoints that write cases; none exists yet" in text
    assert "admin: all that the other scopes allow, and switch the active model" in text
