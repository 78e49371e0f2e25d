"""Only the owner can read patient data of the program, whatever the umask."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from archives.dicom.pseudonyms import load_salt
from archives.indiana import IndianaSource
from ingest.doctor.permissions import permission_problems
from ingest.snapshot import create_snapshot
from ingest.worker import Worker
from retrieval.catalog import Catalog
from retrieval.file_permissions import make_private_folder, restrict_home
from retrieval.index.edge.index import EdgeIndex
from retrieval.model.bundle import ModelBundle
from retrieval.model.encoder import Encoder
from retrieval.settings import RetrievalSettings
from service.access.keys import KeyFile
from tests.conftest import write_tiny_bundle

pytestmark = pytest.mark.skipif(os.name != "posix", reason="permissions are no modes here")
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def open_to_others(folder: Path) -> list[Path]:
    """Files that another user could read, by their mode and the modes of all folders above them."""
    if folder.is_file():
        return [folder] if folder.stat().st_mode & 0o077 else []
    if not folder.stat().st_mode & 0o011:
        return []
    return [found for path in folder.iterdir() for found in open_to_others(path)]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def fill(home: Path, index_folder: Path, archive: dict[str, Path]) -> None:
    bundle = write_tiny_bundle(home / "models", "tiny-a", seed=0)
    index = EdgeIndex(index_folder)
    Worker(Encoder(bundle, device="cpu", threads=1), index, home=home, media_dir=home / "media").run(
        IndianaSource(**archive)
    )
    create_snapshot(index.open("cxr_tiny-a"), home.parent / "copy.zip")
    index.close()
    load_salt(home)
    KeyFile(home).create("ward-3", ("read",))


def test_a_new_home_is_private_whatever_the_umask(archive, tmp_path, umask):
    home = tmp_path / "new" / "home"
    fill(home, home / "index", archive)
    assert mode(home) == 0o700
    assert not open_to_others(home)
    assert mode(home.parent / "copy.zip") == 0o600
    assert not permission_problems(home)


def test_an_index_elsewhere_and_the_entries_of_a_shared_home_are_private(archive, tmp_path, umask):
    shared, elsewhere = tmp_path / "shared", tmp_path / "elsewhere"
    for folder in (shared, elsewhere):
        folder.mkdir()
        folder.chmod(0o777)
    (shared / "notes.txt").write_text("of somebody else")
    fill(shared, elsewhere, archive)
    assert mode(shared) == mode(elsewhere) == 0o777
    secret = [path for path in open_to_others(shared) if "models" not in path.parts and path.name != "notes.txt"]
    assert all(path.name == ".keys.json.lock" for path in secret)
    assert not [path for path in open_to_others(elsewhere) if not path.name.endswith(".lock")]


def old_home(home: Path) -> Path:
    """A home of an earlier version, made under umask 022."""
    for path in (home, *home.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return home


def test_an_old_home_is_corrected_once_with_a_message(tiny_home, monkeypatch, capsys, caplog):
    shutil.rmtree(tiny_home / "archive")
    assert open_to_others(old_home(tiny_home))
    from cxr.settings import read_settings

    read_settings()
    assert f"other users of this machine could read {tiny_home}" in capsys.readouterr().err
    assert mode(tiny_home) == 0o700
    assert not open_to_others(tiny_home)
    read_settings()
    assert not capsys.readouterr().err
    old_home(tiny_home)
    Catalog(RetrievalSettings(home=tiny_home)).close()
    assert "could read" in caplog.text
    assert not open_to_others(tiny_home)


def test_a_shared_folder_keeps_its_permissions_and_our_entries_are_restricted(tiny_home):
    old_home(tiny_home)  # it holds `archive`, which the program did not put there
    changed = {path.name for path in restrict_home(tiny_home)}
    assert changed == {"index", "media"}
    assert mode(tiny_home) == 0o755
    assert mode(tiny_home / "archive") == mode(tiny_home / "models") == 0o755
    assert not restrict_home(tiny_home)


@pytest.mark.parametrize(("mode", "is_told"), [(0o777, True), (0o775, True), (0o755, False), (0o1777, False)])
def test_a_shared_folder_in_which_others_can_replace_the_keys_is_reported(mode, is_told, tmp_path):
    KeyFile(tmp_path).create("ward-3", ("read",))
    (tmp_path / "notes.txt").write_text("of somebody else")
    tmp_path.chmod(mode)
    assert any("chmod go-w" in problem for problem in permission_problems(tmp_path)) is is_told


@pytest.mark.parametrize("name", ["HOME", "sticky", "missing"])
def test_folders_of_other_programs_are_not_changed(name, tmp_path, monkeypatch):
    folder = tmp_path / name
    if name != "missing":
        folder.mkdir()
        folder.chmod(0o1777 if name == "sticky" else 0o755)
    if name == "HOME":
        monkeypatch.setenv("HOME", str(folder))
    assert not restrict_home(folder)
    assert folder.exists() == (name != "missing")
    assert name == "missing" or mode(folder) in (0o1777, 0o755)


def test_the_target_of_a_link_out_of_the_home_is_restricted(tmp_path):
    home, bulk = tmp_path / "home", tmp_path / "bulk"
    make_private_folder(home)
    (bulk / "media").mkdir(parents=True)
    bulk.chmod(0o755)
    (bulk / "media").chmod(0o755)
    (home / "media").symlink_to(bulk / "media")
    assert len(permission_problems(home)) == 1
    assert restrict_home(home)
    assert mode(bulk / "media") == 0o700
    assert mode(bulk) == 0o755


def test_a_read_only_or_foreign_home_is_reported_without_an_error(tmp_path, monkeypatch):
    home = tmp_path / "home"
    make_private_folder(home / "index")
    home.chmod(0o755)
    monkeypatch.setattr(Path, "chmod", lambda *_: (_ for _ in ()).throw(PermissionError("not yours")))
    assert not restrict_home(home)
    assert "chmod go=" in permission_problems(home)[0]
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert any("belongs to user" in problem for problem in permission_problems(home))


def cxr(home: Path, *arguments: str, umask: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cxr", *arguments],
        env=os.environ | {"CXR_HOME": str(home), "CXR_DEVICE": "cpu"},
        preexec_fn=lambda: os.umask(umask),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_doctor_names_a_home_that_others_can_read_and_every_other_command_corrects_it(tiny_home):
    shutil.rmtree(tiny_home / "archive")
    old_home(tiny_home)
    sick = cxr(tiny_home, "doctor", "--json", umask=0o022)
    assert sick.returncode == 3
    document = json.loads(sick.stdout)
    assert not document["healthy"]
    assert str(tiny_home) in document["home"]["problems"][0]
    assert mode(tiny_home) == 0o755
    listed = cxr(tiny_home, "models", "--json", umask=0o022)
    assert listed.returncode == 0
    assert "restricted to its owner" in listed.stderr
    json.loads(listed.stdout)
    assert json.loads(cxr(tiny_home, "doctor", "--json", umask=0o022).stdout)["home"]["problems"] == []


def test_a_bundle_stays_readable_for_a_container_that_it_is_copied_to(tmp_path):
    before = os.umask(0o077)
    try:
        bundle: ModelBundle = write_tiny_bundle(tmp_path / "home" / "models", "tiny-a", seed=0)
    finally:
        os.umask(before)
    assert mode(tmp_path / "home") == 0o700
    assert {mode(path) for path in (bundle.folder, bundle.folder.parent)} == {0o755}
    assert {mode(path) for path in bundle.folder.iterdir()} == {0o644}
