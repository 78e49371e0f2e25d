"""Writing model bundles, see `retrieval.model.bundle`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from retrieval.atomic_files import replace_folder
from retrieval.errors import BundleError
from retrieval.file_permissions import make_private_folder
from retrieval.model.bundle import MANIFEST, Manifest, sha256_of


@contextmanager
def write_bundle(target: Path) -> Iterator[Path]:
    """A temporary folder that replaces `target` when the block ends, and is removed if the block raises.

    The caller writes the files, and the manifest last (`write_manifest`). An existing bundle is replaced as a whole. Folders
    that killed processes left are removed.

    Raises:
        BundleError: the block wrote no manifest.
    """
    if not target.parent.is_dir():
        make_private_folder(target.parent)
        target.parent.chmod(0o755)
    with replace_folder(target) as draft:
        yield draft
        if not (draft / MANIFEST).is_file():
            raise BundleError(f"no {MANIFEST} was written for {target}")
        # A bundle holds nothing secret, and other users may read it, such as a container.
        for path in (draft, *draft.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


def write_manifest(folder: Path, fields: dict[str, Any]) -> Manifest:
    """Write the manifest of the files in `folder`; `fields` are those of `Manifest` without `files`, which is computed."""
    files = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    manifest = Manifest(**fields, files=files)
    pretty = json.dumps(msgspec.to_builtins(manifest), indent=2) + "\n"
    (folder / MANIFEST).write_text(pretty, encoding="utf-8")
    return manifest
