"""`python -m benchmarks.serving`: this service, the servers of others, and the limits of all, as one table.

In: a published model version. Out: requests per second, latency, memory and start of each server, for one picture in
three forms and for 64 at once. Each server has the machine to itself, but for wrk, and is started anew for each of its
turns; they take turns, so that a noisy minute hits each of them. A server that cannot be installed or started is a row
that says why.

    python -m benchmarks.serving --only ours,mosec --seconds 2 --repeats 1
"""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.serving import alone, table
from benchmarks.serving.contestants import CONTESTANTS, CORES
from benchmarks.serving.visit import Digits, Visit, visit

if TYPE_CHECKING:
    from collections.abc import Sequence

ALONE = "onnxruntime"
NAMES = [*CONTESTANTS, ALONE]
CAPTION = """\
Connections that each ask again as soon as they are answered, and a constant rate: requests per second, p50 and p99 of
the latency. Memory: resident, of all processes of a server, pages that they share counted once, after the loads of the
row. First answer: seconds from exec to the first right one. Every server answered digits of all kinds right before it
was timed. The load generator (wrk, one thread) shares the cores with the server: alone on them, each would do more."""


def main(words: Sequence[str]) -> int:
    """Measures and prints; 1 where wrk is missing."""
    options = _options(words)
    if not shutil.which("wrk"):
        print("wrk is not installed; Debian has it: apt-get install wrk", file=sys.stderr)
        return 1
    visits = _measure(options)
    print("\n".join(table.head()))
    for name in options.only:
        print("\n".join(_rows(name, visits[name])))
    print(f"\n{CAPTION}")
    print(
        f"Model {options.model.name}; medians of {options.repeats} turns, {options.seconds} s for each load; "
        f"{CORES} cores, {platform.machine()}, Python {platform.python_version()}."
    )
    return 0


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving")
    parser.add_argument("--model", type=Path, default=_latest(Path("models/mnist-mlp")), help="a version's folder")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each server")
    parser.add_argument("--seconds", type=int, default=4, help="length of each load")
    parser.add_argument("--only", type=_names, default=NAMES, help=f"of: {','.join(NAMES)}")
    return parser.parse_args(words)


def _latest(model_dir: Path) -> Path:
    return max(model_dir.glob("[1-9]*"), key=lambda folder: int(folder.name))


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(NAMES):
        raise argparse.ArgumentTypeError(f"no server is called {', '.join(sorted(unknown))}")
    return names


def _measure(options: argparse.Namespace) -> dict[str, list[Visit]]:
    model = options.model.resolve()
    digits = Digits.of(model)
    visits: dict[str, list[Visit]] = {name: [] for name in options.only}
    for number in range(options.repeats):
        for name in options.only:
            print(f"{name}, {number + 1} of {options.repeats} …", file=sys.stderr)
            if name == ALONE:
                visits[name].append(alone.visit(model, digits, options.seconds))
            else:
                visits[name].append(visit(CONTESTANTS[name], model, digits, options.seconds))
    return visits


def _rows(name: str, visits: Sequence[Visit]) -> list[str]:
    if name == ALONE:
        return table.rows("limit: ONNX Runtime alone, in a loop", "-", visits)
    return table.rows(CONTESTANTS[name].title, str(CONTESTANTS[name].workers), visits)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
