"""The trained version that comes with the wheel, for users who have no model yet."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..settings import Settings

BUNDLED = Path(__file__).parents[2] / "bundled" / "mnist-mlp"  # the wheel has this folder, a checkout has none

log = logging.getLogger("service")


def or_bundled(settings: Settings) -> Settings:
    """Settings with the bundled model, if no setting names a model's folder and the default folder does not exist.

    A service that is to wait for a version waits.
    """
    if "model_dir" in settings.model_fields_set or settings.model_dir.exists():
        return settings
    if settings.model_wait or not BUNDLED.exists():
        return settings
    log.info("the bundled model is used: MNIST_MODEL_DIR is unset, and there is no folder %s", settings.model_dir)
    return settings.model_copy(update={"model_dir": BUNDLED})
