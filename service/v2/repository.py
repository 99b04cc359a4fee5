"""The model repository of the Open Inference Protocol: list, load and unload versions.

In: the version manager, the settings, and a model's name. Out: values for REST and gRPC, or an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..access.authorisation import require_admin
from ..errors import ModelError, NoSuchModel, NotLoaded
from ..quoting import quoted

if TYPE_CHECKING:
    from ..settings import Settings
    from ..versions.manager import VersionManager


def index(models: VersionManager, settings: Settings) -> list[dict[str, str]]:
    """Return every version in the model folder, with its state, and the reason if it was refused."""
    answering = {models.current and models.current.version, models.canary and models.canary.classifier.version}
    return [
        {
            "name": models.loader.name or "",
            "version": str(number),
            "state": "READY" if str(number) in answering else "UNAVAILABLE",
            "reason": _public(models.loader.refused.get(number, ""), settings),
        }
        for number in models.loader.numbers
    ]


async def load(models: VersionManager, settings: Settings, name: str) -> None:
    """Load the chosen version and serve it; raises `Forbidden`, `NoSuchModel` or `NotLoaded`."""
    _require_access(models, settings, name)
    try:
        await models.load()
    except ModelError as error:
        raise NotLoaded(_public(str(error), settings)) from None


async def unload(models: VersionManager, settings: Settings, name: str) -> None:
    """Serve no model until the next load; raises `Forbidden` or `NoSuchModel`."""
    _require_access(models, settings, name)
    await models.unload()


def _require_access(models: VersionManager, settings: Settings, name: str) -> None:
    require_admin(settings)
    if models.loader.name not in {None, name}:
        raise NoSuchModel(f"unknown model: {quoted(name)} is not found; {models.loader.name} is served")


def _public(reason: str, settings: Settings) -> str:
    """Return a reason without the paths of this machine."""
    for path in (settings.model_dir, settings.model_public_key):
        reason = reason if path is None else reason.replace(str(path), path.name)
    return reason
