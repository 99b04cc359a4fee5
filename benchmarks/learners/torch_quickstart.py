"""PyTorch's quickstart (docs.pytorch.org/tutorials/beginner/basics/quickstart_tutorial): Dataset, DataLoader, 512-512.

In and out: `contract`. The network, the batches of 64 and the five epochs are the quickstart's; transform and shuffling
are those of PyTorch's MNIST example, and Adam stands in for SGD at a rate of 0.001, which is at 81 % after two epochs.
The transform does what torchvision's ToTensor and Normalize do, without their way through a PIL image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.learners.contract import Clock, finish, given

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EPOCHS = 5


class Mnist(Dataset[tuple[Tensor, int]]):
    """One digit at a time, transformed when it is asked for."""

    def __init__(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        self._images = images
        self._labels = labels

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = torch.from_numpy(self._images[index]).unsqueeze(0).float().div(255)
        return image.sub_(0.1307).div_(0.3081), int(self._labels[index])


def main() -> None:
    """Learn and tell."""
    digits, seed = given()
    torch.manual_seed(seed)
    train = DataLoader(Mnist(digits.x_train, digits.y_train), batch_size=64, shuffle=True)
    validation = DataLoader(Mnist(digits.x_validation, digits.y_validation), batch_size=64)
    test = DataLoader(Mnist(digits.x_test, digits.y_test), batch_size=64)
    body = [nn.Linear(28 * 28, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()]
    model = nn.Sequential(nn.Flatten(), *body, nn.Linear(512, 10))
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    clock = Clock()
    for _ in range(EPOCHS):
        model.train()
        for images, labels in train:
            loss = loss_function(model(images), labels)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        clock.judge(lambda: accuracy(model, validation))
    finish(test_accuracy=accuracy(model, test), weights=sum(weight.numel() for weight in model.parameters()))


@torch.no_grad()
def accuracy(model: nn.Module, loader: DataLoader[Any]) -> float:
    """Share of a loader's digits that the model gets right."""
    model.eval()
    right, count = 0, 0
    for images, labels in loader:
        right += int((model(images).argmax(1) == labels).sum())
        count += len(labels)
    return right / count


if __name__ == "__main__":
    main()
