from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from training.network import teacher as teacher_module
from training.network.teacher import Teacher

if TYPE_CHECKING:
    from training.data.mnist import Dataset


@pytest.mark.parametrize("deslant", [False, True])
def test_every_weight_of_a_teacher_learns_from_the_pixels_that_a_network_sees(dataset: Dataset, deslant: bool) -> None:
    """Digits give ten finite logits each, and a loss moves every weight, whichever part of the pixels is seen."""
    teacher = Teacher(deslant=deslant, seed=0)
    logits = teacher.classify(teacher.see_all(dataset.test.images[:32]))
    assert logits.shape == (32, 10)
    assert logits.dtype == torch.float32
    torch.nn.functional.cross_entropy(logits, dataset.test.labels[:32]).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in teacher.parameters())


def test_the_seed_alone_decides_a_teacher() -> None:
    """Two of the same seed have the same weights, whatever PyTorch's own generator is at; another seed has others."""
    first = Teacher(deslant=True, seed=3).state_dict()
    torch.manual_seed(99)
    again, other = Teacher(deslant=True, seed=3).state_dict(), Teacher(deslant=True, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_short_numbers_change_its_answers_little(dataset: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bfloat16, as on processors that multiply it, probabilities are those of float64 but for a few hundredths."""
    monkeypatch.setattr(teacher_module, "_multiplies_bfloat16", lambda _: True)
    teacher = Teacher(deslant=True, seed=0).eval()
    seen = teacher.see_all(dataset.test.images[:200])
    with torch.no_grad():
        short = torch.softmax(teacher.classify(seen), dim=1).double()
        exact = torch.softmax(teacher.double().classify(seen.double()), dim=1)
    torch.testing.assert_close(short, exact, atol=0.05, rtol=0)
    assert (short - exact).abs().max() > 1e-4  # it did
