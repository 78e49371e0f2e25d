"""Runs a command as a person does, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path


def run(*arguments, home: Path, code: int = 0):
    """The JSON document of a command with `--json`, else its finished process; it must exit with `code`."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CXR_")} | {
        "CXR_HOME": str(home)
    }
    command = [sys.executable, "-c", "from cxr.main import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done
