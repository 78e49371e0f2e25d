"""Peak memory of `cxr ingest`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measured_archives import Archive, indiana_files, write_archive

MEMORY_MODEL = "phantom-siglip"
MEMORY_SIZES = (1000, 6677)


def measure_memory() -> dict[str, Any]:
    """Peak memory of `cxr ingest` on the first images of the Indiana collection, by number of images."""
    files = indiana_files()
    if files is None:
        return {"skipped": "the Indiana collection is not here"}
    found: dict[str, Any] = {"model": MEMORY_MODEL}
    for images in MEMORY_SIZES:
        with tempfile.TemporaryDirectory() as folder:
            archive = write_archive("indiana", Path(folder) / "archive", images)
            found[str(images)] = ingest_apart(archive, Path(folder))
    return found


def ingest_apart(archive: Archive, home: Path) -> dict[str, Any]:
    """Peak memory of a separate `cxr ingest` in MB, in all and without mapped files."""
    options = [word for name, value in archive.spec.options.items() for word in (f"--{name.replace('_', '-')}", value)]
    command = [
        sys.executable,
        "-c",
        "from cxr.main import main; main()",
        "ingest",
        "--model",
        MEMORY_MODEL,
        "--json",
        *options,
    ]
    environment = os.environ | {"CXR_HOME": str(home)}
    with (home / "summary.json").open("w+") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.DEVNULL)
        anonymous = peak = 0
        while process.poll() is None:
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            anonymous = max(anonymous, int(fields.get("RssAnon", "0 kB").split()[0]))
            peak = max(peak, int(fields.get("VmHWM", "0 kB").split()[0]))
            time.sleep(0.05)
        out.seek(0)
        summary = json.load(out)
    return {
        "indexed": summary["indexed"],
        "images_per_s": summary["images_per_second"],
        "peak_mb": round(peak / 1000),
        "peak_not_files_mb": round(anonymous / 1000),
        "stages_s": summary["stages_s"],
    }
