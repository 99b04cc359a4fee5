"""The metrics of predictions: what is asked, how long each stage takes, and what is answered."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .labels import STAGES
from .signals import BINS, CONFIDENCES, DIGITS, INK_RATIOS, POLARITIES, WARNINGS

if TYPE_CHECKING:
    from .declarations import Declarations

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
REJECTIONS = ("malformed", "not_a_picture", "too_large", "unusable")


class PredictionMetrics:
    """Pictures in, digits out."""

    def __init__(self, declare: Declarations) -> None:
        self.stages = declare.histograms(
            "stage_duration_seconds", "Time of one stage of a prediction.", "stage", STAGES
        )
        self.batch_size = declare.histogram("batch_size", "Pictures in one run of the model.", buckets=BATCH_SIZES)
        self.run_seconds = declare.counter(
            "inference_run_seconds_total", "Time of runs of the model, counted once for each request in them."
        )
        self.last_inference = declare.gauge(
            "last_inference_timestamp_seconds", "When the model last ran, Unix time; 0: never.", over_workers="max"
        )
        self.queue_depth = declare.gauge("queue_depth", "Pictures that wait for the model.", over_workers="livesum")
        self.predicted_wait = declare.gauge(
            "predicted_wait_seconds",
            "Predicted wait for the model of a small picture that comes now, in the worker that has the longest.",
            over_workers="livemax",
        )
        digits = declare.counters("predictions_total", "Digits answered.", "digit", DIGITS)
        self.digits = list(digits.values())
        self.confidence = declare.histogram(
            "prediction_confidence", "Probability of the answered digit.", buckets=CONFIDENCES
        )
        self.ink_ratio = declare.histogram(
            "input_ink_ratio", "Share of a picture's pixels that are ink.", buckets=INK_RATIOS
        )
        self.polarities = declare.counters(
            "input_polarity_total", "Pictures with light ink on dark, or dark ink on light.", "polarity", POLARITIES
        )
        self.warnings = declare.counters("warnings_total", "Warnings of answered pictures.", "warning", WARNINGS)
        # Computed at each scrape: `service.observability.drift`.
        drift = declare.plain_gauge(
            "drift",
            "Population stability index of the last 400 pictures, or more, by the model's reference; NaN: unknown.",
            "signal",
            over_workers="livemax",
        )
        for signal in BINS:
            drift.labels(signal).set(math.nan)
        self.rejected = declare.counters("rejected_images_total", "Pictures refused.", "reason", REJECTIONS)
