"""`batch IN… --out FOLDER [--merge FILE]`: read any number of pictures without a server.

In: folders, files, archives, Parquet files and URLs of buckets; and a version of the model, which is pulled first where
MNIST_MODEL_SOURCE names a source. Out: rows in the Parquet parts of a folder, its
_report.html, and on stdout what was done. Started again after any end, the same command goes on behind the last part.
Exit codes: 0 done, also with errors of single pictures, which are rows; 2 a bad setting or input, or a folder that
another model or other settings have begun; 3 a model that must not serve; 4 what the system refuses; 130 and 143
stopped by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError
from ..process.exit_codes import run_printing
from ..settings import add_model_flags, of_model_flags
from ..versions.bundled import or_bundled
from .check import check_source

if TYPE_CHECKING:
    import argparse

HELP = "Read any number of pictures without a server, into Parquet files."
SETTINGS = ("model-source", "model-version", "workers", "max-pixels", "max-body-bytes", "formats")
PART_ROWS = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the inputs, the outputs, and the settings that a batch has."""
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="IN",
        help="a folder, a picture, a .tar, .tar.gz, .zip or .parquet file, a pattern of them, or their URL "
        "(s3://, gs://, https://)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="folder of the parts and the report")
    parser.add_argument("--merge", type=Path, metavar="FILE", help="write all rows to this Parquet file at the end too")
    parser.add_argument(
        "--column", help="column of Parquet files that holds the pictures; default: the only possible one"
    )
    parser.add_argument(
        "--name-column", help="column of Parquet files that names the pictures; default: name, if it is there"
    )
    parser.add_argument(
        "--part-rows", type=_positive, default=PART_ROWS, help="rows of a part, about; default: %(default)s"
    )
    parser.add_argument("--ray", action="store_true", help="use a Ray cluster: RAY_ADDRESS, or else this machine's")
    add_model_flags(parser, *SETTINGS)


def run(options: argparse.Namespace) -> int:
    """Read the inputs; return the exit code."""
    return run_printing("batch", lambda: _batch(options))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _batch(options: argparse.Namespace) -> int:
    if not (find_spec("pyarrow") and find_spec("fsspec")):
        raise SettingsError("it needs the extra `batch`: pip install '.[batch]'")
    from ..batch.run import Job, run_batch  # noqa: PLC0415 - pyarrow is an extra

    settings = or_bundled(of_model_flags(options))
    check_source(settings)
    columns = options.column, options.name_column
    return run_batch(
        Job(settings, options.inputs, *columns, options.out, options.merge, options.part_rows, options.ray)
    )
