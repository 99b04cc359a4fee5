"""The array types that packages pass to each other, each named once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H, W], [H, W, 3] or, as the network reads them, [N, 1, 28, 28]; 0 to 255
Probabilities = NDArray[np.float32]  # [N, 10]
Mask = NDArray[np.bool_]  # [H, W]
Labels = NDArray[np.int64]  # [H, W]: the number of each pixel's component, -1 outside of all
Field = NDArray[np.float32]  # [H, W]
Colours = NDArray[np.float32]  # [H, W, C], C 1 or 3
