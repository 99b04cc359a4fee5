"""The versions of one model on the disk: which is to be loaded, and loading it.

In: the model's folder, and what is loaded already. Out: a verified and warm classifier, or why there is none. A version
that was refused is not loaded again until its files change or it is forgotten. All of it takes a while, and so is for
threads; it does not know which version answers requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from service import versions
from service.classifier import Classifier
from service.errors import ModelError

if TYPE_CHECKING:
    from service.settings import Settings
    from service.versions import Canary, Stamp


class Found(NamedTuple):
    """A version that is to be loaded, as its files are now."""

    number: int
    stamp: Stamp


class Shelf:
    """What lies in a model's folder, and what came of it."""

    def __init__(self, settings: Settings) -> None:
        self.name: str | None = None  # another model never takes the place of this one
        self.numbers: list[int] = []  # that lie there
        self.refused: dict[int, str] = {}  # and why
        self._stamps: dict[int, Stamp] = {}  # as they were when they were loaded or refused
        self._settings = settings

    def look(self, current: Classifier | None) -> Found | None:
        """The version that is to be loaded, if it is not the one that serves; raises `ModelError`."""
        word = versions.chosen(self._settings)
        candidates = versions.candidates(self._settings)
        self.numbers = versions.numbers(self._settings.model_dir)
        for number in candidates if word == versions.LATEST else [int(word)]:
            found = self._found(number)
            if found is None:
                continue
            if not self._known(found, current):
                return found
            if _is(current, number):
                return None
        return None

    def look_at_canary(
        self, current: Classifier | None, tried: Classifier | None
    ) -> tuple[Canary | None, Found | None]:
        """What is to be tried, if anything is; and its version, if it is to be loaded; raises `ModelError`."""
        told = versions.canary(self._settings)
        if told is None or told.percent is None or current is None or _is(current, told.number):
            return None, None
        found = self._found(told.number)
        return told, None if found is None or self._known(found, tried) else found

    def _found(self, number: int) -> Found | None:
        """The version, once its files are all there."""
        stamp = versions.stamp(self._settings.model_dir / str(number))
        return None if stamp is None else Found(number, stamp)

    def _known(self, found: Found, loaded: Classifier | None) -> bool:
        """Whether this very version is the one that is `loaded`, or was refused."""
        number, stamp = found
        return stamp == self._stamps.get(number) and (_is(loaded, number) or number in self.refused)

    def load(self, found: Found) -> Classifier:
        """The version, verified and warm; raises `ModelError`, and remembers why."""
        self._stamps[found.number] = found.stamp
        self.refused.pop(found.number, None)
        folder = self._settings.model_dir / str(found.number)
        try:
            classifier = Classifier.load(self._settings.model_dir, str(found.number))
            if self.name not in {None, classifier.name}:
                raise ModelError(f"{folder}: expected model {self.name}, which is served, found {classifier.name}")
        except Exception as error:  # whatever it is, what serves goes on
            reason = str(error) if isinstance(error, ModelError) else f"{folder}: loading it failed with {error!r}"
            self.refused[found.number] = reason
            raise ModelError(reason) from error
        self.name = classifier.name
        return classifier

    def nothing(self) -> ModelError:
        """Why the chosen version is not served."""
        missing = f"{self._settings.model_dir}: expected a version with {', '.join(versions.FILES)}, found none"
        return ModelError(next(iter(self.refused.values()), missing))


def _is(classifier: Classifier | None, number: int) -> bool:
    return classifier is not None and classifier.version == str(number)
