"""The real model behind a batcher and behind admission, in this process."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry

from service.inference.admission import Admission
from service.inference.batcher import Batcher
from service.observability.metrics import Metrics
from service.reader.readers import Readers
from service.settings import Settings
from service.system.spool import Spool
from service.versions.manager import VersionManager
from service.versions.shared_state import SharedState
from tests.support.pictures import png
from tests.support.service import MODELS, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from service.arrays import Pixels, Probabilities
    from service.model.classifier import Classifier

WAIT = 3.0  # seconds that the runs will take which wait, by what one costs
FILES = 50  # which wait


class WatchedBatcher:
    """A batcher around the real model, with its metrics."""

    def __init__(self, classifier: Classifier, *, max_batch: int = 64) -> None:
        self.registry = CollectorRegistry()
        self.metrics = Metrics(self.registry)
        self.batcher = Batcher(self.metrics, max_batch=max_batch)
        self.classifier = classifier

    async def predict(self, images: Pixels) -> Probabilities:
        return (await self.batcher.predict(self.classifier, images.tobytes())).probabilities

    def value(self, name: str, **labels: str) -> float:
        self.metrics.buffered.flush()
        value = self.registry.get_sample_value(name, labels)
        assert value is not None
        return value


class Door:
    """What decides, with the committed model behind it."""

    def __init__(self, classifier: Classifier, *, serving: bool = True, **settings: float) -> None:
        chosen = Settings.model_validate({"model_dir": MODELS, "model_version": VERSION, **settings})
        models = VersionManager(chosen, SharedState(shared=False))
        if serving:
            models.start()
        self.run = models.current.costs.seconds(1) if models.current else 0.0  # seconds of one picture's
        self._watched = WatchedBatcher(classifier)
        self._readers = Readers(chosen, self._watched.metrics.worker.reader_ends)
        self.admission = Admission(chosen, models, self._watched.batcher, self._readers)

    def now(self, timeout: str | None = None, *, ago: float = 0.0, large: bool = False) -> float:
        """The seconds that a request has which has begun so long ago."""
        return self.admission.admit(timeout, time.perf_counter() - ago, large=large)

    def while_pictures_wait(self, story: Callable[[], None]) -> None:
        """Play a story while there are runs to be made first."""
        images = np.zeros((64, 1, 28, 28), np.uint8)

        async def played() -> None:
            runs = round(WAIT / self._watched.classifier.costs.seconds(64))
            asked = [asyncio.ensure_future(self._watched.predict(images)) for _ in range(runs)]
            await asyncio.sleep(0)  # they are waiting now
            story()
            for one in asked:
                one.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

        asyncio.run(played())

    def while_files_wait(self, story: Callable[[], Coroutine[None, None, None]]) -> None:
        """Play a story while there are pictures to be prepared first, after one that has told how long each takes."""
        sheet = Spool(png(np.zeros((500, 500), np.uint8)))

        async def played() -> None:
            async with self._readers.running():
                await self._readers.read(sheet, "predict", content_type="")
                asked = [
                    asyncio.ensure_future(self._readers.read(sheet, "predict", content_type="")) for _ in range(FILES)
                ]
                await asyncio.sleep(0)
                await story()
                await asyncio.gather(*asked)

        asyncio.run(played())
