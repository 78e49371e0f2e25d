"""Checkpoints come from a hub of the published shape, and each fault of the hub ends in an error that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import constants

from exporters.checkpoints.location import fetch_files, locate_checkpoint
from retrieval.errors import ExportError
from tests.exporters.stand_in_hub import Repository, StandInHub

NAME = "owner/model"
WEIGHTS = bytes(range(256)) * 100
CONFIG = b'{"model_type": "siglip"}'
INDEX = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
SHARDS = {f"model-0000{part}-of-00002.safetensors": bytes([part]) * 20_000 for part in (1, 2)}
OTHERS = {".gitattributes": b"", "README.md": b"# Card\n", "tf_model.h5": WEIGHTS + b"h5"}


@pytest.fixture(autouse=True)
def published(hub: StandInHub) -> None:
    """A repository of one config and one file of weights."""
    hub.repositories[NAME] = Repository(OTHERS | {"config.json": CONFIG, "model.safetensors": WEIGHTS})


def publish(hub: StandInHub, **changes: object) -> Repository:
    hub.repositories[NAME] = Repository(**({"files": hub.repositories[NAME].files} | changes))  # type: ignore[arg-type]
    return hub.repositories[NAME]


def test_config_and_weights_come_through_the_redirect_with_their_commit(hub):
    located = locate_checkpoint(NAME)
    assert located.revision == hub.repositories[NAME].commit
    assert (located.folder / "model.safetensors").read_bytes() == WEIGHTS
    assert hub.fetched() == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("files", "fetched"),
    [
        ({"model.safetensors": WEIGHTS, "pytorch_model.bin": WEIGHTS + b"b"}, ["model.safetensors"]),
        ({"pytorch_model.bin": WEIGHTS, "training_args.bin": b"x"}, ["pytorch_model.bin"]),
        (SHARDS | {"model.safetensors.index.json": INDEX}, ["model.safetensors.index.json", *SHARDS]),
        ({"open_clip_config.json": b"{}", "open_clip_pytorch_model.bin": WEIGHTS}, None),
    ],
)
def test_one_format_of_weights_is_fetched_with_all_its_shards(files, fetched, hub):
    publish(hub, files=OTHERS | {"config.json": CONFIG} | files)
    located = locate_checkpoint(NAME)
    located.require_weights()
    assert hub.fetched() == sorted(["config.json", *(fetched or files)])


def test_the_token_goes_to_the_hub_and_not_to_the_server_of_the_content(hub, monkeypatch):
    publish(hub, gated=True)
    monkeypatch.setenv("HF_TOKEN", "hf_accepted")
    locate_checkpoint(NAME)
    on_the_hub, on_the_content_server = (
        [
            headers.get("authorization")
            for _, path, headers in hub.log
            if path.startswith("/owner/model/resolve") is asked
        ]
        for asked in (True, False)
    )
    assert set(on_the_hub) == {"Bearer hf_accepted"}
    assert on_the_content_server[-1] is None


@pytest.mark.parametrize(
    ("token", "advice"),
    [
        (None, r"accept the terms on the page of owner/model .* log in \(`hf auth login`"),
        ("hf_not_accepted", "account of your token has no access: open the page of owner/model"),
        ("hf_wrong", "refuses your token: log in again"),
    ],
)
def test_a_gated_repository_says_which_step_is_missing(token, advice, hub, monkeypatch):
    publish(hub, gated=True)
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(ExportError, match=advice):
        locate_checkpoint(NAME)
    assert "model.safetensors" not in [path.name for path in Path(constants.HF_HUB_CACHE).rglob("*")]


def test_a_renamed_repository_is_followed(hub):
    hub.renamed["old/name"] = NAME
    assert (locate_checkpoint("old/name").folder / "config.json").read_bytes() == CONFIG


def test_a_tag_is_fetched_and_its_commit_recorded(hub):
    publish(hub, refs=("main", "v2"))
    assert locate_checkpoint(NAME, "v2").revision == hub.repositories[NAME].commit


@pytest.mark.parametrize(("name", "revision"), [("owner/nothing", None), (NAME, "v9"), (NAME, "9" * 40)])
def test_an_unknown_name_or_revision_says_to_check_it(name, revision, hub):
    with pytest.raises(ExportError, match="check the name and revision"):
        locate_checkpoint(name, revision)


@pytest.mark.parametrize("leave_out", ["model.safetensors", next(iter(SHARDS))])
def test_weights_that_the_repository_lacks_are_named(leave_out, hub):
    files = hub.repositories[NAME].files
    if leave_out in SHARDS:
        files = OTHERS | {"config.json": CONFIG, "model.safetensors.index.json": INDEX} | SHARDS
    publish(hub, files={name: data for name, data in files.items() if name != leave_out})
    with pytest.raises(ExportError, match=f"lacks {leave_out}" if leave_out in SHARDS else "has no weights"):
        locate_checkpoint(NAME).require_weights()


def test_a_download_that_is_cut_off_goes_on_where_it_ended(hub, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)  # the client keeps whole chunks, else of 10 MB
    hub.cut_after, hub.cuts = 10_000, 1
    assert (locate_checkpoint(NAME).folder / "model.safetensors").read_bytes() == WEIGHTS
    sent = [
        headers.get("range") for method, path, headers in hub.log if method == "GET" and path.endswith(".safetensors")
    ]
    assert sent[-2:] == [None, "bytes=10000-"]


def test_a_full_cache_is_enough_without_a_network(hub, monkeypatch):
    before = locate_checkpoint(NAME)
    hub.repositories.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    after = locate_checkpoint(NAME, before.revision)
    assert (after.folder, after.revision) == (before.folder, before.revision)
    after.require_weights()


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("model.safetensors", "cache lacks the weights of owner/model; HF_HUB_OFFLINE is set: unset it"),
        ("config.json", "does not provide owner/model .* HF_HUB_OFFLINE is set: unset it"),
    ],
)
def test_a_half_cache_without_a_network_says_what_to_do(lost, message, hub, monkeypatch):
    located = locate_checkpoint(NAME)
    (located.folder / lost).unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExportError, match=message):
        locate_checkpoint(NAME, located.revision)


def test_an_empty_cache_without_a_network_says_so(hub, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ExportError, match="HF_HUB_OFFLINE is set: unset it"):
        locate_checkpoint(NAME)


def test_small_files_of_a_second_repository_come_without_its_weights(hub):
    hub.repositories["owner/text"] = Repository(
        {"config.json": CONFIG, "vocab.txt": b"a", "pytorch_model.bin": WEIGHTS}
    )
    folder = fetch_files("owner/text")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "vocab.txt"]
    assert folder.name == hub.repositories["owner/text"].commit


def test_the_variable_of_the_hubs_client_names_the_hub(hub, tmp_path):
    code = f"from exporters.checkpoints.location import *; print(locate_checkpoint({NAME!r}).revision)"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hub.repositories[NAME].commit
