"""Runs commands of `cxr` in processes that are killed at chosen points.

`python -m tests.recovery.kill_driver MODULE...` imports the program once. Then it forks one process for each line on stdin,
so a command and its decoding processes start in milliseconds. The forked process runs `cxr.main` with the arguments of a
real command. At the kill point it sends SIGKILL to itself, or it reports the point to the test, which kills it from outside.
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
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

from PIL import Image

import cxr.main
from ingest.labels.study import label_study
from tests.forked_decoders import forked_decoders

_COMMANDS = ("ingest", "models", "use", "drop", "push", "snapshot", "doctor")
_PRELOADED = (
    *(cxr.main.COMMANDS[name].module for name in _COMMANDS),
    "cxr.settings",
    "ingest.worker",
    "archives.indiana",
    "onnxruntime",
    "retrieval.model.encoder",
    "retrieval.index.edge.index",
    "retrieval.imaging.dicom.image",
    "rich.progress",
)
SERVER_ENGINE = "retrieval.index.server.index"
_ONCE_PER_BATCH = "ingest.ledger:Ledger.texts"


@dataclass(frozen=True)
class KillPoint:
    """A point in a command: the `call`-th call (from 1) of `target`, for example `ingest.ledger:Ledger.record`.

    `before` and `after` kill the process when the call starts, or when it has succeeded. `during` kills it `delay_ms`
    after the call started. With `external`, the test kills it `delay_ms` after the call started.

    Raises:
        ValueError: `target` does not name a function, for example since it was renamed.
    """

    target: str
    when: Literal["before", "during", "after", "external"] = "before"
    call: int = 1
    delay_ms: float = 0.0

    def __post_init__(self) -> None:
        _find_function(self.target)


class Driver:
    """The process that forks, with `modules` loaded. Commands write their output to `log` and use `cores` cores (0: all).

    With a kill point, each batch takes `slow_ms` longer, so that the command does not end before the point.
    """

    def __init__(self, log: Path, *, slow_ms: float, cores: int = 0, modules: Sequence[str] = ()) -> None:
        _find_function(_ONCE_PER_BATCH)
        self.log = log
        self._slow_ms = slow_ms
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.recovery.kill_driver", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parents[2],
        )
        if cores and hasattr(os, "sched_setaffinity"):
            os.sched_setaffinity(self._process.pid, sorted(os.sched_getaffinity(0))[:cores])

    def run(
        self,
        arguments: list[str],
        environment: Mapping[str, str | None],
        kill_point: KillPoint | None = None,
        *,
        output: Path | None = None,
        errors: Path | None = None,
    ) -> int:
        """Run one command. Returns its exit code, or the negative number of the signal that ended it.

        `environment` changes that of the driver; None removes a variable. `output` and `errors` replace the log.
        """
        assert self._process.stdin
        request = {
            "arguments": arguments,
            "environment": dict(environment),
            "kill_point": kill_point and asdict(kill_point),
            "output": str(output or self.log),
            "errors": str(errors or self.log),
            "slow_ms": self._slow_ms if kill_point else 0.0,
        }
        self._process.stdin.write(json.dumps(request) + "\n")
        pid = int(self._expect("pid"))
        if kill_point and kill_point.when == "external":
            self._expect("reached")
            time.sleep(kill_point.delay_ms / 1000)
            os.kill(pid, signal.SIGKILL)
        return os.waitstatus_to_exitcode(int(self._expect("status")))

    def _expect(self, word: str) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().split()
        assert line, f"the driver ended; see its log {self.log}"
        assert line[0] == word, f"expected {word}, found {line}: the command ended before its kill point"
        return line[1]

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


@contextmanager
def start_driver(log: Path, *, slow_ms: float, cores: int = 0, modules: Sequence[str] = ()) -> Iterator[Driver]:
    """A driver that runs until the end of the block."""
    driver = Driver(log, slow_ms=slow_ms, cores=cores, modules=modules)
    try:
        yield driver
    finally:
        driver.close()


def random_kill_point(rng: random.Random, target: str, max_delay_ms: float, *, external: bool = False) -> KillPoint:
    """A random point at most `max_delay_ms` after the start of the first or second call of `target`."""
    when: Literal["during", "external"] = "external" if external else "during"
    return KillPoint(target, when, rng.randint(1, 2), round(rng.uniform(0, max_delay_ms), 2))


def _serve() -> None:
    for module in (*_PRELOADED, *sys.argv[1:]):
        importlib.import_module(module)
    Image.init()
    # Compiles the rules, and loads the detector of languages.
    for text in ("Small effusion.", "Pleuraerguss links"):
        label_study("", "", text, "")
    with forked_decoders():
        for line in sys.stdin:
            child = os.fork()
            if child == 0:
                _run_command(json.loads(line))
            _report("pid", child)
            _report("status", os.waitpid(child, 0)[1])


def _report(word: str, number: int, descriptor: int = 1) -> None:
    os.write(descriptor, f"{word} {number}\n".encode())


def _run_command(request: dict[str, Any]) -> None:
    """Run the command in the forked process; does not return."""
    code = 70
    try:
        for name, value in request["environment"].items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        reports = os.dup(1)
        for descriptor, path in ((1, request["output"]), (2, request["errors"])):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if request["kill_point"]:
            _install(KillPoint(**request["kill_point"]), reports)
        if request["slow_ms"]:
            _slow_down_batches(request["slow_ms"])
        sys.argv = ["cxr", *request["arguments"]]
        cxr.main.main()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _install(point: KillPoint, reports: int) -> None:
    calls = count(1)

    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*values: Any, **named: Any) -> Any:
            if point.when == "after":  # counts only calls that succeed
                result = original(*values, **named)
                if next(calls) == point.call:
                    _kill_this_process()
                return result
            if next(calls) != point.call:
                return original(*values, **named)
            if point.when == "before":
                _kill_this_process()
            if point.when == "external":
                _report("reached", 0, reports)
            if point.when == "during":
                threading.Timer(point.delay_ms / 1000, _kill_this_process).start()
            return original(*values, **named)

        return wrapped

    _replace_function(point.target, wrap)


def _slow_down_batches(slow_ms: float) -> None:
    def wrap(original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*values: Any, **named: Any) -> Any:
            time.sleep(slow_ms / 1000)
            return original(*values, **named)

        return wrapped

    _replace_function(_ONCE_PER_BATCH, wrap)


def _replace_function(target: str, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    owner, name = _find_function(target)
    setattr(owner, name, wrap(getattr(owner, name)))


def _find_function(target: str) -> tuple[Any, str]:
    """The module or class that holds the function `target`, and the function's name there."""
    module, _, path = target.partition(":")
    *parents, name = path.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for parent in parents:
            owner = getattr(owner, parent)
        found = getattr(owner, name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"kill point `{target}` not found ({error}). If it was renamed, change the test.") from error
    if not callable(found):
        raise ValueError(f"kill point `{target}` is no function")
    return owner, name


def _kill_this_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    _serve()
