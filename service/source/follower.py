"""Follow a source: at each poll, pull the versions that are wanted and missing.

In: settings, the source, and which version serves. Out: versions in the model's folder, log lines, and one sentence for
a problem. Wanted are the newest versions that `latest` may mean, and those that a pin, a canary or a setting names. A
version that cannot be pulled keeps none of the others back; it is tried again after pauses that grow. A version that
the source no longer has stays. Of the versions that were pulled, the newest are kept, with those that are wanted or
serve. It knows no library of a source.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from typing import TYPE_CHECKING, NamedTuple

from ..errors import ModelError
from ..model import layout
from ..quoting import printable, without_secrets
from ..versions import choice
from . import pull, state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..settings import Settings
    from .remote import Offer, Remote

NEWEST = 3  # versions that `latest` may mean: the one that serves, and others to roll back to
MAX_TRIED = 10  # of them, where some cannot be pulled
KEPT = 10  # of the versions that were pulled
LONGEST_PAUSE_SECONDS = 3600.0
MAX_SENTENCE = 400  # characters of a problem

log = logging.getLogger("service")


class _Failure(NamedTuple):
    tries: int  # in succession
    again: float  # seconds, monotonic


class Follower:
    """The versions of one source."""

    def __init__(self, settings: Settings, open_remote: Callable[[], Remote], serving: Callable[[], int]) -> None:
        """`serving` returns the number of the version that serves, 0 for none."""
        assert settings.model_source is not None
        self._settings = settings
        self._address = settings.model_source
        self._open_remote = open_remote
        self._remote: Remote | None = None
        self._serving = serving
        self._problems: dict[str, str] = {}  # sentences by what they are about
        self._failures: dict[int, _Failure] = {}  # by version
        self._incomplete: set[int] = set()  # versions
        self._tried: set[str] = set()  # addresses of versions, at this poll

    def poll(self) -> str:
        """Pull what is missing; return a sentence about what the source did not give, empty where all is well."""
        model_dir = self._settings.model_dir
        try:
            left = pull.remove_unfinished(model_dir)
            if self._remote is None:
                self._remote = self._open_remote()
            self._tried = {self._address}
            wanted = list(self._pull_wanted(self._remote, self._remote.offer(), left))
            self._problems = {about: words for about, words in self._problems.items() if about in self._tried}
            self._clean(wanted)
            if not self._problems.keys() - {self._address}:
                state.succeeded(model_dir)
        except Exception as error:  # noqa: BLE001 - each library raises dozens of unrelated classes
            return self.fail(error)
        self._solve(self._address)
        return "; ".join(self._problems.values())

    def fail(self, error: Exception) -> str:
        """Report why nothing can be pulled; return it."""
        self._remote = None  # it is opened anew: credentials may have changed
        return self._report(self._address, error)

    @property
    def failing(self) -> bool:
        """Whether the source could not be asked at the last poll."""
        return self._remote is None

    def named(self) -> set[int]:
        """Return the versions that a pin, a canary or a setting names; raises `ModelError`."""
        word, canary = choice.chosen_version(self._settings), choice.read_canary(self._settings)
        chosen = set() if word == layout.LATEST else {int(word)}
        return chosen | (set() if canary is None else {canary.number})

    def missing(self) -> set[int]:
        """Return the named versions that are not there; none where a file that names them cannot be read."""
        try:
            return {number for number in self.named() if not self._has(number)}
        except ModelError:
            return set()

    def _pull_wanted(self, remote: Remote, offer: Offer, left: set[int]) -> Iterator[int]:
        """Pull the wanted versions that are missing; yield those that are there then.

        Those of `left` come last: one of them may be why a process was killed.
        """
        named = self.named().intersection(offer.versions)
        newest = choice.exclude_held(self._settings, offer.versions)[:MAX_TRIED]
        newest.sort(key=left.__contains__)
        for number in sorted(named - left):
            if self._pull(remote, number, offer):
                yield number
        yield from itertools.islice((number for number in newest if self._pull(remote, number, offer)), NEWEST)
        for number in sorted(named & left):
            if self._pull(remote, number, offer):
                yield number

    def _pull(self, remote: Remote, number: int, offer: Offer) -> bool:
        """Return whether a version is there, after pulling it and its signature where they are missing."""
        model_dir, signed = self._settings.model_dir, number in offer.signed
        self._tried.add(about := f"{self._address}/{number}")
        failure = self._failures.get(number, _Failure(0, 0.0))
        if time.monotonic() < failure.again:
            return self._has(number)
        try:
            if not self._has(number):
                pull.pull(remote, number, model_dir, signed=signed)
                state.write(model_dir, state.read(model_dir) | {number})
                facts = {"version": str(number), "source": self._address}
                log.info("version %d is pulled from %s", number, self._address, extra={"fields": facts})
            elif signed:
                pull.pull_signature(remote, number, model_dir)
        except pull.Incomplete:
            if number not in self._incomplete:
                log.info("version %d is not complete yet at %s: it has no card", number, self._address)
            self._incomplete.add(number)
        except Exception as error:  # noqa: BLE001 - as above
            pause = min(self._settings.model_source_seconds * 2.0 ** min(failure.tries, 20), LONGEST_PAUSE_SECONDS)
            self._failures[number] = _Failure(failure.tries + 1, time.monotonic() + pause)
            self._report(about, error)
        else:
            self._failures.pop(number, None)
            self._solve(about)
        return self._has(number)

    def _has(self, number: int) -> bool:
        return os.path.lexists(self._settings.model_dir / str(number))

    def _clean(self, wanted: list[int]) -> None:
        """Remove versions that were pulled, and are neither among the newest nor in use."""
        model_dir = self._settings.model_dir
        pulled = {number for number in state.read(model_dir) if self._has(number)}
        newest = sorted(pulled, reverse=True)[:KEPT]
        for number in sorted(pulled.difference(newest, wanted, self.named(), {self._serving()})):
            pull.remove(number, model_dir)
            state.write(model_dir, state.read(model_dir) - {number})
            log.info("version %d, pulled long ago, is removed from %s", number, model_dir)

    def _report(self, about: str, error: Exception) -> str:
        """Log a problem once, not at every poll; return it."""
        words = " ".join(without_secrets(str(error)).split())
        if isinstance(error, FileNotFoundError):
            words = f"not found: {words}"
        elif not isinstance(error, ModelError | ConnectionError):
            words = f"{type(error).__name__} {words}"
        sentence = printable(f"{about}: {words}"[:MAX_SENTENCE], "?")
        if self._problems.get(about) != sentence:
            what = "the source cannot be read" if about == self._address else "a version cannot be pulled"
            log.error("%s: %s", what, sentence)
        self._problems[about] = sentence
        return sentence

    def _solve(self, about: str) -> None:
        """Log the end of a problem, if there was one."""
        if self._problems.pop(about, None) is not None:
            log.info("%s can be pulled from again", about)
