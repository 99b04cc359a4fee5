"""What a run shows on a terminal: steps, loss, speed and time left, then the stages after the loop."""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from training.reporting.screen import Screen, format_seconds

if TYPE_CHECKING:
    from pathlib import Path

    from training.data.mnist import Dataset

JOB = (sys.executable, "-m", "training")
FAST = "--hidden 32 --epochs 2 --batch-size 64 --rotation 0 --elastic 0 --seen 140".split()
COLUMNS = 80


def run_in_terminal(*command: str) -> tuple[int, str]:
    """Run a command in a pseudo-terminal of 80 columns; returns its exit code, and all that it has written there."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as running:
        os.close(slave)
        written = b""
        try:
            while part := os.read(master, 65536):
                written += part
        except OSError:  # the other side is closed
            pass
        os.close(master)
        return running.wait(), written.decode()


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory, dataset: Dataset) -> str:
    assert not dataset.warnings
    folder = tmp_path_factory.mktemp("terminal")
    code, written = run_in_terminal(*JOB, *FAST, f"--run-dir={folder}/run", f"--models-dir={folder}/models")
    assert code == 0, written
    return written


def test_the_bar_has_steps_loss_speed_and_time_left(shown: str) -> None:
    """The bar moves within an epoch, fits 80 columns, and is gone at the end."""
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    frames = re.findall(r"epoch [12]/2 [^\r\n]*", plain)
    steps = [frame for frame in frames if " step " in frame]
    whole = re.compile(r"epoch [12]/2 \S+ +step \d+/861  loss \d\.\d{3}  [\d,]+ digits/s  (?:\d+ s|\d+:\d\d min) left")
    assert sum(bool(whole.fullmatch(frame.strip())) for frame in steps) >= 2
    assert len({frame for frame in steps if frame.startswith("epoch 1/2")}) >= 2
    assert max(map(len, steps)) <= COLUMNS
    assert plain.rstrip().splitlines()[-1].startswith("test accuracy")
    assert shown.rfind("\x1b[?25h") > shown.rfind("\x1b[?25l")  # the cursor is shown again


def test_what_follows_the_loop_is_named(shown: str) -> None:
    """Export, quantisation, proof and gates are named while they work, in their order; the proof leaves a line."""
    stages = [
        "exporting to ONNX …",
        "quantising to int8 …",
        "proving that",
        "checking the gates …",
        "writing the report …",
    ]
    places = [shown.index(stage) for stage in stages]
    assert places == sorted(places)
    assert "exported: ONNX Runtime and PyTorch differ by" in shown


def test_a_reader_that_goes_away_is_told(tmp_path: Path) -> None:
    """`| head -1` ends the run with a line, and its report says why."""
    words = (*JOB, *FAST, f"--run-dir={tmp_path}/run", f"--models-dir={tmp_path}/models")
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert running.stderr
        assert "digits to train on" in running.stdout.readline()
        running.stdout.close()
        told = running.stderr.read()
    assert running.returncode == 1
    assert told == "error: [Errno 32] nobody reads what the run prints any more\n"
    assert "nobody reads" in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.parametrize("line", ["published [red]a/[/b]/101", "runs/:smile:/1"])
def test_a_line_is_printed_as_it_is(line: str) -> None:
    """Folders may be called so; no part of a name is a style, an end of one, or a picture."""
    printed = io.StringIO()
    Screen(Console(file=printed)).say(line, line)
    assert printed.getvalue() == f"{line}\nWARNING: {line}\n"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1:00 min"), (125, "2:05 min"), (3720, "1:02 h")])
def test_durations_are_read_at_a_glance(seconds: float, text: str) -> None:
    """Seconds, minutes or hours."""
    assert format_seconds(seconds) == text
