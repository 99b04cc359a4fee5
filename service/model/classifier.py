"""The loaded model: uint8[N,1,28,28] in, float32[N,10] probabilities out.

It is made from a verified `Artefact`, must reproduce the golden batch (which also warms it up), measures the cost of
its runs, and is trusted from then on: requests check nothing. It knows ONNX Runtime, but no picture, request or metric.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from ..errors import ModelError, NotCalibrated
from . import artefact, conformal, cost_curve

if TYPE_CHECKING:
    from pathlib import Path

    from ..arrays import Pixels, Probabilities
    from .artefact import Artefact

# Kernels differ from CPU to CPU in the last bits of float32; a wrong graph differs in the first digits.
GOLDEN_TOLERANCE = 1e-3
IMAGE_BYTES = 784


class Classifier:
    """One verified model version, ready to answer."""

    def __init__(self, verified: Artefact) -> None:
        self.name = verified.name
        self.version = verified.version
        self.sha256 = verified.sha256
        self.card = verified.card
        self.identity = {"name": self.name, "version": self.version}  # as responses name it
        self._quantiles = conformal.read_quantiles(verified.card)
        self._session = _session(verified)
        self._bind_one()
        self._check_golden(verified)
        self.costs = cost_curve.measure(self.predict)

    @classmethod
    def load(cls, model_dir: Path, version: str = "latest", keys: bytes = b"") -> Classifier:
        """Read, verify and warm up a version below `model_dir`; raises `ModelError`. With `keys` it must be signed."""
        return cls(artefact.read(model_dir, version, keys))

    def predict(self, images: Pixels) -> Probabilities:
        """Return probabilities float32[N,10] of images uint8[N,1,28,28], light ink on dark."""
        (probabilities,) = self._session.run(None, {"images": images})
        return probabilities  # type: ignore[no-any-return]

    def predict_one(self, pixels: bytes) -> Probabilities:
        """Return probabilities float32[1,10] of one image's 784 pixels; not for two threads at once.

        What ONNX Runtime's Python code does for a run is a seventh of the time of a run of one image. Here it is done
        once: the runtime reads and writes the same memory in each run.
        """
        self._input[:] = pixels
        self._session.run_with_iobinding(self._one)
        return self._output.copy()

    def _bind_one(self) -> None:
        """Bind the memory of one image, and of its probabilities."""
        self._input = memoryview(bytearray(IMAGE_BYTES))
        self._output = np.empty((1, 10), np.float32)
        address = np.frombuffer(self._input, np.uint8).ctypes.data
        self._one = self._session.io_binding()
        self._one.bind_input("images", "cpu", 0, np.uint8, (1, 1, 28, 28), address)
        self._one.bind_output("probabilities", "cpu", 0, np.float32, (1, 10), self._output.ctypes.data)

    def quantile(self, coverage: float) -> float:
        """Return the quantile for sets of digits of this coverage; raises `NotCalibrated` if the card has none."""
        if self._quantiles is None:
            raise NotCalibrated(
                f"Version {self.version} of {self.name} makes no sets of digits: its card has no quantiles. "
                "Ask without coverage, or serve a version that has them."
            )
        return self._quantiles.at(coverage)

    def _check_golden(self, verified: Artefact) -> None:
        found = self.predict(verified.golden_images)
        difference = float(np.abs(found - verified.golden_probabilities).max())
        if not difference <= GOLDEN_TOLERANCE:
            raise ModelError(
                f"model {self.name} version {self.version}: expected the golden batch's probabilities "
                f"within {GOLDEN_TOLERANCE}, found a difference of {difference:.3g}"
            )


def _session(verified: Artefact) -> ort.InferenceSession:
    options = ort.SessionOptions()
    # One thread: a small model runs faster than threads wake, and idle threads would spin.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    # Without this the runtime detects the format, and would accept its own, of which nothing was checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    where = f"model {verified.name} version {verified.version}"
    try:
        session = ort.InferenceSession(verified.model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - the runtime raises a dozen unrelated classes
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{where}: expected a model that ONNX Runtime loads, found {first_line[:300]}") from None
    session._model_bytes = None  # the session keeps them to recreate itself when a GPU fails
    found = [(x.name, x.type, x.shape[1:]) for x in (*session.get_inputs(), *session.get_outputs())]
    expected = [("images", "tensor(uint8)", [1, 28, 28]), ("probabilities", "tensor(float)", [10])]
    if found != expected or any(isinstance(x.shape[0], int) for x in session.get_inputs()):
        raise ModelError(f"{where}: expected the signature {expected} with a free batch size, found {found}")
    return session
