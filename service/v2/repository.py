"""The versions of the model, told and changed in the words of the Open Inference Protocol's model repository.

In: the models, the settings and the name that a client gave. Out: values for HTTP and for gRPC, or an error. Who may
change something is `service.access.authorisation`'s to say, and what a change is, `service.versions.manager`'s.
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
    """The versions that there are, and why one that is there does not serve."""
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
    """Look for the chosen version anew, and serve it; raises `Forbidden`, `NoSuchModel` or `NotLoaded`."""
    _may_change(models, settings, name)
    try:
        await models.load()
    except ModelError as error:
        raise NotLoaded(_public(str(error), settings)) from None


async def unload(models: VersionManager, settings: Settings, name: str) -> None:
    """Serve nothing until there is an order to load; raises `Forbidden` or `NoSuchModel`."""
    _may_change(models, settings, name)
    await models.unload()


def _may_change(models: VersionManager, settings: Settings, name: str) -> None:
    require_admin(settings)
    if models.loader.name not in {None, name}:
        raise NoSuchModel(f"unknown model: {quoted(name)} is not found; {models.loader.name} is served")


def _public(reason: str, settings: Settings) -> str:
    """A reason without the folders of this machine."""
    return reason.replace(str(settings.model_dir), settings.model_dir.name)
