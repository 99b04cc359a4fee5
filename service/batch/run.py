"""A batch from its first word to its summary.

In: a `Job`. Out: the parts and the report in its folder, perhaps the merged file, lines on stdout, and an exit code.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from .. import __version__
from ..errors import ModelError, SettingsError
from ..model import artefact, signature
from ..quoting import quoted
from ..source import state
from ..source.fetcher import pull_once
from ..versions.manager import VersionManager
from ..versions.shared_state import SharedState
from . import remote
from .counts import count
from .engine import Engine, Inputs
from .inputs import expand
from .on_ray import RayEngine
from .parts import Parts, write_file
from .progress import Progress
from .report import measure, render
from .stopping import Stopping

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..model.artefact import Artefact, Files
    from ..settings import Settings

REPORT = "_report.html"  # readers of a folder of Parquet files pass over names that begin so


class Job(NamedTuple):
    """What to read, how, and where the rows go."""

    settings: Settings
    inputs: Sequence[str]  # as the command line has them
    column: str | None  # of Parquet files
    name_column: str | None
    out: Path
    merge: Path | None
    part_rows: int
    ray: bool  # on a Ray cluster


def run_batch(job: Job) -> int:
    """Run a batch, or go on with it; return the exit code.

    Raises `SettingsError`, `ModelError`, and `OSError` for what ends it before its end.
    """
    _check_text({"--out": job.out, "--merge": job.merge, "--column": job.column, "--name-column": job.name_column})
    inputs = Inputs(expand(job.inputs), job.column, job.name_column)
    _check_outside(inputs.paths, "--out", job.out)
    if job.merge is not None:
        _check_merged(job.merge, job.out)
        _check_outside(inputs.paths, "--merge", job.merge)
    files = _checked_files(job.settings)
    model = artefact.parse(files)
    kind = RayEngine if job.ray else Engine
    # The signals last, because Ray takes them too.
    with (
        Parts(job.out, facts(job, model), job.part_rows) as parts,
        kind(job.settings, files, inputs, parts) as engine,
        Stopping() as stopping,
    ):
        progress = Progress(parts.rows)
        engine.run(progress, stopping)
        progress.clear()
        if stopping.stopped or not _report(job, model, parts, stopping):
            print(f"batch: stopped; {job.out} has the first {parts.rows:,} pictures, and the same command goes on")
        elif engine.passed_over:
            print(f"batch: files that are no picture by their names, passed over: {engine.passed_over:,}")
        seconds, rate = f"{progress.seconds:,.1f}", f"{progress.rate:,.0f}"
        print(f"batch: this run: pictures {progress.pictures:,}, seconds {seconds}, a second {rate}")
        return stopping.exit_code


def _checked_files(settings: Settings) -> Files:
    """Return the files of the version that a start would serve, pulled and checked as a start does.

    Raises `ModelError`, and `OSError` where the folder of pulled versions cannot be written.
    """
    shared_state = SharedState(shared=False)
    problem = "" if settings.model_source is None else pull_once(settings)
    with state.naming(problem):
        version = VersionManager(settings, shared_state).check(lambda: None)
    files = artefact.read_files(settings.model_dir, version, signature.read_keys(settings))
    if files.digest not in shared_state.checked_files:
        raise ModelError(f"{files.folder}: its files have changed while they were checked")
    return files._replace(signature=b"", keys=b"")  # workers compare the bytes alone


def facts(job: Job, model: Artefact) -> dict[str, str]:
    """Return what makes the rows: parts that something else has made do not belong to the same batch."""
    settings = job.settings
    read = {
        "max_pixels": settings.max_pixels,
        "max_body_bytes": settings.max_body_bytes,
        "formats": settings.formats,
        "column": job.column,
        "name_column": job.name_column,
    }
    return {
        "service_version": __version__,
        "model": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256,
        "settings": json.dumps(read),
    }


def _check_text(words: Mapping[str, Path | str | None]) -> None:
    """Raise `SettingsError` for a word with bytes that are no UTF-8, which Parquet files do not take."""
    for flag, word in words.items():
        try:
            str(word.absolute() if isinstance(word, Path) else word).encode()
        except UnicodeEncodeError:
            raise SettingsError(f"{flag}: expected UTF-8, found other bytes in {quoted(str(word))}") from None


def _check_outside(inputs: Sequence[str], flag: str, output: Path) -> None:
    """Raise `SettingsError` for an output within an input: the same command would read it, and not go on."""
    for each in inputs:
        if remote.scheme(each) is None and output.resolve().is_relative_to(Path(each).resolve()):
            raise SettingsError(f"{flag}: expected a path outside of the input {each}, found {output}")


def _check_merged(path: Path, out: Path) -> None:
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):  # the rename would replace a device too
        raise SettingsError(f"--merge: expected a file in a folder that exists, found {path}")
    if path.parent.resolve() == out.resolve():  # a reader of the folder would find all rows twice
        raise SettingsError(f"--merge: expected a file outside of {out}, found {path}")


def _report(job: Job, model: Artefact, parts: Parts, stopping: Stopping) -> bool:
    """Write the report and the merged file, and print what is in the parts; False where it was stopped before."""
    counts = count(parts.paths)
    if not counts.rows:
        raise SettingsError(f"there is no picture in {', '.join(job.inputs)[:200]}")
    drift = measure(counts, model.card)
    write_file(job.out / REPORT, render(drift, counts, facts(job, model)).encode())
    if job.merge is not None and not parts.merge(job.merge, lambda: stopping.stopped):
        return False
    print(
        f"batch: {job.out}: pictures {counts.rows:,}, digits {counts.digits:,}, without ink {counts.no_ink:,}, "
        f"errors {counts.errors:,}, with warnings {counts.warned:,}\n"
        f"batch: {job.out / REPORT}: {drift.verdict}"
    )
    return True
