"""Compare a new version with the one that serves, by their cards; publish it, and hold it if it is worse.

In: the model's folder, and what `publish` takes. Out: the version's folder, and lines for people. A version that cannot
be compared is held too: the other card is damaged, somebody else's, or without a figure. Where services choose no
version, there is nothing to compare, and nothing is held. It knows neither pictures nor ONNX Runtime.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .. import files
from . import choice
from .publish import CARD_BYTES, SCHEMA, find_made_by, publish

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .publish import Sign

POINT: Final = 0.01
MAX_ACCURACY_LOSS: Final = 0.1 * POINT
MAX_ECE_RISE: Final = 0.5 * POINT
MAX_SIZE_RATIO: Final = 2.0  # of the files
ROUNDING: Final = 1e-9  # error of the difference of two figures
SERVICE_FOLDER: Final = Path("models/mnist-mlp")  # where the service looks by default


class RenderedSet(NamedTuple):
    """The held-out rendered pictures of today: their checksum, and the accuracy on them of the bytes of a model.onnx.

    Other releases drew other pictures, so accuracies compare only where the checksum on the card is this one.
    """

    sha256: str
    measure: Callable[[bytes], float]


class Figures(NamedTuple):
    """What versions are compared by: accuracies and calibration error from 0 to 1, and the bytes of model.onnx."""

    mnist: float
    rendered: float
    ece: float
    bytes: int

    @classmethod
    def of(cls, card: Mapping[str, Any], size: int) -> Figures:
        """Return the figures of a card and its file; raises `ValueError` that names what is missing."""
        mnist, rendered = _figure(card, "test", "accuracy"), _figure(card, "rendered", "accuracy")
        return cls(mnist, rendered, _figure(card, "test", "ece"), size)

    @classmethod
    def of_version(cls, version: Path, pictures: RenderedSet) -> Figures:
        """Return the figures of a version's folder; raises `ValueError` with a sentence that names the file.

        Where its card is of other rendered pictures, its model answers today's now.
        """
        path = version / "model.json"
        try:
            content = files.read_small(path, CARD_BYTES)
            if content is None:
                raise ValueError("it is not there")
            card = json.loads(content)
            if not isinstance(card, dict) or card.get("schema") != SCHEMA:
                raise ValueError(f"it is not a card of schema {SCHEMA}")
            model = version / "model.onnx"
            figures = cls.of(card, model.lstat().st_size)
            if _sha256_of_rendered(card) == pictures.sha256:
                return figures
            return figures._replace(rendered=pictures.measure(model.read_bytes()))
        except json.JSONDecodeError as error:
            raise ValueError(f"{path} cannot be compared: it is not JSON: {error}") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} cannot be compared: {error}") from error

    @property
    def mean(self) -> float:
        """The mean of both accuracies, by which the best version is chosen."""
        return (self.mnist + self.rendered) / 2

    def __str__(self) -> str:
        return f"{self.mnist:.2%} on MNIST and {self.rendered:.2%} on rendered pictures"


class Verdict(NamedTuple):
    """The version that services choose, if there is one, and the reasons to hold the new version, if there are any."""

    served: int | None = None
    reasons: tuple[str, ...] = ()


def judge_and_publish(
    folder: Path,
    model: bytes,
    golden: bytes,
    card: Mapping[str, Any],
    render_readme: Callable[[Mapping[str, Any]], str],
    *,
    pictures: RenderedSet,
    number: int | None,
    promote: bool,
    sign: Sign | None = None,
) -> tuple[Path, list[str]]:
    """Publish as `publish` does: a worse version is held; with `promote` the version serves, however good it is.

    Returns its folder, and lines for people. Raises `UsageError` as `publish` does, and `ChoiceError`. Where the run
    has published before, nothing changes, except that `promote` makes its version serve.
    """
    figures = Figures.of(card, len(model))
    folder.mkdir(parents=True, exist_ok=True)
    with files.locking(folder):
        own = find_made_by(card["run"], folder)
        verdict = judge(folder, figures, pictures, ignoring=None if own is None else int(own.name))
        held = bool(verdict.reasons) and not promote
        version = publish(folder, model, golden, card, render_readme, number=number, held=held, sign=sign)
        if promote:
            choice.promote(folder, int(version.name))
            return version, _describe_promoted(version, figures, pictures)
        return version, _describe_held(version, verdict) if int(version.name) in choice.read_held(folder) else []


def judge(folder: Path, new: Figures, pictures: RenderedSet, ignoring: int | None = None) -> Verdict:
    """Compare a new version with the one that services choose, without the number `ignoring`; raises `ChoiceError`."""
    served = choice.chosen_version(folder, ignoring)
    if served is None:
        return Verdict()
    try:
        return Verdict(served, tuple(_compare(new, Figures.of_version(folder / str(served), pictures))))
    except ValueError as error:
        return Verdict(served, (str(error),))


def _describe_held(version: Path, verdict: Verdict) -> list[str]:
    return [
        f"version {version.name} is held: no service answers with it by itself. "
        f"Compared with version {verdict.served}, which serves:",
        *(f"  {reason}" for reason in verdict.reasons),
        f"{_command(version)} makes it serve",
    ]


def _describe_promoted(version: Path, figures: Figures, pictures: RenderedSet) -> list[str]:
    """Return the lines about a version, and about the best of the others by the mean of both accuracies."""
    lines = [f"promoted: version {version.name} reaches {figures}"]
    others = {}
    for number in choice.numbers(version.parent):
        with contextlib.suppress(ValueError):  # it has no figures
            others[number] = Figures.of_version(version.with_name(str(number)), pictures)
    best = max(others, key=lambda number: others[number].mean, default=None)
    if best is not None and others[best].mean > figures.mean:
        lines.append(f"the best published, version {best}, reaches {others[best]}")
        lines.append(f"{_command(version.with_name(str(best)))} makes that one serve")
    return lines


def _sha256_of_rendered(card: Mapping[str, Any]) -> object:
    """Return the checksum of the rendered pictures that a card names; None where it names none."""
    data = card.get("data")
    return data.get("rendered_sha256") if isinstance(data, dict) else None


def _figure(card: Mapping[str, Any], data: str, name: str) -> float:
    """Return a figure from 0 to 1 of a card that may be anybody's; raises `ValueError`."""
    found: object = card
    for key in ("metrics", data, name):
        found = found.get(key) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found <= 1:
        raise ValueError(f"it has no metrics.{data}.{name} from 0 to 1")
    return float(found)


def _compare(new: Figures, old: Figures) -> Iterator[str]:
    """Yield a line for each figure that is worse: by how much, and the limit."""
    for name, now, before in (("MNIST", new.mnist, old.mnist), ("rendered pictures", new.rendered, old.rendered)):
        if before - now > MAX_ACCURACY_LOSS + ROUNDING:
            points, limit = (before - now) / POINT, MAX_ACCURACY_LOSS / POINT
            yield f"{name}: {now:.2%}, {points:.2f} points lower (limit {limit:g})"
    if new.ece - old.ece > MAX_ECE_RISE + ROUNDING:
        points, limit = (new.ece - old.ece) / POINT, MAX_ECE_RISE / POINT
        yield f"calibration error: {new.ece:.2%}, {points:.2f} points higher (limit {limit:g})"
    if new.bytes > MAX_SIZE_RATIO * old.bytes:
        times = new.bytes / max(old.bytes, 1)
        yield f"file: {new.bytes:,} bytes, {times:.1f} times as large as {old.bytes:,} (limit {MAX_SIZE_RATIO:g})"


def _command(version: Path) -> str:
    """Return the command that makes a version serve, as it is typed in this folder."""
    program = Path(sys.executable)
    python = program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else "python"
    folder = version.parent
    where = "" if folder == SERVICE_FOLDER else f" --model-dir {shlex.quote(str(folder))}"
    return f"{python} -m service promote {version.name}{where}"
