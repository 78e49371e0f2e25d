"""The commands, options, settings, paths, ports and targets in the Dockerfile and the compose files exist."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pytest
import typer.main
import yaml

import cxr.main
from retrieval.catalog import Catalog
from retrieval.settings import RetrievalSettings
from service.app import create_app
from service.settings import ServiceSettings

ROOT = Path(__file__).resolve().parents[2]
BASE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OVERLAY = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
# Variables of the compose file only; all others that it reads are settings of the program.
COMPOSE_VARIABLES = {"DATA_DIR", "MODEL"}
OURS = ("api", "ingest")


def setting_names() -> set[str]:
    return {
        f"{settings.model_config['env_prefix']}{name}".upper()
        for settings in (RetrievalSettings, ServiceSettings)
        for name in settings.model_fields
    }


def instructions(name: str) -> list[str]:
    joined = DOCKERFILE.replace("\\\n", " ")
    return [line.removeprefix(name).strip() for line in joined.splitlines() if line.startswith(f"{name} ")]


def stages() -> dict[str, str]:
    """The base image of each stage in the Dockerfile."""
    return {name: origin for origin, _, name in (line.partition(" AS ") for line in instructions("FROM"))}


def resolve(value: str) -> str:
    """A compose value, with each variable replaced by its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def parse_command(words: list[str]) -> dict[str, Any]:
    """The parameters of a `cxr` command line, as the program parses them."""
    group = typer.main.get_command(cxr.main.app)
    context = group.make_context("cxr", list(words), resilient_parsing=False)
    name, command, rest = group.resolve_command(context, list(words))  # type: ignore[attr-defined]
    return {"command": name, **command.make_context(name, rest, parent=context).params}


def healthcheck(service: str) -> list[str]:
    test: list[str] = BASE["services"][service]["healthcheck"]["test"]
    assert test[0] == "CMD"
    return [word.replace("$$", "$") for word in test[1:]]


def test_commands_and_options_exist() -> None:
    api = parse_command(BASE["services"]["api"]["command"])
    assert (api["command"], api["host"]) == ("serve", "0.0.0.0")
    ingest = parse_command([resolve(word) for word in BASE["services"]["ingest"]["command"]])
    assert ingest["command"] == "ingest"
    assert instructions("ENTRYPOINT") == ['["cxr"]']
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts == {"cxr": "cxr.main:main"}


def test_commands_in_comments_exist() -> None:
    lines = re.findall(
        r"^#   (?:.* )?docker compose run --rm ingest(.*)$", (ROOT / "docker-compose.yml").read_text(), re.M
    )
    assert lines
    for words in filter(None, map(shlex.split, lines)):
        assert parse_command(words)["command"] == words[0]


def test_every_variable_is_a_setting() -> None:
    known = setting_names()
    for service in (*(BASE["services"][name] for name in OURS), *OVERLAY["services"].values()):
        assert set(service["environment"]) <= known
    for file in ("docker-compose.yml", "docker-compose.gpu.yml"):
        read = set(re.findall(r"\$\{(\w+)", (ROOT / file).read_text()))
        assert read <= known | COMPOSE_VARIABLES
    for line in instructions("ENV"):
        assert {name for name in re.findall(r"(\w+)=", line) if name.startswith("CXR_")} <= known


def test_every_port_is_published_on_loopback_only() -> None:
    published = [port for service in BASE["services"].values() for port in service.get("ports", [])]
    assert sorted(published) == ["127.0.0.1:6333:6333", "127.0.0.1:8000:8000"]
    assert not any("ports" in service for service in OVERLAY["services"].values())


def test_ports_agree() -> None:
    port = parse_command(BASE["services"]["api"]["command"])["port"]
    assert instructions("EXPOSE") == [str(port)]
    assert f"127.0.0.1:{port}/" in healthcheck("api")[-1]
    index = urlsplit(BASE["services"]["api"]["environment"]["CXR_INDEX"])
    assert index.hostname in BASE["services"]
    assert f"/{index.port};" in healthcheck(index.hostname)[-1]


def test_server_and_clients_require_the_same_key_of_the_index() -> None:
    key = BASE["services"]["qdrant"]["environment"]["QDRANT__SERVICE__API_KEY"]
    assert key.startswith("${CXR_INDEX_API_KEY:?")
    assert all(BASE["services"][name]["environment"]["CXR_INDEX_API_KEY"] == key for name in OURS)


def test_versions_of_index_server_and_client_are_compatible() -> None:
    image = BASE["services"]["qdrant"]["image"]
    server = re.fullmatch(r"qdrant/qdrant:v(\d+)\.(\d+)\.\d+", image)
    client = re.search(r"^qdrant-client==(\d+)\.(\d+)\.", (ROOT / "constraints.txt").read_text(), re.M)
    assert server
    assert client
    assert server[1] == client[1]
    assert abs(int(server[2]) - int(client[2])) <= 1  # the client warns if the difference is larger


def test_build_targets_and_copied_files_exist() -> None:
    for service in (*(BASE["services"][name] for name in OURS), *OVERLAY["services"].values()):
        assert service["build"]["target"] in stages()
        assert service["image"] == f"cxr-retrieval:{service['build']['target']}"
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = set()
    for line in instructions("COPY"):
        *sources, _ = line.split()
        if sources[0].startswith("--from="):
            assert sources[0].removeprefix("--from=") in stages()
        else:
            copied |= set(sources)
    assert copied == kept
    assert all((ROOT / path).exists() for path in copied)


def test_images_install_known_extras_and_no_torch() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.findall(r"--extra (\w+)", DOCKERFILE)
    assert [extra for extra in extras if extra not in ("dicom", "parquet")] == ["cpu", "gpu"]
    assert all(extras.count(extra) == 2 for extra in ("dicom", "parquet"))
    wanted = [*project["dependencies"], *(name for extra in extras for name in project["optional-dependencies"][extra])]
    assert not any(requirement.startswith(("torch", "transformers", "open_clip")) for requirement in wanted)
    packaged = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
            "only-include"
        ]
    )
    assert packaged <= {line.split()[0] for line in instructions("COPY")}


def test_images_do_not_run_as_root() -> None:
    (user,) = instructions("USER")
    assert user == "cxr"
    assert all(stages()[target] == "runtime" for target in ("cpu", "gpu"))
    assert all(BASE["services"][name]["cap_drop"] == ["ALL"] for name in OURS)


def test_volumes_are_declared_and_hold_the_home_of_the_image() -> None:
    home = BASE["services"]["api"]["environment"]["CXR_HOME"]
    assert any(f"CXR_HOME={home} " in f"{line} " for line in instructions("ENV"))
    assert any(home in line.split() for line in instructions("RUN"))
    mounts: dict[str, dict[str, str]] = {}
    for name in OURS:
        pairs = (resolve(volume).removesuffix(":ro").rsplit(":", 1) for volume in BASE["services"][name]["volumes"])
        mounts[name] = {target: source for source, target in pairs}
        assert mounts[name][home] in BASE["volumes"]
    assert mounts["api"][home] == mounts["ingest"][home]
    ingest = parse_command([resolve(word) for word in BASE["services"]["ingest"]["command"]])
    for option in ("reports_csv", "projections_csv", "images_dir"):
        assert any(
            PurePosixPath(ingest[option]).is_relative_to(target) for target in mounts["ingest"] if target != home
        )


def test_overlay_changes_only_existing_services() -> None:
    assert set(OVERLAY["services"]) == set(OURS) <= set(BASE["services"])


def test_health_check_uses_an_existing_route(tmp_path: Path) -> None:
    code = healthcheck("api")[-1]
    compile(code, "healthcheck", "exec")
    path = re.search(r"127\.0\.0\.1:8000(/[\w/]+)", code)
    assert path
    with Catalog(RetrievalSettings(home=tmp_path, device="cpu")) as catalog:
        assert path[1] in {route.path for route in create_app(ServiceSettings(), catalog).routes}


@pytest.fixture
def ready_server() -> Iterator[HTTPServer]:
    class Ready(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == self.server.good_path else 503)  # type: ignore[attr-defined]
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Ready)
    server.good_path = "/readyz"  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_health_check_of_the_index_succeeds_only_when_it_is_ready(ready_server: HTTPServer) -> None:
    program, *arguments = healthcheck("qdrant")

    def succeeds(port: int) -> bool:
        words = [word.replace("/6333;", f"/{port};") for word in arguments]
        return subprocess.run([program, *words], capture_output=True, timeout=10).returncode == 0

    assert succeeds(ready_server.server_port)
    ready_server.good_path = "/elsewhere"  # type: ignore[attr-defined]
    assert not succeeds(ready_server.server_port)
    assert not succeeds(9)


def compose_client() -> list[str] | None:
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return ["docker", "compose"]
    return None


@pytest.mark.skipif(compose_client() is None, reason="needs the docker compose client")
def test_compose_accepts_its_files() -> None:
    client = compose_client()
    assert client
    for files in (["docker-compose.yml"], ["docker-compose.yml", "docker-compose.gpu.yml"]):
        words = [word for file in files for word in ("--file", file)]
        environment = {"PATH": "/usr/bin:/bin:/usr/local/bin", "CXR_INDEX_API_KEY": "key"}
        subprocess.run([*client, *words, "config", "--quiet"], cwd=ROOT, env=environment, check=True)
