"""Startup check: without a valid key the service starts only if no other machine can reach it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cxr.main
from cxr.serve import serve
from retrieval.catalog import Catalog
from service.access.keys import KeyFile, KeyRefused, KeysDamaged, KeysLost
from service.access.listener import RemoteBindRefused
from service.access.startup_check import remote_reason, require_keys
from service.settings import ServiceSettings
from tests.service.conftest import connect

REMOTE = [
    {"host": "0.0.0.0"},
    {"host": "::"},
    {"https": True},
    {"allowed_hosts": ("cxr.example",)},
    {"allowed_hosts": ("127.0.0.1", "localhost", "*")},
    {"allowed_hosts": ("localhost", "192.168.1.5")},
    {"allowed_hosts": ("localhost.evil.example",)},
]
LOCAL = [
    {},
    {"host": "localhost"},
    {"host": "127.0.0.2"},
    {"allowed_hosts": ()},
    {"allowed_hosts": ("localhost", "127.0.0.1", "::1", "[::1]", "LOCALHOST.", "cxr.localhost", "127.1.2.3")},
]


def expired(file: KeyFile) -> None:
    file.create("old", ("read",), lifetime=timedelta(0))


def revoked(file: KeyFile) -> None:
    file.create("gone", ("admin",))
    file.revoke("gone")


def removed(file: KeyFile) -> None:
    file.create("gone", ("admin",))
    file.remove_all()


def lost(file: KeyFile) -> None:
    file.create("gone", ("admin",))
    file.path.unlink()


def nothing(file: KeyFile) -> None:
    """A home that never had a key."""


@pytest.mark.parametrize("settings", REMOTE)
@pytest.mark.parametrize("make", [nothing, expired, revoked, removed, lost])
def test_a_service_that_other_machines_reach_needs_a_valid_key_to_start(
    settings: dict[str, object], make: Callable[[KeyFile], None], tmp_path: Path
) -> None:
    file = KeyFile(tmp_path)
    make(file)
    with pytest.raises(RemoteBindRefused, match="cxr keys create"):
        require_keys(ServiceSettings(**settings), file)
    file.create("ward-3", ("read",))
    assert require_keys(ServiceSettings(**settings), file)


@pytest.mark.parametrize("settings", LOCAL)
def test_a_service_for_this_machine_starts_without_keys_unless_they_were_lost(
    settings: dict[str, object], tmp_path: Path
) -> None:
    file = KeyFile(tmp_path)
    chosen = ServiceSettings(**settings)
    assert remote_reason(chosen) is None
    assert not require_keys(chosen, file)
    lost(file)
    with pytest.raises(KeysLost, match="cxr keys remove-all"):
        require_keys(chosen, file)
    file.remove_all()
    assert not require_keys(chosen, file)


def test_damaged_keys_are_refused_everywhere_until_all_are_removed(tmp_path: Path) -> None:
    file = KeyFile(tmp_path)
    file.path.write_text("{")
    for settings in (ServiceSettings(), ServiceSettings(https=True)):
        with pytest.raises(KeysDamaged, match="cxr keys remove-all"):
            require_keys(settings, file)
    file.remove_all()
    assert not require_keys(ServiceSettings(), file)


def test_a_home_with_copied_keys_notices_their_loss_after_the_first_start(tmp_path: Path) -> None:
    KeyFile(tmp_path / "a").create("ward-3", ("read",))
    (tmp_path / "b").mkdir()
    file = KeyFile(tmp_path / "b")
    file.path.write_bytes((tmp_path / "a" / "keys.json").read_bytes())
    assert require_keys(ServiceSettings(), file)
    file.path.unlink()
    with pytest.raises(KeysLost):
        require_keys(ServiceSettings(), file)


def test_cxr_serve_is_refused_before_models_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CXR_SERVICE_HTTPS", "true")
    with pytest.raises(RemoteBindRefused, match="CXR_SERVICE_HTTPS"):
        serve(port=0)
    monkeypatch.delenv("CXR_SERVICE_HTTPS")
    monkeypatch.setenv("CXR_SERVICE_ALLOWED_HOSTS", "cxr.example,127.0.0.1")
    with pytest.raises(RemoteBindRefused, match=r"cxr\.example"):
        serve(port=0)
    monkeypatch.delenv("CXR_SERVICE_ALLOWED_HOSTS")
    lost(KeyFile(tmp_path / "home"))
    with pytest.raises(KeysLost, match=r"keys\.json is missing"):
        serve(port=0)


def test_an_application_whose_keys_were_lost_answers_no_request(catalog: Catalog) -> None:
    file = KeyFile(catalog.settings.home)
    lost(file)
    try:
        with connect(catalog, ServiceSettings()) as client:
            assert client.get("/v1/models").status_code == 401
    finally:
        file.remove_all()
    with connect(catalog, ServiceSettings()) as client:
        assert client.get("/v1/models").status_code == 200


def test_removing_all_keys_asks_for_confirmation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXR_HOME", str(tmp_path))
    file = KeyFile(tmp_path)
    file.create("ward-3", ("read",))
    runner = CliRunner()
    assert runner.invoke(cxr.main.app, ["keys", "remove-all"], input="n\n").exit_code == 1
    assert len(file.read() or ()) == 1
    assert runner.invoke(cxr.main.app, ["keys", "remove-all", "--yes", "--json"]).exit_code == 0
    assert file.read() == ()
    file.path.unlink()
    assert "is missing" in runner.invoke(cxr.main.app, ["keys", "list"]).stderr
    with pytest.raises(KeyRefused):
        file.revoke("ward-3")
