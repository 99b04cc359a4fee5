"""`python -m benchmarks.learning`: this project's recipes beside the learners of others, each in a process of its own.

In: MNIST, as `python -m training` finds it. Out: the seconds of training that each learner needs to an accuracy, its
accuracy in the end, weights, memory and the time of the whole command, as a table. The learners run alone, one after
another, round after round, so that a noisy minute hits each of them; the numbers are medians over the rounds.

This process must stay small: Linux counts the memory of the parent into a child's peak.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import onnx

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LEVELS = (0.97, 0.975, 0.98, 0.985, 0.99, 0.994)
THREADS = 2
CAPTION = f"""\
Seconds of training until a share of the same 5,000 held-out training digits is right, which each learner tells after
each of its epochs; a dash where it ends before. Plain learners find these digits harder than the test digits. Being
judged is not counted, nor are imports and reading; for `python -m training` the judging is counted, and what its recipe
adds to the 55,000 digits. Peak memory and time are those of the whole command, which for `python -m training` exports,
proves, reports and publishes too. {THREADS} threads each."""


class Other(NamedTuple):
    """A learner of others, its module below benchmarks.learners, and an interpreter that has its library."""

    title: str
    module: str
    python: Path


HERE = Path(sys.executable)
# Not imported: training.config would bring PyTorch into this process.
RECIPES = ("softmax", "article", "flash", "quick", "good", "tiny")
LONG = ("best",)  # an hour for each repeat: only where it is named
APART = Path(sys.prefix) / "learners" / "bin" / "python"
OTHERS = {
    "keras": Other("TensorFlow's quickstart for beginners: Keras, 784-128-10, 5 epochs", "keras_tutorial", APART),
    "sklearn": Other("scikit-learn's MLPClassifier, 784-128-10, 20 epochs", "sklearn_mlp", APART),
    "pytorch": Other(
        "PyTorch's quickstart: Dataset, DataLoader, 784-512-512-10, Adam, 5 epochs", "torch_quickstart", HERE
    ),
}


class Curve(NamedTuple):
    """How a learner learnt: after so many seconds of training, so much accuracy; and how good it is in the end."""

    points: list[tuple[float, float]]
    test_accuracy: float
    weights: int

    def seconds_to(self, accuracy: float) -> float:
        """Seconds of training to an accuracy; infinite where it was never reached."""
        return next((seconds for seconds, reached in self.points if reached >= accuracy), math.inf)


class Result(NamedTuple):
    """One run of a learner."""

    curve: Curve
    peak_mb: float
    seconds: float  # of the whole command


def main(words: Sequence[str]) -> int:
    """Measures and prints; 1 where an environment is missing or a learner failed."""
    options = _options(words)
    for name in set(options.only) & set(OTHERS):
        if not OTHERS[name].python.exists():
            print(f"{OTHERS[name].python} is missing; `make bench-learning` makes it", file=sys.stderr)
            return 1
    try:
        results = _measure(options.only, options.repeats)
    except subprocess.CalledProcessError as error:
        print(f"{' '.join(error.cmd)} ended with code {error.returncode}", file=sys.stderr)
        return 1
    print(f"{table(results)}\n\n{CAPTION}")
    print(f"Medians of {options.repeats}, each with a seed of its own; {len(os.sched_getaffinity(0))} cores.")
    return 0


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning")
    parser.add_argument("--repeats", type=int, default=3)
    known = f"of: %(default)s, {', '.join(LONG)}; ours: all recipes but the last"
    parser.add_argument("--only", type=_names, default=[*OTHERS, *RECIPES], help=known)
    return parser.parse_args(words)


def _names(text: str) -> list[str]:
    names = [name for word in text.split(",") for name in (RECIPES if word == "ours" else [word])]
    if unknown := set(names) - {*OTHERS, *RECIPES, *LONG}:
        raise argparse.ArgumentTypeError(f"no learner is called {', '.join(sorted(unknown))}")
    return names


def _measure(names: Sequence[str], repeats: int) -> dict[str, list[Result]]:
    results: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory() as folder:
        digits = Path(folder) / "digits.npz"
        _run([str(HERE), "-m", "benchmarks.learners.digits", str(digits)])
        for number in range(repeats):
            for name in names:
                print(f"{name}, {number + 1} of {repeats} …", file=sys.stderr)
                run = _other(OTHERS[name], digits, number) if name in OTHERS else _ours(name, number)
                results.setdefault(name, []).append(run)
    return results


def _other(other: Other, digits: Path, seed: int) -> Result:
    command = [str(other.python), "-m", f"benchmarks.learners.{other.module}", str(digits), str(seed)]
    said, peak_mb, seconds = _run(command)
    *points, facts = map(json.loads, said.splitlines())
    return Result(Curve([(point["seconds"], point["accuracy"]) for point in points], **facts), peak_mb, seconds)


def _ours(recipe: str, seed: int) -> Result:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        places = ["--run-dir", str(folder / "run"), "--models-dir", str(folder)]
        _, peak_mb, seconds = _run([str(HERE), "-m", "training", "--recipe", recipe, "--seed", str(seed), *places])
        return Result(_published(folder / "run"), peak_mb, seconds)


def _published(run: Path) -> Curve:
    """What the folder of a run, and of the version that came of it, tell."""
    epochs = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    version = Path(json.loads((run / "published.json").read_text())["path"])
    card = json.loads((version / "model.json").read_text())
    tensors = onnx.load(version / "model.onnx").graph.initializer
    return Curve(
        [(epoch["seconds"], epoch["validation_accuracy"]) for epoch in epochs],
        card["metrics"]["test"]["accuracy"],
        sum(math.prod(tensor.dims) for tensor in tensors if tensor.data_type == onnx.TensorProto.FLOAT),
    )


def _run(command: list[str]) -> tuple[str, float, float]:
    """What a command said, its peak resident memory in MB, and its seconds from exec to exit."""
    threads = dict.fromkeys(("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(THREADS))
    environment = os.environ | threads | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    # The package `training`, imported here, has set this for itself; the others are to have PyTorch's own default.
    environment.pop("GOMP_SPINCOUNT", None)
    started = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return said, usage.ru_maxrss * 1024 / 1e6, seconds


def table(results: Mapping[str, Sequence[Result]]) -> str:
    """A row for each learner, of medians over its runs."""
    levels = [f"{level * 100:g} %" for level in LEVELS]
    lines = [
        f"| learner | {' | '.join(levels)} | test accuracy | weights | peak memory | whole command |",
        "| --- " + "| ---: " * (len(LEVELS) + 4) + "|",
    ]
    for name, runs in results.items():
        title = OTHERS[name].title if name in OTHERS else f"`python -m training --recipe {name}`"
        reached = [statistics.median(run.curve.seconds_to(level) for run in runs) for level in LEVELS]
        cells = [f"{seconds:.1f} s" if math.isfinite(seconds) else "-" for seconds in reached]
        accuracy = statistics.median(run.curve.test_accuracy for run in runs)
        peak_mb = statistics.median(run.peak_mb for run in runs)
        seconds = statistics.median(run.seconds for run in runs)
        cells += [f"{accuracy:.2%}", f"{runs[0].curve.weights:,}", f"{peak_mb:.0f} MB", f"{seconds:.1f} s"]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
