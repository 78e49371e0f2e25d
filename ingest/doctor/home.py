"""Checks of a home as a whole: leftovers of killed commands, and files that cannot be read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from archives.dicom.pseudonyms import load_salt
from ingest.doctor.checks import CheckResult, Level
from ingest.sqlite import open_readonly
from retrieval.atomic_files import find_abandoned_drafts
from retrieval.errors import AliasDamaged, BundleError, InvalidRequest, RetrievalError
from retrieval.index.interface import Index
from retrieval.index_address import is_server, is_unencrypted, server_urls
from retrieval.model.bundle import find_bundle, installed_bundles
from retrieval.search.saved_presets import read_preset
from retrieval.settings import RetrievalSettings

_DATABASES = ("experiments.sqlite",)


def check_home(settings: RetrievalSettings, index: Index) -> list[CheckResult]:
    """The results of the checks of the home of `settings`, without its collections."""
    return [
        *_check_key(settings),
        _check_leftovers(settings),
        _check_active(index),
        _check_bundles(settings.models_dir, {*index.collections(), *index.damaged()}),
        _check_files(settings.home),
    ]


def _check_key(settings: RetrievalSettings) -> list[CheckResult]:
    """A note if the key of a server on another machine is sent without TLS."""
    if not is_server(settings.index_location) or settings.index_api_key is None:
        return []
    open_nodes = [url for url in server_urls(settings.index_location) if is_unencrypted(url)]
    message = f"CXR_INDEX_API_KEY goes over plain HTTP to {', '.join(open_nodes)}: others can read it; use https://"
    return [CheckResult("server key", "note", message)] if open_nodes else []


def _check_leftovers(settings: RetrievalSettings) -> CheckResult:
    folders = [settings.home]
    if "://" not in settings.index_location:
        folders.append(Path(settings.index_location))
    left = find_abandoned_drafts(folders, settings.drafts_dir)
    message = (
        f"killed commands left {', '.join(map(str, left))}. These may contain reports. Run the commands again, which "
        "removes them, or delete them"
    )
    return _result("leftovers", message if left else "", "none")


def _check_active(index: Index) -> CheckResult:
    try:
        active = index.active()
    except AliasDamaged as error:
        return CheckResult("active model", "problem", str(error))
    if active and active not in {*index.collections(), *index.damaged()}:
        message = f"the active collection {active} does not exist; `cxr use MODEL` activates another one"
        return CheckResult("active model", "problem", message)
    return CheckResult("active model", "ok", active or "none")


def _check_bundles(models_dir: Path, collections: set[str]) -> CheckResult:
    """Check the bundles without a collection; other bundles are checked with their collection."""
    problems = []
    names = [name for name in installed_bundles(models_dir) if f"cxr_{name}" not in collections]
    for name in names:
        try:
            find_bundle(name, models_dir, verify=False)
        except BundleError as error:
            problems.append(str(error))
    return _result("other models", "; ".join(problems), f"{len(names)} installed without a collection")


def _check_files(home: Path) -> CheckResult:
    problems = []
    for path in sorted((home / "presets").glob("*.json")):
        try:
            read_preset(home, path.stem)
        except InvalidRequest as error:
            problems.append(f"{error}; remove it and write it again with `cxr tune --save {path.stem}`")
    for path in (home / name for name in _DATABASES):
        if path.exists() and (damage := _find_damage(path)):
            problems.append(
                f"{path} is damaged: {damage}. Searches still work, without a search_id. Remove it to start again"
            )
    try:
        if (home / "salt").exists():
            load_salt(home)
    except RetrievalError as error:
        problems.append(str(error))
    if (keys := home / "keys.json").exists() and not _is_json_object(keys):
        problems.append(
            f"{keys} is damaged, so the service refuses every request; restore it, or remove all keys with "
            "`cxr keys remove-all`"
        )
    return _result("other files", "; ".join(problems), "readable")


def _is_json_object(path: Path) -> bool:
    try:
        return isinstance(msgspec.json.decode(path.read_bytes()), dict)
    except (OSError, msgspec.MsgspecError, RecursionError):
        return False


def _find_damage(path: Path) -> str:
    try:
        with closing(open_readonly(path)) as database:
            found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return "" if found == "ok" else found


def _result(check: str, problem: str, ok_message: str) -> CheckResult:
    level: Level = "problem" if problem else "ok"
    return CheckResult(check, level, problem or ok_message)
