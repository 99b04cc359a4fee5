"""Which version answers, and which is tried beside it: as is chosen, followed while the service runs.

In: the model's folder, and orders. Out: `current`, a verified and warm classifier or none, and `trial`, another one
that may answer some requests, or none; each changed in one step. Who begins a request takes them once and keeps them to
the end: so an answer and the version that it names belong together, and an old version is gone when its last request is
answered. It knows neither HTTP nor metrics.

A version that fails its checks is refused, and what serves goes on; the refused one is tried again when its files
change, or on an order. Looking and loading, which are `service.shelf`'s, happen in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from service.errors import ModelError, NoModel
from service.shelf import Shelf
from service.trial import Trial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from service.classifier import Classifier
    from service.orders import Orders
    from service.settings import Settings
    from service.shelf import Found

# A change is loaded when two looks saw the same, so that nothing is loaded while it is copied: within 2 s all the same.
POLL_SECONDS = 0.5

log = logging.getLogger("service")


class Models:
    """The versions of one model, the one that answers, and the one that is tried."""

    def __init__(self, settings: Settings, orders: Orders) -> None:
        self.current: Classifier | None = None
        self.trial: Trial | None = None
        self.shelf = Shelf(settings)
        self._orders = orders
        self._order = orders.number  # that was followed last
        self._seen: Found | None = None
        self._seen_canary: Found | None = None
        self._trouble = ""
        self._again = asyncio.Event()
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Load the chosen version, or under `latest` the highest that is good; raises `ModelError` if none is."""
        while self.current is None and (found := self.shelf.look(None)) is not None:
            with contextlib.suppress(ModelError):
                self.current = self.shelf.load(found)
        if self.current is None:
            raise self.shelf.nothing()

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
        for reason in self.shelf.refused.values():
            refused(reason)
        changed(self.current)
        self._changed, self._refuse, self._tried = changed, refused, tried
        task = asyncio.create_task(self._follow())
        yield
        task.cancel()

    def look_again(self) -> None:
        """Look now, and try again what was refused."""
        self.shelf.refused.clear()
        self._again.set()

    async def load(self) -> None:
        """Load the chosen version in every worker, in this one before it returns; raises `ModelError`."""
        self._orders.load()
        await self._update()
        if self.shelf.refused or self.current is None:
            raise self.shelf.nothing()

    async def unload(self) -> None:
        """Serve nothing in any worker, until an order to load."""
        self._orders.unload()
        await self._update()

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

    async def _update(self, *, settled: bool = False) -> None:
        """Serve what is to be served; raises `ModelError`. With `settled`, only what the last look saw too."""
        async with self._lock:
            if self._order != self._orders.number:
                self._order = self._orders.number
                self.shelf.refused.clear()
            if self._orders.unloaded:
                self._try(None)
                self._swap(None)
                return
            while (found := await asyncio.to_thread(self.shelf.look, self.current)) is not None:
                before, self._seen = self._seen, found
                if settled and found != before:
                    return
                try:
                    self._swap(await asyncio.to_thread(self.shelf.load, found))
                except ModelError as error:
                    self._refuse(str(error))
            await self._update_trial(settled=settled)
            self._trouble = ""

    async def _update_trial(self, *, settled: bool) -> None:
        """Try what is told to be tried; raises `ModelError`."""
        tried = None if self.trial is None else self.trial.classifier
        told, found = await asyncio.to_thread(self.shelf.look_at_canary, self.current, tried)
        if told is None or self._orders.gave_up(told.written):
            self._try(None)
        elif found is not None:
            before, self._seen_canary = self._seen_canary, found
            if settled and found != before:
                return
            try:
                self._try(Trial(await asyncio.to_thread(self.shelf.load, found), told))
            except ModelError as error:
                self._refuse(str(error))
                self._try(None)
        elif self.trial is None or self.trial.told.number != told.number:
            self._try(None)
        elif self.trial.told != told:
            self._try(Trial(self.trial.classifier, told))

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
