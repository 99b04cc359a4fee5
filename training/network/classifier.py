"""What every network that learns digits shares: the part of the pixels that it reads, and how the loop prepares them.

In: images, uint8[N,1,28,28]. Out: what the first weights see of them, float32[N,inputs]. Subclasses have the weights.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor, nn

from ..data.digits import WHOLE, Frame
from .deslant import DESLANTED, Deslant
from .inputs import Components, Pixels

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CHUNK: Final = 512  # images at once: their floats fit the cache
SAMPLE: Final = 2000  # images whose principal components stand for those of all


class Classifier(nn.Module, ABC):
    """The fixed geometry and the inputs of a network; a subclass adds the weights.

    `frame` is the part of the 28×28 pixels from which the first weights see `inputs`.
    """

    def __init__(self, *, deslant: bool, components: int) -> None:
        super().__init__()
        self.frame = DESLANTED if deslant else WHOLE
        self.inputs = Components(math.prod(self.frame.shape), components) if components else Pixels()

    @property
    @abstractmethod
    def layers(self) -> Sequence[nn.Linear | nn.Conv2d]:
        """The layers with weights, first to last."""

    @abstractmethod
    def classify(self, signal: Tensor) -> Tensor:
        """Return logits [N,10] of what the first weights see, [N,inputs]."""

    def find_components(self, images: Tensor) -> None:
        """Set the principal components to those of images uint8[N,1,28,28], or of a sample; do nothing without any."""
        if isinstance(self.inputs, Components):
            sample = images[:: -(-len(images) // SAMPLE)]
            self.inputs.find(torch.cat(list(self._frames(sample, self.frame))).to(self._dtype))

    def prepare(self, images: Tensor) -> Tensor:
        """Return images uint8[N,1,28,28] after the fixed geometry, which is done once before many epochs."""
        return torch.cat([frame.round().byte() for frame in self._frames(images, WHOLE)])

    def see_all(self, images: Tensor) -> Tensor:
        """Return what the first weights see of images uint8[N,1,28,28], which is found once before many epochs."""
        return torch.cat([self.see(frame) for frame in self._frames(images, self.frame)])

    def _frames(self, images: Tensor, part: Frame) -> Iterator[Tensor]:
        """Yield a part of the images after the fixed geometry, float32[M,1,R,C], some images at once."""
        geometry = part.crop if self.frame is WHOLE else Deslant(part).to(images.device)
        for chunk in torch.split(images, CHUNK):
            yield geometry(chunk)

    def see(self, images: Tensor) -> Tensor:
        """Return what the first weights see of images [N,1,R,C] in 0..255, the `frame` of prepared ones: [N,inputs]."""
        seen: Tensor = self.inputs(images.to(self._dtype))
        return seen

    @property
    def _dtype(self) -> torch.dtype:
        return self.layers[0].weight.dtype
