"""Runs the blocks of a Markdown page as printed: one shell, an empty folder, an empty home."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import portalocker

from tests.docs.markdown import Block

HEALTH = "http://127.0.0.1:8000/health/live"
"""Where the service of a guide answers: guides print the default port."""
_START_S = 120
_BLOCK_S = 900


class PageFailed(AssertionError):
    """A block of a page did not end as the page says."""


def run_page(blocks: Sequence[Block], folder: Path, *, path: Sequence[Path] = ()) -> list[Block]:
    """Run the blocks in order in `folder` and return those left out because of what they need.

    All blocks share one shell, so exported variables last. Python blocks run with the interpreter on the path. `path` are
    folders in front of the search path.

    Raises:
        PageFailed: a block ended with another exit code than the page says; the message holds its output.
    """
    left_out = [block for block in blocks if block.needs]
    todo = [block for block in blocks if not block.needs and block.language in ("bash", "python")]
    with service_port(any(block.is_background for block in todo)):
        shell = _Shell(folder, path)
        try:
            for block in todo:
                shell.run(block)
        finally:
            shell.end()
    return left_out


class _Shell:
    """A bash that runs one block after another and tells the exit code of each."""

    def __init__(self, folder: Path, path: Sequence[Path]) -> None:
        home = folder / "home"
        home.mkdir(parents=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("CXR_", "PYTEST_"))}
        environment |= {
            "HOME": str(home),
            "CXR_HOME": str(home / ".cxr"),
            "PATH": os.pathsep.join([*map(str, path), environment["PATH"]]),
        }
        self._folder = folder
        self._output = folder / "output.txt"
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["bash", "--noprofile", "--norc"],
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, block: Block) -> None:
        """Run one block to its end, or start it in the background."""
        start = self._output.stat().st_size
        text = block.text if block.language == "bash" else f"python - <<'END_OF_BLOCK'\n{block.text}\nEND_OF_BLOCK\n"
        if block.is_background:
            self._send(f"{text.strip()} < /dev/null &")
            self._wait_for_service(block)
            return
        script = self._folder / f"block-{block.line}.sh"
        script.write_text(text)
        code = self._folder / f"block-{block.line}.code"
        here, there = shlex.quote(str(script)), shlex.quote(str(code))
        if block.exit_code:  # in a shell of its own, which may end
            self._send(f"( set -e; . {here} ) < /dev/null; echo $? > {there}")
        else:  # variables stay for the next block; a failure ends the shell and writes its code
            self._send(
                f"trap 'echo $? > {there}' EXIT; set -e; . {here} < /dev/null; set +e; trap - EXIT; echo 0 > {there}"
            )
        deadline = time.monotonic() + _BLOCK_S
        while not (code.is_file() and code.read_text().strip()):
            if time.monotonic() > deadline:
                raise PageFailed(f"line {block.line} did not end within {_BLOCK_S} s:\n{text}{self._since(start)}")
            time.sleep(0.05)
        ended = int(code.read_text())
        if ended != block.exit_code:
            raise PageFailed(
                f"line {block.line} ended with {ended}, expected {block.exit_code}:\n{text}{self._since(start)}"
            )

    def end(self) -> None:
        """End the shell and the services that it started: those of its process group, and no others."""
        for number, patience_s in ((signal.SIGTERM, 12.0), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + patience_s
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
                while time.monotonic() < deadline:
                    self._process.poll()
                    os.killpg(self._process.pid, 0)
                    time.sleep(0.1)
                continue
            break
        self._process.communicate(timeout=5)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()

    def _since(self, start: int) -> str:
        return "--- output ---\n" + self._output.read_bytes()[start:].decode(errors="replace")[-6000:]

    def _wait_for_service(self, block: Block) -> None:
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(HEALTH, timeout=2):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise PageFailed(f"line {block.line}: no service within {_START_S} s:\n{self._since(0)}")


@contextlib.contextmanager
def service_port(is_needed: bool) -> Iterator[None]:
    """Keep port 8000 for one page at a time, since guides print it and tests may run in parallel.

    Raises:
        PageFailed: another program has it.
    """
    if not is_needed:
        yield
        return
    with portalocker.Lock(Path(tempfile.gettempdir()) / "cxr-guides-port-8000.lock", timeout=3600):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", 8000)) == 0:
                raise PageFailed("port 8000 is taken by another program; stop it and run the test again")
        yield
