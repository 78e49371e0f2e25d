"""Passwords in the address of an index are never shown."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import cxr.main
from ingest.ledger import Ledger, adopt_ledgers, ledger_path
from retrieval.catalog import open_retriever
from retrieval.errors import InvalidRequest, RetrievalError
from retrieval.index.engines import open_index
from retrieval.index_address import is_miswritten, is_server, redact, server_urls
from retrieval.settings import RetrievalSettings
from tests.conftest import write_tiny_bundle

SECRET = "sEnTinel-pw"
REFUSED = "127.0.0.1:9"  # nothing listens on the port of `discard`
ADDRESSES = [
    f"http://user:{SECRET}@{REFUSED}",
    f"http://{SECRET}@{REFUSED}",
    f"http://{REFUSED}?api_key={SECRET}",
    f"http://{REFUSED}/path?a=b#{SECRET}",
    f"HTTP://user:{SECRET}@{REFUSED}",
    f"http://us@er:p@/w?{SECRET}#@{REFUSED}/",
    f"http://user:{SECRET}@no port:here",
    f"http://user:{SECRET}@[::1",
    f"ftp://user:{SECRET}@{REFUSED}",
    f"user:{SECRET}@{REFUSED}",
    f"{SECRET}@{REFUSED}",
    f"//user:{SECRET}@{REFUSED}",
    f"http:/user:{SECRET}@{REFUSED}",
    f"https//user:{SECRET}@{REFUSED}",
    f"https;//user:{SECRET}@host",
    f"user/name:{SECRET}@{REFUSED}",
    f"{REFUSED}?api_key={SECRET}",
    f"qdrant?api-key={SECRET}",
    f'"http://{REFUSED}?api_key={SECRET}"',
    f" http://{REFUSED}?api_key={SECRET}",
    f"\ufeffhttp://{REFUSED}?api_key={SECRET}",
    f"CXR_INDEX=http://{REFUSED}?api_key={SECRET}",
    f"http://user:{SECRET}@{REFUSED},http://user:{SECRET}@{REFUSED}",
    f"http://user:{SECRET},x@{REFUSED}, https://user:{SECRET}@host",
    f"http://{REFUSED}?api_key={SECRET},http://{REFUSED}?api_key={SECRET}",
    f"http://user:{SECRET},http://x@{REFUSED}",
    f"user:{SECRET}@host,user:{SECRET}@host",
]
COMMANDS = [
    ["search", "--text", "x"],
    ["models"],
    ["use", "tiny-a"],
    ["drop", "tiny-a", "--yes"],
    ["push", "tiny-a", "--to"],
    ["snapshot", "create", "tiny-a", "file.zip"],
    ["ingest", "status"],
    ["ingest", "retry", "--model", "tiny-a"],
    ["ingest", "finish", "--model", "tiny-a"],
    ["evaluate", "--model", "tiny-a"],
    ["tune", "--model", "tiny-a"],
    ["compare", "--models", "tiny-a,tiny-b"],
    ["doctor"],
    ["serve", "--port", "0"],
    ["experiments", "list"],
]


@pytest.fixture(scope="module")
def models_home(tmp_path_factory):
    """A home with models only; the index is elsewhere."""
    home = tmp_path_factory.mktemp("home")
    for seed, name in enumerate(("tiny-a", "tiny-b")):
        write_tiny_bundle(home / "models", name, seed=seed)
    return home


@pytest.fixture(autouse=True)
def impatient(models_home, monkeypatch):
    monkeypatch.setenv("CXR_HOME", str(models_home))
    monkeypatch.setenv("CXR_INDEX_PATIENCE_S", "0")
    monkeypatch.setattr("retrieval.index.server.client._SEARCH_ATTEMPTS", 1)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_no_command_shows_a_password(command, tmp_path, monkeypatch, caplog, capsys):
    monkeypatch.chdir(tmp_path)
    caplog.set_level(logging.DEBUG)
    for address in (ADDRESSES[0], ADDRESSES[6]):  # what does not answer, and what is no address
        arguments = [*command, address] if command[-1] == "--to" else command
        if command[-1] != "--to":
            monkeypatch.setenv("CXR_INDEX", address)
        for as_json in ([], ["--json"]) if command[0] in ("search", "push", "doctor") else ([],):
            monkeypatch.setattr("sys.argv", ["cxr", *arguments, *as_json])
            mask = os.umask(0o077)
            try:
                cxr.main.main()
            except SystemExit:
                pass
            finally:
                os.umask(mask)
            told = capsys.readouterr()
            assert SECRET not in told.out + told.err + caplog.text


def test_json_names_the_index_without_a_password(monkeypatch):
    monkeypatch.setenv("CXR_INDEX", f"http://user:{SECRET}@{REFUSED}/qdrant?api_key={SECRET}")
    result = CliRunner().invoke(cxr.main.app, ["ingest", "status", "--json"])
    assert json.loads(result.stdout)["index"] == f"http://{REFUSED}/qdrant"


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_error_shows_a_password(address):
    for call in (lambda: open_index(RetrievalSettings(index=address)), lambda: open_retriever(index=address)):
        with pytest.raises(RetrievalError) as raised:
            call()
        error: BaseException | None = raised.value
        while error is not None:
            assert SECRET not in str(error) + repr(error)
            error = error.__cause__ or error.__context__
    assert SECRET not in repr(RetrievalSettings(index=address)) + str(RetrievalSettings(index=address))


@given(
    user=st.text(max_size=8),
    password=st.text(min_size=1, max_size=12),
    host=st.from_regex(r"[a-z]{1,8}(:\d{2,5})?(/[a-z]{0,5})?", fullmatch=True),
    scheme=st.sampled_from(["http://", "https://", "HTTPS://"]),
)
def test_user_and_password_are_removed(user, password, host, scheme):
    assert redact(f"{scheme}{user}:{password}@{host}") == scheme + host
    assert redact(f"{scheme}{host}?{password.replace('@', '')}") == scheme + host


@pytest.mark.parametrize(
    "folder",
    [
        "/data/index",
        "index",
        "./a@b",
        "/data/x:y@z",
        "C:\\index",
        "C:/index",
        "data/10:30/x",
        "~/cxr@home",
        "/data/a@b:10",
        "../x?y=z",
        "/data/a,http://b",
    ],
)
def test_folders_are_shown_unchanged(folder):
    assert not is_server(folder)
    assert not is_miswritten(folder)
    assert redact(folder) == folder


@pytest.mark.parametrize(
    "address",
    [
        "qdrant:6333",
        "qdrant.example:6333/x",
        "grpc://qdrant",
        "user:pw@qdrant",
        "a@b:1",
        "http//qdrant",
        "'http://qdrant'",
        "qdrant-1:6333,qdrant-2:6333",
        "qdrant-1,http://qdrant-2",
    ],
)
def test_an_address_without_http_is_refused(address, tmp_path):
    assert is_miswritten(address)
    with pytest.raises(RetrievalError, match="write http://"):
        open_index(RetrievalSettings(home=tmp_path, index=address))
    assert not list(tmp_path.iterdir())


def test_the_nodes_of_a_cluster_are_separated_by_commas():
    nodes = ("http://a:6333", "http://b:6333")
    for address in ("http://a:6333,http://b:6333", "http://u:p@a:6333 , http://b:6333/,http://a:6333,"):
        assert is_server(address)
        assert server_urls(address) == nodes
    assert redact("http://u:p@a:6333, http://b:6333") == "http://a:6333,http://b:6333"
    assert server_urls("https://[::1]/x,HTTPS://qdrant_2:7/x/") == ("https://[::1]:6333/x", "https://qdrant_2:7/x")
    assert server_urls("http://qdrant") == ("http://qdrant:6333",)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://", "not the address"),
        ("http://:6333", "not the address"),
        ("http://[::1", "not the address"),
        ("http://qdrant:port", "not the address"),
        ("http://qdrant:0", "not the address"),
        ("http://qdrant:99999", "not the address"),
        ("http://a:6333,b:6333", "not the address"),
        ("http://a:6333;http://b:6333", "not the address"),
        ("http://a:6333 http://b:6333", "not the address"),
        ("http://a:6333,https://b:6333", "different schemes"),
        ("http://a:6333/x,http://b:6333", "different schemes or paths"),
    ],
)
def test_a_malformed_address_is_an_error_of_the_request(address, reason, tmp_path, monkeypatch, capsys):
    with pytest.raises(InvalidRequest, match=reason):
        open_index(RetrievalSettings(home=tmp_path, index=address))
    monkeypatch.setattr("sys.argv", ["cxr", "models", "--index", address])
    with pytest.raises(SystemExit):
        cxr.main.main()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_the_ledger_of_a_cluster_is_found_when_its_nodes_change(tmp_path):
    path = ledger_path(tmp_path, "http://a:6333", "cxr_a")
    Ledger(path).close()
    for nodes in ("http://a:6333,http://b:6333", "http://b:6333,http://a:6333,http://c:6333"):
        assert ledger_path(tmp_path, nodes, "cxr_a") == path
    assert ledger_path(tmp_path, "http://b:6333,http://c:6333", "cxr_a") != path


def test_ledgers_of_an_address_with_a_password_are_found_again(tmp_path):
    settings = RetrievalSettings(home=tmp_path, index=f"http://user:{SECRET}@qdrant:6333")
    old = ledger_path(tmp_path, settings.index_address, "cxr_a")
    Ledger(old).close()
    adopt_ledgers(tmp_path, settings.index_address, settings.index_location)
    new = ledger_path(tmp_path, "http://qdrant:6333", "cxr_a")
    assert new.is_file()
    assert not old.exists()
    adopt_ledgers(tmp_path, settings.index_address, settings.index_location)
    assert new.is_file()
    assert Path(settings.index_location) == Path("http://qdrant:6333")
