"""Find the version on the disk that should be loaded, and load it.

In: the model's folder, and the loaded versions. Out: a verified and warm classifier, or the reason why there is none. A
process of its own checks a version, once for all workers, before its bytes are loaded here. A refused version is not
loaded again until its files change or its refusal is cleared. All of this takes a while, and so runs in threads. It
does not know which version answers requests.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError, NotChecked, SettingsError
from ..model import artefact, check, layout, signature
from ..system import memory
from . import choice

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..model.artefact import Files
    from ..model.classifier import Classifier
    from ..model.layout import Stamp
    from ..settings import Settings
    from .choice import CanarySpec
    from .shared_state import CheckedFiles

CHOICE, CANARY = "choice", "canary"
MAX_CANDIDATES = 100  # versions that `latest` may mean: the files of each are looked at twice a second
MAX_LISTED = 10  # versions in a sentence


class Found(NamedTuple):
    """A version to load, with the stamp of its files."""

    number: int
    stamp: Stamp


class VersionLoader:
    """The versions in a model's folder, and the refused ones."""

    def __init__(self, settings: Settings, checked_files: CheckedFiles) -> None:
        self.name: str | None = None  # of the model; a version of another model is refused
        self.numbers: list[int] = []  # of the versions in the folder
        self.refused: dict[int, str] = {}  # reasons by version
        self.missing = {CHOICE: 0, CANARY: 0}  # versions that are named but missing, by what names them
        self.passed_over: list[int] = []  # by `latest`: the held ones, and the canary
        self._stamps: dict[int, Stamp] = {}  # of versions when they were loaded or refused
        self._settings = settings
        self._checked_files = checked_files
        self._stopped = threading.Event()

    def version_to_load(self, current: Classifier | None) -> Found | None:
        """Return the version that should serve, unless it is `current` already; raises `ModelError`."""
        word = choice.chosen_version(self._settings)
        self.numbers = layout.numbers(self._settings.model_dir)
        latest = word == layout.LATEST
        choice.read_canary(self._settings)  # raises for a bad file, also where a number is chosen
        candidates = choice.exclude_held(self._settings, self.numbers) if latest else [int(word)]
        self.passed_over = sorted({*self.numbers}.difference(candidates), reverse=True) if latest else []
        self.missing[CHOICE] = 0
        for number in candidates[:MAX_CANDIDATES]:
            found = self._found(number)
            if found is None:
                self.missing[CHOICE] = 0 if latest else number
                continue
            if not self._known(found, current):
                return found
            if _is(current, number):
                return None
        return None

    def canary_to_load(
        self, current: Classifier | None, tried: Classifier | None
    ) -> tuple[CanarySpec | None, Found | None]:
        """Return the canary's specification, if there is a canary; and its version, if it must be loaded."""
        spec = choice.read_canary(self._settings)
        self.missing[CANARY] = 0
        if spec is None or current is None or _is(current, spec.number):
            return None, None
        found = self._found(spec.number)
        self.missing[CANARY] = spec.number if found is None else 0
        return spec, None if found is None or self._known(found, tried) else found

    def _found(self, number: int) -> Found | None:
        """Return the version, once all of its files are there."""
        others = signature.paths(self._settings, number)
        stamp = layout.stamp(self._settings.model_dir / str(number), *others)
        return None if stamp is None else Found(number, stamp)

    def _known(self, found: Found, loaded: Classifier | None) -> bool:
        """Return whether these very files are `loaded`, or were refused."""
        number, stamp = found
        return stamp == self._stamps.get(number) and (_is(loaded, number) or number in self.refused)

    def load(self, found: Found, meanwhile: Callable[[], object] = lambda: None) -> Classifier:
        """Return the version, verified and warm; raises `ModelError`, and remembers the reason.

        `meanwhile` is called while another process checks the version.
        """
        with self._remembered(found):
            checked = self._checked(found, meanwhile)
            from ..model.classifier import Classifier  # noqa: PLC0415 - it takes its time, in which the check runs

            classifier = Classifier(artefact.parse(checked))
            if self.name not in {None, classifier.name}:
                folder = self._settings.model_dir / str(found.number)
                raise ModelError(f"{folder}: expected model {self.name}, which is served, found {classifier.name}")
        self.name = classifier.name
        memory.trim()  # loading takes four times the memory that the version keeps
        return classifier

    def check(self, found: Found, meanwhile: Callable[[], object]) -> int:
        """Have a version checked, so that workers load it at once; return its number. Raises as `load`."""
        with self._remembered(found):
            self._checked(found, meanwhile)
        return found.number

    def stop(self) -> None:
        """End the check that is running, and begin no other."""
        self._stopped.set()

    @contextlib.contextmanager
    def _remembered(self, found: Found) -> Iterator[None]:
        """Remember a refusal; any error becomes a `ModelError`, so that the version that serves goes on."""
        self._stamps[found.number] = found.stamp
        self.refused.pop(found.number, None)
        try:
            yield
        except NotChecked:
            raise
        except Exception as error:
            folder = self._settings.model_dir / str(found.number)
            known = isinstance(error, ModelError | SettingsError)
            reason = str(error) if known else f"{folder}: loading it failed with {error!r}"
            self.refused[found.number] = reason
            raise ModelError(reason) from error

    def _checked(self, found: Found, meanwhile: Callable[[], object]) -> Files:
        """Return the version's files after a process of its own has checked them; raises `ModelError`."""
        keys = signature.read_keys(self._settings)
        files = artefact.read_files(self._settings.model_dir, str(found.number), keys)
        if files.digest not in self._checked_files:
            with self._checked_files.locking(self._stopped.is_set):
                if files.digest not in self._checked_files:  # while this worker waited for the lock
                    with check.checking(files, self._settings.max_images, self._stopped.is_set) as checking:
                        meanwhile()
                        checking.wait()
                    self._checked_files.add(files.digest)
        return files

    def missing_message(self) -> str:
        """Name the versions that are chosen but missing; empty if there are none."""
        return "; ".join(self._missing(what, number) for what, number in self.missing.items() if number)

    def _missing(self, what: str, number: int) -> str:
        folder = self._settings.model_dir
        if number in self.numbers:
            files = ", ".join(layout.FILES)
            return f"{folder}: expected version {number}, which is the {what}, with {files}, found none"
        pin = choice.pin_path(self._settings)
        pinned = pin.exists() or self._settings.model_version != str(number)  # a pin that has just been removed, too
        setting = pin.name if pinned else "MNIST_MODEL_VERSION"
        named_by = {CHOICE: setting, CANARY: choice.CANARY}[what]
        there = ", ".join(map(str, self.numbers[:MAX_LISTED]))
        return f"{folder}: there is no version {number}, which {named_by} names; the folder has {there}"

    def no_version_error(self) -> ModelError:
        """Return the error that says why the chosen version does not serve."""
        missing = f"{self._settings.model_dir}: expected a version with {', '.join(layout.FILES)}, found none"
        if self.passed_over:
            listed = ", ".join(map(str, self.passed_over[:MAX_LISTED]))
            promote = f"`python -m service promote {self.passed_over[0]}` makes version {self.passed_over[0]} serve"
            missing += f" but the held ones and the canary: {listed}; {promote}"
        return ModelError(next(iter(self.refused.values()), self.missing_message() or missing))


def _is(classifier: Classifier | None, number: int) -> bool:
    return classifier is not None and classifier.version == str(number)
