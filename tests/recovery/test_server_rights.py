"""Keys and tokens with few rights on a real server: what each is enough for, and what a command says that needs more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from retrieval.catalog import Catalog
from retrieval.errors import IndexForbidden
from retrieval.settings import RetrievalSettings
from tests.conftest import write_archive, write_tiny_bundle
from tests.qdrant import keys
from tests.qdrant.node import QdrantNode
from tests.recovery.server_commands import cxr, ingest_options
from tests.service.conftest import assert_problem
from tests.service.conftest import connect as connect_service

pytestmark = pytest.mark.real


@dataclass(frozen=True)
class KeyedNode:
    """A real server with keys and TLS, and a home whose model `tiny` is active there with 24 images."""

    node: QdrantNode
    home: Path
    archive: dict[str, Path]

    def run(self, key: str, *arguments: object) -> CompletedProcess[str]:
        """A command with the key or token `key`."""
        access = {"CXR_INDEX_API_KEY": key, "CXR_INDEX_CA_FILE": str(self.node.folder / "ca.pem")}
        return cxr(self.home, self.node.url, *arguments, CXR_INDEX_PATIENCE_S="1", **access)

    def catalog(self, key: str) -> Catalog:
        """The catalog with the key or token `key`."""
        ca_file = self.node.folder / "ca.pem"
        given = {"home": self.home, "index": self.node.url, "index_api_key": key, "index_ca_file": ca_file}
        return Catalog(RetrievalSettings(device="cpu", **given))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def keyed(qdrant_secure: QdrantNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedNode]:
    folder = tmp_path_factory.mktemp("rights")
    write_tiny_bundle(folder / "home" / "models", "tiny", seed=0)
    found = KeyedNode(qdrant_secure, folder / "home", write_archive(folder / "archive"))
    ended = found.run(keys.make_token("m"), *ingest_options(found.archive))  # an ingest needs to manage
    assert json.loads(ended.stdout)["indexed"] == 24
    yield found
    qdrant_secure.drop_all()


def may(access: str, *names: str) -> str:
    """A token that allows `access` to the collections and aliases `names`."""
    return keys.make_token([{"collection": name, "access": access} for name in names])


READING = {
    "read-only key": keys.READ_ONLY_KEY,
    "token": keys.make_token("r"),
    "token for collections": may("r", "cxr", "cxr_tiny"),
}
NOT_MANAGING = READING | {"token that writes": may("rw", "cxr", "cxr_tiny")}


@pytest.mark.parametrize("key", READING.values(), ids=READING)
def test_a_service_needs_only_to_read(key, keyed):
    with keyed.catalog(key) as catalog, connect_service(catalog) as client:
        assert client.get("/health/ready").status_code == 200
        found = client.post("/v1/search", json={"text": "heart", "facets": ["view"]})
        assert found.status_code == 200 and found.json()["hits"] and found.json()["facets"]["view"]
        study = found.json()["hits"][0]["study_id"]
        assert client.get(f"/v1/studies/{study}").status_code == 200
        assert client.post("/v1/search", json={"study": {"study_id": study}}).status_code == 200
        assert client.post("/v1/facets", json={"fields": ["present"]}).status_code == 200
        counts = {model["key"]: model["images"] for model in client.get("/v1/models").json()["models"]}
        assert counts["tiny"] == 24
        assert client.get("/", params={"text": "heart"}).status_code == 200


@pytest.mark.parametrize("key", READING.values(), ids=READING)
def test_search_and_doctor_need_only_to_read(key, keyed):
    for command in (["search", "--text", "heart"], ["doctor"]):
        ended = keyed.run(key, *command)
        assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    "names", [["cxr_tiny"], ["cxr"], ["cxr_other"]], ids=["no alias", "no collection", "another collection"]
)
def test_a_token_that_lacks_the_alias_or_its_collection_is_told_so(names, keyed):
    with keyed.catalog(may("r", *names)) as catalog:
        with pytest.raises(IndexForbidden, match=f"names {names[0]}; it must name both the alias `cxr` and") as error:
            catalog.retriever()
        assert "demo" not in str(error.value) and "\n" not in str(error.value)
        with connect_service(catalog) as client:
            answer = client.post("/v1/search/text", json={"text": "heart"})
            assert_problem(answer, 503, "index_forbidden")
            assert "token" not in answer.text and keyed.node.url not in answer.text


@pytest.mark.parametrize("key", NOT_MANAGING.values(), ids=NOT_MANAGING)
def test_a_change_without_the_right_to_manage_is_refused_with_one_line(key, keyed):
    ended = keyed.run(key, "drop", "tiny", "--yes", "--force")
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1].startswith("error [index_forbidden]")
    assert "403" in ended.stderr and "server-and-cluster.md" in ended.stderr
    assert "Traceback" not in ended.stderr and "Raw response" not in ended.stderr
    assert keyed.node.result("GET", "/collections/cxr_tiny")["points_count"] == 24


def test_an_ingest_with_a_key_that_only_reads_says_what_it_needs(keyed):
    reports = keyed.archive["reports_csv"]
    before = reports.read_text()
    reports.write_text(before.replace("Nodule right.", "Nodule left."))
    ended = keyed.run(keys.READ_ONLY_KEY, *ingest_options(keyed.archive))
    reports.write_text(before)
    assert json.loads(ended.stdout)["error"]["code"] == "index_forbidden"
    assert "server-and-cluster.md" in ended.stderr.splitlines()[-1]


def test_a_service_that_only_reads_refuses_to_switch_models(keyed):
    write_tiny_bundle(keyed.home / "models", "other", seed=1)
    made = keyed.run(keys.API_KEY, "ingest", "--model", "other", *ingest_options(keyed.archive)[3:])
    assert made.returncode == 0, made.stderr
    with keyed.catalog(keys.READ_ONLY_KEY) as catalog, connect_service(catalog) as client:
        answer = client.put("/v1/models/active", json={"model": "other"})
        assert_problem(answer, 503, "index_forbidden")
        assert keyed.node.url not in answer.text
        assert catalog.active_model() == "tiny"
    assert keyed.run(keys.make_token("m"), "use", "other").returncode == 0
