"""The teacher: a convolutional network whose answers a `Network` learns. It never ships.

In: what the first weights of a `Network` see, its pixels, float32[N,R·C]. Out: logits float32[N,10].
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data.digits import CLASSES
from .batch_norm import BatchNorm
from .classifier import Classifier

if TYPE_CHECKING:
    from ..config import Config

# The channels after each convolution, and whether the map is halved after it.
CONVOLUTIONS: Final = ((24, False), (48, True), (48, True), (96, False), (96, True))


class Teacher(Classifier):
    """Convolutions of 3×3 pixels, some halved by the maximum, each with batch norm and ReLU; and a linear layer.

    Weights share what they learn over all places of the picture, so it needs fewer examples than a multilayer
    perceptron (LeCun et al. 1998). On a processor that multiplies bfloat16, the convolutions do.
    """

    def __init__(self, *, deslant: bool, seed: int) -> None:
        super().__init__(deslant=deslant, components=0)
        random = torch.Generator().manual_seed(seed)
        before, (rows, columns) = 1, self.frame.shape
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for channels, halved in CONVOLUTIONS:
            convolution = nn.Conv2d(before, channels, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu", generator=random)
            self.convolutions.append(convolution)
            self.norms.append(BatchNorm(channels))
            before = channels
            rows, columns = (rows // 2, columns // 2) if halved else (rows, columns)
        self.head = nn.Linear(before * rows * columns, CLASSES)
        nn.init.xavier_normal_(self.head.weight, generator=random)
        nn.init.zeros_(self.head.bias)

    @classmethod
    def of(cls, config: Config) -> Teacher:
        """Return a fresh teacher with the hyperparameters of a training job."""
        return cls(deslant=config.deslant, seed=config.seed)

    @property
    def layers(self) -> list[nn.Linear | nn.Conv2d]:
        """The convolutions and the linear layer, first to last."""
        return [*cast("list[nn.Conv2d]", list(self.convolutions)), self.head]

    def classify(self, signal: Tensor) -> Tensor:
        """Return logits [N,10] of what the first weights see, [N,R·C]."""
        maps = signal.reshape(-1, 1, *self.frame.shape)
        with (
            torch.autocast(signal.device.type, torch.bfloat16) if _multiplies_bfloat16(signal.device) else nullcontext()
        ):
            for convolution, norm, (_, halved) in zip(self.convolutions, self.norms, CONVOLUTIONS, strict=True):
                maps = convolution(maps).contiguous(memory_format=torch.channels_last)  # the rest takes half the time
                maps = functional.max_pool2d(maps, 2) if halved else maps  # before the norm, which then takes a quarter
                maps = functional.relu(norm(maps))
            logits: Tensor = self.head(maps.flatten(1))
        return logits.to(signal.dtype)


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device does it faster than float32; elsewhere PyTorch only imitates it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
