"""Manage the versions of one model: keep the chosen version and the canary loaded while the service runs.

In: the model's folder, and commands to load and unload. Out: `current`, the verified and warm classifier that serves,
or None; and `canary`, another one that may answer some requests, or None. Each is replaced atomically. A request takes
both once and keeps them: so it finishes on the version that it started on, and an old version is freed after its last
request. It knows neither HTTP nor metrics.

A version that fails its checks is refused, and the current one goes on serving. The refused version is tried again when
its files change, or on a command. `service.versions.loader` polls and loads, in threads.
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

# A change is loaded when two polls saw the same files, so that no half-copied version is; services follow within 2 s.
POLL_SECONDS = 0.5
COMMAND_SECONDS = 11.0  # that a client waits for its command to load
LAST_SECONDS = 12.0  # after a change, until the last request of the old version has finished

T = TypeVar("T")

log = logging.getLogger("service")


class VersionManager:
    """The versions of one model: the one that serves, and the canary."""

    def __init__(self, settings: Settings, shared_state: SharedState) -> None:
        self.current: Classifier | None = None
        self.canary: CanaryTrial | None = None
        self.loader = VersionLoader(settings, shared_state.checked_files)
        self._shared_state = shared_state
        self._command = shared_state.command  # the last one that was followed
        self._seen: Found | None = None
        self._seen_canary: Found | None = None
        self._problem = ""
        self._wake = asyncio.Event()
        self._lock = asyncio.Lock()

    def start(self, meanwhile: Callable[[], object] = lambda: None) -> str:
        """Load the chosen version, or for `latest` the highest good one, and return its number; raises `ModelError`.

        `meanwhile` is called while another process checks the version.
        """
        self.current = self._first(lambda found: self.loader.load(found, meanwhile))
        self._shared_state.serving = int(self.current.version)
        return self.current.version

    def check(self, meanwhile: Callable[[], object]) -> str:
        """Check the version as `start` does, but load nothing: the workers will."""
        return str(self._first(lambda found: self.loader.check(found, meanwhile)))

    def _first(self, load: Callable[[Found], T]) -> T:
        while (found := self.loader.version_to_load(None)) is not None:
            try:
                return load(found)
            except NotChecked:
                raise
            except ModelError:
                continue  # the loader remembers the reason
        raise self.loader.no_version_error()

    def served(self) -> Classifier:
        """Return the classifier that serves now; raises `NoModel`."""
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
        on_changed: Callable[[Classifier | None], None],
        on_refused: Callable[[str], None],
        on_canary_changed: Callable[[CanaryTrial | None], None],
        on_missing: Callable[[dict[str, int]], None],
    ) -> AsyncIterator[None]:
        """Follow the operators' choice while the context is open: report the state at once, then each change."""
        for reason in self.loader.refused.values():
            on_refused(reason)
        on_changed(self.current)
        on_missing(self.loader.missing)
        self._on_changed, self._on_refused = on_changed, on_refused
        self._on_canary_changed, self._on_missing = on_canary_changed, on_missing
        task = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            task.cancel()
            self.loader.stop()

    def poll_now(self) -> None:
        """Poll now, the source of versions too, and try again what was refused."""
        self._shared_state.ask_for_poll()
        self.loader.refused.clear()
        self._wake.set()

    async def load(self) -> None:
        """Load the chosen version in every worker, and in this one before it returns; raises `ModelError`.

        After `COMMAND_SECONDS` loading goes on, but the caller gets an error.
        """
        self._shared_state.load()
        self._loading = asyncio.create_task(self._update())
        await asyncio.wait([self._loading], timeout=COMMAND_SECONDS)
        if not self._loading.done():
            self._loading.add_done_callback(_retrieve_error)
            raise ModelError(f"the chosen version is still being checked after {COMMAND_SECONDS:g} s")
        self._loading.result()
        if self.loader.missing[CHOICE]:
            raise ModelError(self.loader.missing_message())
        if self.loader.refused or self.current is None:
            raise self.loader.no_version_error()

    async def unload(self) -> None:
        """Serve no version in any worker, until a command to load; a version that is loading now is not served."""
        self._shared_state.unload()
        self._serve_nothing()

    def roll_back(self, canary: CanaryTrial) -> bool:
        """Stop a trial here at once, and in every worker at its next poll; False where it has stopped before."""
        if self.canary is not canary:
            return False
        self._set_canary(None)
        return self._shared_state.give_up(canary.spec.written)

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), POLL_SECONDS)
            settled = not self._wake.is_set()
            self._wake.clear()
            try:
                await self._update(settled=settled)
            except ModelError as error:
                self._log_problem(str(error))
            except Exception:
                log.exception("polling model versions failed")

    async def _update(self, *, settled: bool = False) -> None:
        """Load what should serve; raises `ModelError`. With `settled`, only what the last poll saw too."""
        async with self._lock:
            if self._command != self._shared_state.command:
                self._command = self._shared_state.command
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
                    self._set_current(classifier)
            await self._update_canary(settled=settled)
            self._on_missing(self.loader.missing)
            self._log_problem(self.loader.missing_message())

    async def _loaded(self, found: Found) -> Classifier | None:
        """Return the version, or None where it is refused; raises `NotChecked`."""
        try:
            return await asyncio.to_thread(self.loader.load, found)
        except NotChecked:
            raise
        except ModelError as error:
            self._on_refused(str(error))
            return None

    async def _update_canary(self, *, settled: bool) -> None:
        """Begin, change or end the canary's trial; raises `ModelError`."""
        tried = None if self.canary is None else self.canary.classifier
        spec, found = await asyncio.to_thread(self.loader.canary_to_load, self.current, tried)
        if spec is None or self._shared_state.gave_up(spec.written):
            self._set_canary(None)
        elif found is not None:
            before, self._seen_canary = self._seen_canary, found
            if settled and found != before:
                return
            classifier = await self._loaded(found)
            self._set_canary(
                None if classifier is None or self._shared_state.unloaded else CanaryTrial(classifier, spec)
            )
        elif self.canary is None or self.canary.spec.number != spec.number:
            self._set_canary(None)
        elif self.canary.spec != spec:
            self._set_canary(CanaryTrial(self.canary.classifier, spec))

    def _serve_nothing(self) -> None:
        self._set_canary(None)
        self._set_current(None)

    def _set_current(self, classifier: Classifier | None) -> None:
        if classifier is not self.current:
            self.current = classifier
            self._shared_state.serving = 0 if classifier is None else int(classifier.version)
            self._on_changed(classifier)
            self._trim_later()

    def _set_canary(self, canary: CanaryTrial | None) -> None:
        if canary is not self.canary:
            self.canary = canary
            self._on_canary_changed(canary)
            self._trim_later()

    def _trim_later(self) -> None:
        """Give the old version's memory back to the system, after its last requests."""
        loop = asyncio.get_running_loop()
        loop.call_later(LAST_SECONDS, loop.run_in_executor, None, memory.trim)

    def _log_problem(self, problem: str) -> None:
        """Log a problem once, not at every poll; an empty one ends it."""
        if problem and problem != self._problem:
            log.error(problem)
        self._problem = problem


def _retrieve_error(task: asyncio.Task[None]) -> None:
    """Retrieve the error of a task that nobody waits for: the next poll reports it."""
    if not task.cancelled():
        task.exception()
