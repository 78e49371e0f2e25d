"""Progress of long work on stderr: a bar on a terminal; elsewhere (log file, container, cron) a line every 30 s."""

from __future__ import annotations

import os
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

LINE_INTERVAL_S = 30.0


class ProgressReporter(ABC):
    """Shows the stage that runs, its count, rate and time left. Fits `Progress` and `StageProgress`."""

    @abstractmethod
    def stage(self, title: str, unit: str = "") -> None:
        """Begin the stage `title`; it ends the one before. Counts start again and are in `unit`, such as images."""

    @abstractmethod
    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """Show that `done` of `total` units are done (total 0: not known), with a `detail` such as the loss."""

    @abstractmethod
    def note(self, message: str) -> None:
        """Print a line that stays."""

    @abstractmethod
    def start(self) -> None:
        """Begin to show."""

    @abstractmethod
    def stop(self, *, failed: bool) -> None:
        """End the last stage and stop showing. `failed`: the work ended with an exception."""


@contextmanager
def progress_bar(
    title: str = "", unit: str = "images", *, prefix: str = "", interval_s: float = LINE_INTERVAL_S
) -> Iterator[ProgressReporter]:
    """A reporter on stderr whose first stage is `title`; without a title it waits for the first `stage`.

    The titles of all stages begin with `prefix`. A terminal shows a bar for the current stage. Elsewhere a stage prints a
    line when it begins, every `interval_s` seconds, and when it ends.
    """
    on_terminal = sys.stderr.isatty() and os.environ.get("TERM", "") not in ("dumb", "unknown")
    reporter = _TerminalReporter(prefix) if on_terminal else _LineReporter(prefix, interval_s)
    reporter.start()
    failed = True
    try:
        if title:
            reporter.stage(title, unit)
        yield reporter
        failed = False
    finally:
        reporter.stop(failed=failed)


@dataclass(slots=True)
class _Stage:
    title: str
    unit: str
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    detail: str = ""
    counted: bool = False
    shown_at: float = field(default_factory=time.monotonic)
    shown_done: int = 0

    def count(self, done: int, total: int, detail: str) -> None:
        self.done, self.total, self.detail, self.counted = done, total, detail, True


class _TerminalReporter(ProgressReporter):
    """One bar, that of the current stage; earlier stages leave a line above it."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),  # with a title, counts and time left it fits 80 columns
            _CountColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(),
        )
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._current: tuple[TaskID, _Stage] | None = None

    def start(self) -> None:
        self._bars.start()

    def stage(self, title: str, unit: str = "") -> None:
        if self._current:
            task, ended = self._current
            self.note(_describe_end(ended, failed=False))
            self._bars.remove_task(task)
        stage = _Stage(self._prefix + title, unit)
        self._current = (self._bars.add_task(stage.title, total=None, unit=unit, detail=""), stage)

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        if self._current:
            task, stage = self._current
            stage.count(done, total, detail)
            self._bars.update(task, completed=done, total=total or None, detail=detail)

    def note(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)

    def stop(self, *, failed: bool) -> None:
        if self._current and not failed:
            task, stage = self._current
            if not stage.total:  # the bar would go on moving
                self._bars.update(task, total=stage.done or 1, completed=stage.done or 1)
        self._bars.stop()


class _CountColumn(ProgressColumn):
    """`120/400 images  85 images/s  loss 1.234`, as far as known."""

    def render(self, task: Task) -> Text:
        unit = task.fields.get("unit", "")
        if not unit:
            return Text(task.fields.get("detail", ""))
        count = f"{task.completed:,.0f}/{task.total:,.0f} {unit}" if task.total else f"{task.completed:,.0f} {unit}"
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.{0 if speed >= 10 else 1}f} {unit}/s" if speed else f"- {unit}/s"
        return Text("  ".join(part for part in (count, rate, task.fields.get("detail", "")) if part))


class _LineReporter(ProgressReporter):
    """Prints from a separate thread, so that output continues during a stage that reports nothing."""

    def __init__(self, prefix: str, interval_s: float) -> None:
        self._prefix = prefix
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._stage: _Stage | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stage(self, title: str, unit: str = "") -> None:
        with self._lock:
            self._print_end(failed=False)
            self._stage = _Stage(self._prefix + title, unit)
            _print_line(f"{self._stage.title} …")

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        with self._lock:
            if self._stage:
                self._stage.count(done, total, detail)

    def note(self, message: str) -> None:
        with self._lock:
            _print_line(message)

    def stop(self, *, failed: bool) -> None:
        self._ended.set()
        self._thread.join()
        with self._lock:
            self._print_end(failed=failed)

    def _run(self) -> None:
        while not self._ended.wait(self._interval_s):
            with self._lock:
                if self._stage:
                    _print_line(_describe_running(self._stage))

    def _print_end(self, *, failed: bool) -> None:
        if self._stage:
            _print_line(_describe_end(self._stage, failed=failed))
            self._stage = None


def _describe_running(stage: _Stage) -> str:
    """The line of a running stage; the rate is that since the line before."""
    now = time.monotonic()
    if not stage.counted:
        return f"{stage.title}: {_duration(now - stage.started)} so far"
    parts = [_count(stage)]
    if stage.detail:
        parts.append(stage.detail)
    rate = max(0, stage.done - stage.shown_done) / (now - stage.shown_at) if now > stage.shown_at else 0.0
    parts.append(_rate(rate, stage.unit))
    if rate and stage.total:
        parts.append(f"{_duration((stage.total - stage.done) / rate)} left")
    stage.shown_at, stage.shown_done = now, stage.done
    return f"{stage.title}: {', '.join(parts)}"


def _describe_end(stage: _Stage, *, failed: bool) -> str:
    """The line of a stage that has ended; the rate is that of the whole stage."""
    elapsed = time.monotonic() - stage.started
    counted = f"{_count(stage)}, " if stage.counted else ""
    rate = f" ({_rate(stage.done / elapsed, stage.unit)})" if stage.counted and elapsed > 0 else ""
    return f"{stage.title}: {counted}{'stopped' if failed else 'done'} after {_duration(elapsed)}{rate}"


def _count(stage: _Stage) -> str:
    total = f"/{stage.total:,}" if stage.total else ""
    return f"{stage.done:,}{total} {stage.unit}".rstrip()


def _rate(rate: float, unit: str) -> str:
    return f"{rate:,.{0 if rate >= 10 else 1}f} {unit or 'steps'}/s"


def _duration(seconds: float) -> str:
    """`1.2 s`, `12 s`, `3 min 05 s` or `2 h 10 min`."""
    whole = round(seconds)
    if whole < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def _print_line(text: str) -> None:
    """One write, flushed, so that lines of threads and of child processes do not mix."""
    sys.stderr.write(f"{datetime.now():%Y-%m-%d %H:%M:%S} {text}\n")
    sys.stderr.flush()
