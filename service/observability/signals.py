"""The signals of drift: what is counted of every answered picture, and its bins.

Metrics, the drift and the reference on a model's card share them. It imports nothing: training imports it too.
"""

CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)  # upper bounds, as of `INK_RATIOS`
INK_RATIOS = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
DIGITS = tuple(map(str, range(10)))
POLARITIES = ("light_on_dark", "dark_on_light")
NO_INK = "no_ink"
WARNINGS = (NO_INK, "too_faint", "several_shapes", "cut_off", "unlike_a_digit", "low_confidence")

# A picture is in one bin of each signal; but it may have several warnings, or none.
BINS: dict[str, tuple[float, ...] | tuple[str, ...]] = {
    "confidence": CONFIDENCES,
    "ink_ratio": INK_RATIOS,
    "digits": DIGITS,
    "polarity": POLARITIES,
    "warnings": WARNINGS,
}
# The first of the bins that drift takes together: rare ones say little of a few hundred pictures, and the thickness of
# a pen is no drift.
MERGED = {"confidence": (0, 4, 8, 10), "ink_ratio": (0, 1, 8)}
