"""Long work shows a bar on a terminal and prints lines where there is none."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cxr.progress import ProgressReporter, progress_bar
from retrieval.progress import Progress, StageProgress
from tests.cxr.command_runs import run

ROOT = Path(__file__).parents[2]
STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "


def through_a_pipe(code: str) -> list[str]:
    """The lines that `code` prints on stderr, which is a pipe."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_pipe_gets_lines_with_time_count_rate_and_time_left() -> None:
    lines = through_a_pipe(
        "import time\n"
        "from cxr.progress import progress_bar\n"
        "with progress_bar('Ingesting', interval_s=.2) as progress:\n"
        "    for done in range(1, 11):\n"
        "        time.sleep(.1)\n"
        "        progress(done * 100, 4000, 'loss 0.5')\n"
    )
    assert re.fullmatch(STAMP + "Ingesting …", lines[0])
    running = lines[1:-1]
    assert len(running) >= 2
    for line in running[1:]:
        assert re.fullmatch(STAMP + r"Ingesting: [\d,]+/4,000 images, loss 0.5, [\d,]+ images/s, \S+ s left", line)
    assert re.fullmatch(STAMP + r"Ingesting: 1,000/4,000 images, done after \S+ s \(\d+ images/s\)", lines[-1])


def test_a_stage_that_counts_nothing_is_seen_to_run() -> None:
    lines = through_a_pipe(
        "import time\n"
        "from cxr.progress import progress_bar\n"
        "with progress_bar(interval_s=.2) as progress:\n"
        "    progress.stage('exporting the image tower')\n"
        "    time.sleep(.5)\n"
        "    progress.stage('judging', 'queries')\n"
        "    progress(3, 0)\n"
        "    progress.note('2 files quarantined')\n"
    )
    told = [re.sub(r"\d+\.\d s", "TIME", re.sub(STAMP, "", line)) for line in lines]
    assert told[0] == "exporting the image tower …"
    assert told[1] == "exporting the image tower: TIME so far"
    assert told[-4:-2] == ["exporting the image tower: done after TIME", "judging …"]
    assert told[-2] == "2 files quarantined"
    assert re.fullmatch(r"judging: 3 queries, done after TIME \([\d,]+ queries/s\)", told[-1])


def test_a_line_is_readable_at_once_while_the_work_goes_on() -> None:
    code = (
        "import sys\nfrom cxr.progress import progress_bar\nwith progress_bar('Ingesting'):\n    sys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdin and run.stderr
        assert "Ingesting …" in run.stderr.readline()  # it would wait for ever if the line were buffered
        assert run.poll() is None
        run.communicate("\n", timeout=60)


def test_work_that_fails_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), progress_bar("Pushing") as progress:
        progress(20, 50)
        raise KeyboardInterrupt
    assert "Pushing: 20/50 images, stopped after 0.0 s" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_terminal_gets_a_bar() -> None:
    import pty

    code = (
        "from cxr.progress import progress_bar\n"
        "with progress_bar('Ingesting') as progress:\n"
        "    progress(5, 10, 'loss 0.5')\n"
        "    progress.note('2 files quarantined')\n"
        "    progress(10, 10)\n"
        "    progress.stage('calibrating')\n"
    )
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    run = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=follower, env=environment)
    os.close(follower)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            block = os.read(leader, 65536)
        except OSError:  # Linux: the other end was closed
            break
        if not block:
            break
        shown += block
    os.close(leader)
    assert run.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "━" in text
    assert "Ingesting: 10/10 images, done after" in text
    assert "2 files quarantined" in text
    assert "calibrating" in text
    assert not re.search(STAMP, text)


def test_the_reporter_fits_the_interfaces_of_the_packages_below() -> None:
    def takes(progress: Progress, stages: StageProgress) -> None:
        stages.stage("reading")
        progress(1, 2)

    with progress_bar("one") as reporter:
        assert isinstance(reporter, ProgressReporter)
        takes(reporter, reporter)


def test_every_long_command_reports_its_stages_without_a_terminal(tiny_home: Path) -> None:
    archive = tiny_home / "archive"
    source = ("--reports-csv", archive / "reports.csv", "--projections-csv", archive / "projections.csv")
    fast = ("--queries", "50", "--resamples", "100")
    for words, stage in (
        (("phantoms", tiny_home / "phantoms", "--studies", "20"), "Drawing phantoms: 20/20 studies, done after"),
        (
            ("ingest", "--model", "tiny-a", *source, "--images-dir", archive / "images", "--recreate"),
            "Indexing: 24/24 images, done after",
        ),
        (("push", "tiny-a", "--to", tiny_home / "copy"), "Pushing tiny-a: 24/24 images, done after"),
        (("snapshot", "create", "tiny-a", tiny_home / "a.zip"), "Writing a.zip: 24/24 images, done after"),
        (("snapshot", "restore", tiny_home / "a.zip", "--recreate"), "Restoring a.zip: 24/24 images, done after"),
        (
            ("evaluate", "--model", "tiny-a", *fast),
            r"tiny-a: Image to report strict: [\d,]+/[\d,]+ queries, done after",
        ),
        (
            ("compare", "--models", "tiny-a,tiny-b", *fast, "--out", tiny_home / "out"),
            r"tiny-b: Image to report strict: [\d,]+/[\d,]+ queries, done after",
        ),
    ):
        stderr = run(*words, home=tiny_home).stderr
        assert re.search(STAMP + stage, stderr), (words, stderr)
