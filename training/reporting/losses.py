"""How the training loss of a run is shown: its title, and its unit.

In: a run's hyperparameters. Out: a title whose words the glossary explains, and a unit. It knows no value of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Loss(NamedTuple):
    """A title, with words of the glossary in [brackets], and the unit of the axis."""

    title: str
    unit: str


CROSS_ENTROPY: Final = Loss("Training loss: [cross-entropy]", "nats")
_BRIER: Final = Loss("Training loss: [Brier score]", "Brier score")
_DIVERGENCE: Final = Loss("Training loss: [divergence] from the [teacher]", "nats")
SHOWN: Final = (CROSS_ENTROPY, _BRIER, _DIVERGENCE)


def loss_of(hyperparameters: Mapping[str, Any]) -> Loss:
    """Return the loss of a run."""
    if hyperparameters["teacher_epochs"]:
        return _DIVERGENCE
    return _BRIER if hyperparameters["loss"] == "mse" else CROSS_ENTROPY
