"""No command sends data: strace records every connection, name look-up and new file of whole commands.

The tests also find libraries that send telemetry, store a device id, or write a cache into the home of the user.
"""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from retrieval.no_telemetry import OPT_OUTS
from tests.exporters.finetune_studies import OPEN_CLIP
from tests.privacy.trace import Traced, read_trace, traced_command

pytestmark = pytest.mark.real

ROOT = Path(__file__).parents[2]
MODEL = "phantom-clip"
# onnxruntime 1.32 looked up the address of its vendor 3 to 12 s after the start of a session.
_SERVED_AT_LEAST_S = 15.0
_PYTHON_API = (
    "from retrieval import Query, open_retriever\n"
    f"with open_retriever(model={MODEL!r}) as retriever:\n"
    "    assert retriever.search(Query(text='effusion', k=3)).hits\n"
)


class Machine:
    """Folders and environment of the traced commands: an empty user home, a temporary folder, a folder for output."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.user, self.cxr, self.out, self.tmp = (folder / name for name in ("user", "cxr", "out", "tmp"))
        for each in (self.user, self.out, self.tmp):
            each.mkdir()
        self.traces: dict[str, Path] = {}
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in OPT_OUTS and not name.startswith(("CXR_", "HF_", "XDG_", "MPL", "PYTHON", "FONTCONFIG"))
        }
        self.environment = kept | {
            "HOME": str(self.user),
            "TMPDIR": str(self.tmp),
            "CXR_HOME": str(self.cxr),
            "CXR_DEVICE": "cpu",
            "CXR_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",  # otherwise Python writes bytecode beside its modules
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(ROOT),
        }

    def start(self, name: str, *command: str, **variables: str) -> subprocess.Popen[str]:
        self.traces[name] = self.folder / "traces" / name
        return subprocess.Popen(
            traced_command([sys.executable, *command], self.traces[name]),
            env=self.environment | variables,
            cwd=self.out,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, name: str, *arguments: str) -> None:
        process = self.start(name, "-m", "cxr", *arguments)
        output, _ = process.communicate(timeout=300)
        assert process.returncode == 0, f"{name}: {output[-3000:]}"

    def result(self, name: str) -> Traced:
        return read_trace(self.traces[name], self.out)


def write_splits(archive: Path, path: Path) -> None:
    with (archive / "reports.csv").open() as file:
        uids = [row["uid"] for row in csv.DictReader(file)]
    with path.open("w") as file:
        rows = csv.writer(file)
        rows.writerow(("uid", "split"))
        rows.writerows((uid, "val" if number % 4 == 0 else "train") for number, uid in enumerate(uids))


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine after every command has run."""
    machine = Machine(tmp_path_factory.mktemp("machine"))
    machine.run("demo", "demo", "--no-serve", "--studies", "24", "--json")
    (archive,) = (machine.cxr / "phantoms").iterdir()
    table = [f"--{name}-csv={archive / name}.csv" for name in ("reports", "projections")]
    images = f"--images-dir={archive / 'images'}"
    machine.run("ingest", "ingest", "--model", MODEL, "--dataset", "again", "--images-dir", str(archive / "images"))
    machine.run("search", "search", "--model", MODEL, "--image", str(next((archive / "images").iterdir())), "--json")
    machine.run("evaluate", "evaluate", "--model", MODEL, "--out", "evaluation", "--resamples", "100", "--json")
    api = machine.start("api", "-c", _PYTHON_API)
    output, _ = api.communicate(timeout=120)
    assert api.returncode == 0, output
    write_splits(archive, machine.out / "splits.csv")
    config = {"architecture": OPEN_CLIP, "batch_size": 8, "precision": "fp32", "device": "cpu", "epochs": 1}
    (machine.out / "tiny.json").write_text(json.dumps(config))
    service = machine.start("serve", "-m", "cxr", "serve", "--port", "0", "--model", MODEL)
    started = time.monotonic()
    try:
        assert service.stdout is not None
        address = next(found[0] for line in service.stdout if (found := re.search(r"http://127\.0\.0\.1:\d+", line)))
        body = json.dumps({"text": "effusion", "k": 3}).encode()
        request = urllib.request.Request(
            f"{address}/v1/search/text", data=body, headers={"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert json.load(answer)["hits"]
        # These commands do not open the index, which the service has locked.
        options = [*table, images, "--splits-csv=splits.csv", "--config=tiny.json", "--out=checkpoint", "--json"]
        machine.run("finetune", "finetune", *options)
        machine.run(
            "export",
            "export",
            "mine",
            "--checkpoint",
            "checkpoint",
            "--licence",
            "own",
            "--sample-images",
            "12",
            "--json",
        )
        time.sleep(max(0.0, _SERVED_AT_LEAST_S - (time.monotonic() - started)))
    finally:
        service.send_signal(signal.SIGTERM)
        for child in children_of(service.pid):
            os.kill(child, signal.SIGTERM)
        service.communicate(timeout=60)
    return machine


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


COMMANDS = ("demo", "ingest", "search", "evaluate", "api", "finetune", "export", "serve")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_connects_only_to_this_machine_and_contacts_no_name_server(name: str, machine: Machine) -> None:
    assert not machine.result(name).connections


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_writes_only_into_its_home_and_its_output_folder(name: str, machine: Machine) -> None:
    traced = machine.result(name)
    assert traced.new_files, "the trace is empty"
    assert not traced.outside(machine.cxr, machine.tmp, machine.out)


def test_the_home_of_the_user_stays_empty(machine: Machine) -> None:
    assert not list(machine.user.rglob("*"))


def test_the_trace_shows_connections_look_ups_and_files(tmp_path: Path) -> None:
    script = (
        "import os, socket, threading\n"
        "def visit():\n"
        "    for kind, family, host in ((2, 2, '192.0.2.7'), (2, 10, '2001:db8::7'), (2, 2, '127.0.0.1')):\n"
        "        with socket.socket(family, kind) as s:\n"
        "            try: s.connect((host, 4433))\n"  # a datagram socket sends nothing here
        "            except OSError: pass\n"
        "    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s: s.connect(('127.0.0.53', 53))\n"
        "thread = threading.Thread(target=visit); thread.start(); thread.join()\n"
        "if os.fork() == 0: os.mkdir('sub'); os.rename('sub', 'moved'); open('plain', 'w'); os.symlink('plain', 'link')\n"
        "else: os.wait()\n"
    )
    done = subprocess.run(traced_command([sys.executable, "-c", script], tmp_path / "t"), cwd=tmp_path, timeout=60)
    assert done.returncode == 0
    traced = read_trace(tmp_path / "t", tmp_path)
    assert {line.split()[1] for line in traced.connections} == {"192.0.2.7", "2001:db8::7", "127.0.0.53"}
    assert {path.name for path in traced.outside(tmp_path / "other")} == {"sub", "moved", "plain", "link"}
    assert not traced.outside(tmp_path)
