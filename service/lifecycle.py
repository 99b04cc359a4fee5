"""Which version answers, and which is tried beside it: as is chosen, followed while the service runs.

In: the model's folder, and orders. Out: `current`, a verified and warm classifier or none, and `trial`, another one
that may answer some requests, or none; each changed in one step. Who begins a request takes them once and keeps them to
the end: so an answer and the version that it names belong together, and an old version is gone when its last request is
answered. It knows neither HTTP nor metrics.

A version that fails its checks is refused, and what serves goes on; the refused one is tried again when its files
change, or on an order. Looking and loading happen in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NamedTuple

from service import versions
from service.classifier import Classifier
from service.errors import ModelError, NoModel
from service.trial import Trial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.orders import Orders
    from service.settings import Settings
    from service.versions import Canary, Stamp

# A change is loaded when two looks saw the same, so that nothing is loaded while it is copied: within 2 s all the same.
POLL_SECONDS = 0.5

log = logging.getLogger("service")


class Found(NamedTuple):
    """A version that is to be loaded, as its files are now."""

    number: int
    stamp: Stamp


class Models:
    """The versions of one model, the one that answers, and the one that is tried."""

    def __init__(self, settings: Settings, orders: Orders) -> None:
        self.current: Classifier | None = None
        self.trial: Trial | None = None
        self.name: str | None = None  # another model never takes the place of this one
        self.numbers: list[int] = []  # that lie there
        self.refused: dict[int, str] = {}  # and why
        self._stamps: dict[int, Stamp] = {}  # as they were when they were loaded or refused
        self._settings = settings
        self._orders = orders
        self._order = orders.number  # that was followed last
        self._seen: Found | None = None
        self._seen_canary: Found | None = None
        self._trouble = ""
        self._again = asyncio.Event()
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Load the chosen version, or under `latest` the highest that is good; raises `ModelError` if none is."""
        while self.current is None and (found := self._look()) is not None:
            with contextlib.suppress(ModelError):
                self.current = self._load(found)
        if self.current is None:
            raise self._nothing()

    def served(self) -> Classifier:
        """The classifier that answers now; raises `NoModel`."""
        if self.current is None:
            raise NoModel("No model version is loaded; /readyz tells when one is.")
        return self.current

    @contextlib.asynccontextmanager
    async def followed(
        self,
        changed: Callable[[Classifier | None], None],
        refused: Callable[[str], None],
        tried: Callable[[Trial | None], None],
    ) -> AsyncIterator[None]:
        """Follow what is chosen while the context is open; all three hear of it, and the first two of how it begins."""
        for reason in self.refused.values():
            refused(reason)
        changed(self.current)
        self._changed, self._refuse, self._tried = changed, refused, tried
        task = asyncio.create_task(self._follow())
        yield
        task.cancel()

    def look_again(self) -> None:
        """Look now, and try again what was refused."""
        self.refused.clear()
        self._again.set()

    async def load(self) -> None:
        """Load the chosen version in every worker, in this one before it returns; raises `ModelError`."""
        self._orders.load()
        await self._update(settled=False)
        if self.refused or self.current is None:
            raise self._nothing()

    async def unload(self) -> None:
        """Serve nothing in any worker, until an order to load."""
        self._orders.unload()
        await self._update(settled=False)

    def roll_back(self, trial: Trial) -> bool:
        """Stop a trial here at once, and in every worker when it looks next; False where it is stopped already."""
        if self.trial is not trial:
            return False
        self._try(None)
        return self._orders.give_up(trial.told.written)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._again.wait(), POLL_SECONDS)
            settled = not self._again.is_set()
            self._again.clear()
            try:
                await self._update(settled=settled)
            except ModelError as error:
                self._tell(str(error))
            except Exception:
                log.exception("looking for model versions failed")

    async def _update(self, *, settled: bool) -> None:
        """Serve what is to be served; raises `ModelError`. With `settled`, only what the last look saw too."""
        async with self._lock:
            if self._order != self._orders.number:
                self._order = self._orders.number
                self.refused.clear()
            if self._orders.unloaded:
                self._try(None)
                self._swap(None)
                return
            while (found := await asyncio.to_thread(self._look)) is not None:
                before, self._seen = self._seen, found
                if settled and found != before:
                    return
                try:
                    self._swap(await asyncio.to_thread(self._load, found))
                except ModelError as error:
                    self._refuse(str(error))
            await self._update_trial(settled=settled)
            self._trouble = ""

    async def _update_trial(self, *, settled: bool) -> None:
        """Try what is told to be tried; raises `ModelError`."""
        trial = self.trial
        told, found = await asyncio.to_thread(self._look_at_canary, trial)
        if told is not None and found is not None:
            before, self._seen_canary = self._seen_canary, found
            if settled and found != before:
                return
            try:
                trial = Trial(await asyncio.to_thread(self._load, found), told)
            except ModelError as error:
                self._refuse(str(error))
                trial = None
        elif told is None or trial is None or trial.told.number != told.number:
            trial = None
        elif trial.told != told:
            trial = Trial(trial.classifier, told)
        if told is None or not self._orders.gave_up(told.written):
            self._try(trial)

    def _swap(self, classifier: Classifier | None) -> None:
        if classifier is not self.current:
            self.current = classifier
            self._changed(classifier)

    def _try(self, trial: Trial | None) -> None:
        if trial is not self.trial:
            self.trial = trial
            self._tried(trial)

    def _tell(self, trouble: str) -> None:
        """Log it once, not at every look."""
        if trouble != self._trouble:
            log.error(trouble)
        self._trouble = trouble

    def _look(self) -> Found | None:
        """The version that is to be loaded, if it is not the one that serves; raises `ModelError`."""
        word = versions.chosen(self._settings)
        candidates = versions.candidates(self._settings)
        self.numbers = versions.numbers(self._settings.model_dir)
        for number in candidates if word == versions.LATEST else [int(word)]:
            stamp = versions.stamp(self._settings.model_dir / str(number))
            if stamp is not None and not self._known(number, stamp, self.current):
                return Found(number, stamp)
            if stamp is not None and _is(self.current, number):
                return None
        return None

    def _look_at_canary(self, trial: Trial | None) -> tuple[Canary | None, Found | None]:
        """What is to be tried, if anything is; and its version, if it is to be loaded; raises `ModelError`."""
        told = versions.canary(self._settings)
        if told is None or told.percent is None or self._orders.gave_up(told.written):
            return None, None
        if self.current is None or _is(self.current, told.number):
            return None, None
        stamp = versions.stamp(self._settings.model_dir / str(told.number))
        if stamp is None or self._known(told.number, stamp, trial.classifier if trial else None):
            return told, None
        return told, Found(told.number, stamp)

    def _known(self, number: int, stamp: Stamp, loaded: Classifier | None) -> bool:
        """Whether a version with this stamp is the one that is `loaded`, or was refused."""
        return stamp == self._stamps.get(number) and (_is(loaded, number) or number in self.refused)

    def _load(self, found: Found) -> Classifier:
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

    def _nothing(self) -> ModelError:
        """Why the chosen version is not served."""
        missing = f"{self._settings.model_dir}: expected a version with {', '.join(versions.FILES)}, found none"
        return ModelError(next(iter(self.refused.values()), missing))


def _is(classifier: Classifier | None, number: int) -> bool:
    return classifier is not None and classifier.version == str(number)
