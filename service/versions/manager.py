"""Which version answers, and which is tried beside it: as is chosen, followed while the service runs.

In: the model's folder, and orders. Out: `current`, a verified and warm classifier or none, and `canary`, another one
that may answer some requests, or none; each changed in one step. Who begins a request takes them once and keeps them to
the end: so an answer and the version that it names belong together, and an old version is gone when its last request is
answered. It knows neither HTTP nor metrics.

A version that fails its checks is refused, and what serves goes on; the refused one is tried again when its files
change, or on an order. Looking and loading, which are `service.versions.loader`'s, happen in threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, TypeVar

from ..errors import ModelError, NoModel, NoSuchModel, NotChecked
from ..quoting import quoted
from ..system import memory
from .canary import CanaryTrial
from .loader import CHOICE, VersionLoader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..model.classifier import Classifier
    from ..settings import Settings
    from .loader import Found
    from .shared_state import SharedState

# A change is loaded when two looks saw the same, so that nothing is loaded while it is copied: within 2 s all the same.
POLL_SECONDS = 0.5
ORDER_SECONDS = 11.0  # that a client waits for its order to load
LAST_SECONDS = 12.0  # in which requests are answered that began with a version before it changed

T = TypeVar("T")

log = logging.getLogger("service")


class VersionManager:
    """The versions of one model, the one that answers, and the one that is tried."""

    def __init__(self, settings: Settings, shared_state: SharedState) -> None:
        self.current: Classifier | None = None
        self.canary: CanaryTrial | None = None
        self.loader = VersionLoader(settings, shared_state.checked_files)
        self._shared_state = shared_state
        self._order = shared_state.command  # that was followed last
        self._seen: Found | None = None
        self._seen_canary: Found | None = None
        self._trouble = ""
        self._again = asyncio.Event()
        self._lock = asyncio.Lock()

    def start(self, meanwhile: Callable[[], object] = lambda: None) -> str:
        """Load the chosen version, or under `latest` the highest that is good; raises `ModelError` if none is.

        `meanwhile` is called while another process checks it. The version's number is returned.
        """
        self.current = self._first(lambda found: self.loader.load(found, meanwhile))
        return self.current.version

    def check(self, meanwhile: Callable[[], object]) -> str:
        """As `start`, and load nothing: workers will."""
        return str(self._first(lambda found: self.loader.check(found, meanwhile)))

    def _first(self, load: Callable[[Found], T]) -> T:
        while (found := self.loader.version_to_load(None)) is not None:
            try:
                return load(found)
            except NotChecked:
                raise
            except ModelError:
                continue  # it is remembered why
        raise self.loader.no_version_error()

    def served(self) -> Classifier:
        """The classifier that answers now; raises `NoModel`."""
        if self.current is None:
            raise NoModel("No model version is loaded; /readyz tells when one is.")
        return self.current

    def resolve(self, name: str | None, version: str | None = None) -> Classifier:
        """Return what serves, once for each request, which is then that version's to its end; None is any.

        The canary answers who names its version. Raises `NoSuchModel` unless it is this model, and this version of it,
        and `NoModel` if nothing serves.
        """
        classifier, canary = self.served(), self.canary
        if canary is not None and version == canary.classifier.version:
            classifier = canary.classifier
        if name not in {None, classifier.name} or version not in {None, classifier.version}:
            wanted = quoted(name) if version is None else f"{quoted(name)} version {quoted(version)}"
            raise NoSuchModel(f"unknown model: {wanted} is not found; {classifier.name} {classifier.version} is served")
        return classifier

    @contextlib.asynccontextmanager
    async def following(
        self,
        changed: Callable[[Classifier | None], None],
        refused: Callable[[str], None],
        tried: Callable[[CanaryTrial | None], None],
        missed: Callable[[dict[str, int]], None],
    ) -> AsyncIterator[None]:
        """Follow what is chosen while the context is open; all four hear of it, all but `tried` at once."""
        for reason in self.loader.refused.values():
            refused(reason)
        changed(self.current)
        missed(self.loader.missing)
        self._changed, self._refuse, self._tried, self._missed = changed, refused, tried, missed
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            self.loader.stop()

    def poll_now(self) -> None:
        """Look now, and try again what was refused."""
        self.loader.refused.clear()
        self._again.set()

    async def load(self) -> None:
        """Load the chosen version in every worker, in this one before it returns; raises `ModelError`.

        What takes longer than `ORDER_SECONDS` goes on, and only the caller is told so.
        """
        self._shared_state.load()
        self._ordered = asyncio.create_task(self._update())
        await asyncio.wait([self._ordered], timeout=ORDER_SECONDS)
        if not self._ordered.done():
            self._ordered.add_done_callback(_heard)
            raise ModelError(f"the chosen version is still being checked after {ORDER_SECONDS:g} s")
        self._ordered.result()
        if self.loader.missing[CHOICE]:
            raise ModelError(self.loader.missing_message())
        if self.loader.refused or self.current is None:
            raise self.loader.no_version_error()

    async def unload(self) -> None:
        """Serve nothing in any worker, until an order to load; what is being loaded comes too late."""
        self._shared_state.unload()
        self._serve_nothing()

    def roll_back(self, canary: CanaryTrial) -> bool:
        """Stop a trial here at once, and in every worker when it looks next; False where it is stopped already."""
        if self.canary is not canary:
            return False
        self._try(None)
        return self._shared_state.give_up(canary.spec.written)

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
            if self._order != self._shared_state.command:
                self._order = self._shared_state.command
                self.loader.refused.clear()
            if self._shared_state.unloaded:
                self._serve_nothing()
                return
            while (found := await asyncio.to_thread(self.loader.version_to_load, self.current)) is not None:
                before, self._seen = self._seen, found
                if settled and found != before:
                    return
                classifier = await self._loaded(found)
                if self._shared_state.unloaded:
                    return
                if classifier is not None:
                    self._swap(classifier)
            await self._update_trial(settled=settled)
            self._missed(self.loader.missing)
            self._tell(self.loader.missing_message())

    async def _loaded(self, found: Found) -> Classifier | None:
        """The version; none where it is refused. Raises `NotChecked`."""
        try:
            return await asyncio.to_thread(self.loader.load, found)
        except NotChecked:
            raise
        except ModelError as error:
            self._refuse(str(error))
            return None

    async def _update_trial(self, *, settled: bool) -> None:
        """Try what is told to be tried; raises `ModelError`."""
        tried = None if self.canary is None else self.canary.classifier
        spec, found = await asyncio.to_thread(self.loader.canary_to_load, self.current, tried)
        if spec is None or self._shared_state.gave_up(spec.written):
            self._try(None)
        elif found is not None:
            before, self._seen_canary = self._seen_canary, found
            if settled and found != before:
                return
            classifier = await self._loaded(found)
            self._try(None if classifier is None or self._shared_state.unloaded else CanaryTrial(classifier, spec))
        elif self.canary is None or self.canary.spec.number != spec.number:
            self._try(None)
        elif self.canary.spec != spec:
            self._try(CanaryTrial(self.canary.classifier, spec))

    def _serve_nothing(self) -> None:
        self._try(None)
        self._swap(None)

    def _swap(self, classifier: Classifier | None) -> None:
        if classifier is not self.current:
            self.current = classifier
            self._changed(classifier)
            self._let_go()

    def _try(self, canary: CanaryTrial | None) -> None:
        if canary is not self.canary:
            self.canary = canary
            self._tried(canary)
            self._let_go()

    def _let_go(self) -> None:
        """Give back the memory of the version that served until now, once its last requests are answered."""
        loop = asyncio.get_running_loop()
        loop.call_later(LAST_SECONDS, loop.run_in_executor, None, memory.trim)

    def _tell(self, trouble: str) -> None:
        """Log it once, not at every look; nothing, where there is none any more."""
        if trouble and trouble != self._trouble:
            log.error(trouble)
        self._trouble = trouble


def _heard(task: asyncio.Task[None]) -> None:
    """A task that nobody waits for has ended: what has to be told is told at the next look."""
    if not task.cancelled():
        task.exception()
