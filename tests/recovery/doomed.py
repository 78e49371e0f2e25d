"""Runs the command line in processes that are killed at chosen moments.

`python -m tests.recovery.doomed` imports everything once and then forks a process for each line on stdin, so that a run
starts in milliseconds. What runs in the fork is `cxr.main` with the arguments of a real command; the process is slowed
down, and at the chosen moment it kills itself with SIGKILL, or says that the moment has come and goes on.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Moment:
    """The `call`-th call (from 1) of `target`, a name like `ingest.ledger:Ledger.record`.

    `during` kills `delay_ms` after the call began, wherever the process is by then; `outside` lets the test do that.
    """

    target: str
    when: Literal["before", "during", "after", "outside"] = "before"
    call: int = 1
    delay_ms: float = 0.0


class Driver:
    """The process that forks; every run writes what it prints to `log`, and uses `cores` cores, 0 for all."""

    def __init__(self, log: Path, *, slow_ms: float, cores: int = 0) -> None:
        self.log = log
        self._slow_ms = slow_ms
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.recovery.doomed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parents[2],
        )
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, sorted(os.sched_getaffinity(0))[:cores])

    def run(self, arguments: list[str], environment: dict[str, str], moment: Moment | None = None) -> int:
        """Run one command; gives its exit code, or the negative number of the signal that ended it."""
        assert self._process.stdin
        job = {
            "arguments": arguments,
            "environment": environment,
            "moment": moment and asdict(moment),
            "log": str(self.log),
            "slow_ms": self._slow_ms if moment else 0.0,
        }
        self._process.stdin.write(json.dumps(job) + "\n")
        pid = int(self._expect("pid"))
        if moment and moment.when == "outside":
            self._expect("reached")
            time.sleep(moment.delay_ms / 1000)
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(int(self._expect("status")))

    def _expect(self, word: str) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().split()
        assert line, f"the driver has ended; {self.log} may say why"
        assert line[0] == word, f"expected {word}, found {line}: the job was over before its moment came"
        return line[1]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def driving(log: Path, *, slow_ms: float, cores: int = 0) -> Iterator[Driver]:
    """A driver, until the end of the block."""
    driver = Driver(log, slow_ms=slow_ms, cores=cores)
    try:
        yield driver
    finally:
        driver.close()


def somewhere(rng: random.Random, target: str, longest_ms: float, *, outside: bool = False) -> Moment:
    """A random moment within `longest_ms` of the first or second call of `target`."""
    return Moment(target, "outside" if outside else "during", rng.randint(1, 2), round(rng.uniform(0, longest_ms), 2))


def _serve() -> None:
    for module in (
        "cxr",
        "ingest.worker",
        "archives.indiana",
        "pandas",
        "onnxruntime",
        "retrieval.model.encoder",
        "rich.progress",
    ):
        importlib.import_module(module)
    for module in ("retrieval.index.edge.index", "retrieval.index.server.index", "retrieval.imaging.dicom.image"):
        importlib.import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _run(json.loads(line))
        _tell("pid", child)
        _tell("status", os.waitpid(child, 0)[1])


def _tell(word: str, number: int) -> None:
    os.write(1, f"{word} {number}\n".encode())


def _run(job: dict[str, Any]) -> None:
    """What happens in the fork; does not return."""
    import cxr.main

    code = 70
    try:
        os.environ.update(job["environment"])
        answers = os.dup(1)
        log = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if job["moment"]:
            _arm(Moment(**job["moment"]), answers)
        _slow_down(job["slow_ms"])
        sys.argv = ["cxr", *job["arguments"]]
        cxr.main.main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _arm(moment: Moment, answers: int) -> None:
    calls = count(1)

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*values: Any, **named: Any) -> Any:
            if moment.when == "after":  # of the calls that succeed
                result = original(*values, **named)
                if next(calls) == moment.call:
                    _die()
                return result
            if next(calls) != moment.call:
                return original(*values, **named)
            if moment.when == "before":
                _die()
            if moment.when == "outside":
                os.write(answers, b"reached 0\n")
            if moment.when == "during":
                threading.Timer(moment.delay_ms / 1000, _die).start()
            return original(*values, **named)

        return wrapped

    _wrap(moment.target, wrap)


def _slow_down(slow_ms: float) -> None:
    """Make each batch take a while, so that a job cannot be over before its moment comes."""

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*values: Any, **named: Any) -> Any:
            time.sleep(slow_ms / 1000)
            return original(*values, **named)

        return wrapped

    if slow_ms:
        _wrap("ingest.ledger:Ledger.texts", wrap)


def _wrap(target: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, wrap(getattr(owner, name)))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _serve()
