"""Programs for tests with the marker `real`: finds or installs them, or skips the test with the reason."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import pytest


def require_program(name: str, *, package: str | None = None) -> str:
    """Path of the program `name`; skips the test if it is not available.

    `make test-real` installs it when run as root on a system with apt. `package` is the name of its package, if different.
    """
    path = shutil.which(name)
    if path is None and os.environ.get("CXR_TEST_INSTALL") == "1":
        reason = _install(package or name)
        path = shutil.which(name)
    else:
        reason = "`make test-real` installs it"
    if path is None:
        pytest.skip(f"the program {name} is not installed: {reason}")
    return path


@functools.cache
def _install(package: str) -> str:
    """Install a system package. Returns the reason if that fails, otherwise ""."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        return f"install the package {package} of your system, or run as root on Debian"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-y", "-qq", package]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            return f"{' '.join(command)} failed: {done.stderr.strip()[-200:]}"
    return ""
