"""Commands on a server, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def cxr(home: Path, index: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")}
    return subprocess.run(
        [sys.executable, "-m", "cxr", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=kept | {"CXR_HOME": str(home), "CXR_INDEX": index, "CXR_DEVICE": "cpu"} | environment,
        timeout=120,
        check=False,
    )


def ingest_options(archive: dict[str, Path]) -> list[object]:
    paths = [text for name, path in archive.items() for text in (f"--{name.replace('_', '-')}", path)]
    return ["ingest", "--model", "tiny", "--batch-size", "4", *paths, "--json"]
