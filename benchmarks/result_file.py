"""Writes measurements to `benchmarks/results`, with the machine and the versions."""

from __future__ import annotations

import json
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "qdrant-client", "qdrant-edge-py", "torch", "transformers")


def write_result(name: str, figures: dict[str, Any]) -> Path:
    """Write `figures` with command, machine and versions to `benchmarks/results/<name>.json`, and print them."""
    document = {"command": " ".join(["python -m", _module(), *sys.argv[1:]]), **figures, "machine": describe_machine()}
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    text = json.dumps(document, indent=2) + "\n"
    path.write_text(text, encoding="utf-8")
    print(text)
    return path


def describe_machine() -> dict[str, Any]:
    """Processor, cores, Python, package versions and the time."""
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _cpu() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else sys.argv[0]
