"""The dashboard of the pictures: what comes in, what is answered, how far it drifts, and how a canary agrees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .panels import (
    GREEN,
    QUARTER,
    RED,
    THIRD,
    WIDE,
    YELLOW,
    Query,
    bars,
    heat,
    increase,
    lines,
    number,
    per_bucket,
    quantile,
    rate,
    series,
    total,
)

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

NAME, TITLE = "pictures", "MNIST: pictures"
DESCRIPTION = "Digits, confidence, warnings, ink and drift of the pictures; agreement of the canary with what serves."

DRIFT = [(None, GREEN), (0.1, YELLOW), (0.25, RED)]
PICTURES = total(rate("input_polarity_total"))  # each picture that was answered counts once
ALL_PICTURES = total(increase("input_polarity_total"))
COMPARED = total(increase("shadow_answers_total"))
AGREED = total(increase("shadow_answers_total", 'agreement="same"'))


def panels() -> dict[str, list[Builder[Panel]]]:
    """Return the panels by the titles of their rows."""
    return {
        "At a glance": _glance(),
        "Answers": _answers(),
        "Pictures": _pictures(),
        "Drift": _drift(),
        "Canary and shadow": _canary(),
    }


def _glance() -> list[Builder[Panel]]:
    unsure = total(increase("prediction_confidence_bucket", 'le="0.5"'))
    without_ink = total(increase("warnings_total", 'warning="no_ink"'))
    return [
        number("Pictures", "Pictures answered, a second.", PICTURES, "cps"),
        number(
            "Unsure",
            "Share of the digits in the range shown with a confidence of 0.5 at most.",
            f"{unsure} / {total(increase('prediction_confidence_count'))}",
            "percentunit",
            steps=[(None, GREEN), (0.05, YELLOW), (0.1, RED)],
            decimals=1,
            none="no pictures",
        ),
        number(
            "Without ink",
            "Share of the pictures in the range shown that have no digit to read.",
            f"{without_ink} / {ALL_PICTURES}",
            "percentunit",
            decimals=1,
            none="no pictures",
        ),
        number("Refused", "Pictures that could not be read, a second.", total(rate("rejected_images_total")), "cps"),
        number(
            "Highest drift",
            "The highest index of any signal. From 0.1 on a look is worth it; above 0.25 the pictures are others.",
            f"max({series('drift')})",
            "none",
            steps=DRIFT,
            decimals=2,
            none="under 400 pictures",
        ),
        number(
            "Canary agrees",
            "Share of the compared pictures in the range shown for which both versions have the same digit.",
            f"{AGREED} / {COMPARED}",
            "percentunit",
            steps=[(None, RED), (0.98, GREEN)],
            decimals=1,
            none="no canary",
        ),
    ]


def _answers() -> list[Builder[Panel]]:
    return [
        lines(
            "Digits",
            "Digits answered, a second. Pictures without ink have none.",
            "cps",
            Query(total(rate("predictions_total"), "digit"), "{{digit}}"),
            stacked=True,
        ),
        bars(
            "Digits in the range shown",
            "How often each digit was answered.",
            "short",
            Query(total(increase("predictions_total"), "digit"), "{{digit}}"),
        ),
        heat(
            "Confidence",
            "Digits a second by the probability of the answered digit; a row is named by the highest in it.",
            "none",
            per_bucket("prediction_confidence"),
        ),
        lines(
            "Warnings",
            "Share of the pictures with each warning. A picture may have several.",
            "percentunit",
            Query(f"{total(rate('warnings_total'), 'warning')} / on () group_left () {PICTURES}", "{{warning}}"),
        ),
    ]


def _pictures() -> list[Builder[Panel]]:
    return [
        heat(
            "Ink",
            "Pictures a second by the share of their pixels that are ink; a row is named by the largest share in it.",
            "percentunit",
            per_bucket("input_ink_ratio"),
            span=THIRD,
        ),
        lines(
            "Polarity",
            "Light ink on dark, as MNIST has it, and dark ink on light, as on paper.",
            "cps",
            Query(total(rate("input_polarity_total"), "polarity"), "{{polarity}}"),
            span=THIRD,
            stacked=True,
        ),
        lines(
            "Refused pictures",
            "malformed: damaged. not_a_picture: no format that is read. too_large: over a limit. unusable: no pixels.",
            "cps",
            Query(total(rate("rejected_images_total"), "reason"), "{{reason}}"),
            span=THIRD,
        ),
    ]


def _drift() -> list[Builder[Panel]]:
    return [
        lines(
            "Drift by signal",
            "Population stability index of the last 400 pictures or more, against the reference on the model's card. "
            "No line: unknown. The dashed lines: a look is worth it (0.1), and the alert MnistDrift (0.25).",
            "none",
            Query(f"max by (signal) ({series('drift')} >= 0)", "{{signal}}"),
            span=WIDE,
            steps=DRIFT,
        ),
    ]


def _canary() -> list[Builder[Panel]]:
    shadow = "shadow_inference_seconds"
    return [
        number(
            "Canary",
            "The canary's version; 0: there is none.",
            f"max({series('canary_version')})",
            "none",
            span=QUARTER,
        ),
        number(
            "Share of requests",
            "Percent of the requests that the canary answers; 0: it is only compared.",
            f"max({series('canary_percent')})",
            "percent",
            span=QUARTER,
        ),
        number(
            "Stopped",
            "Canaries that were stopped automatically in the range shown.",
            total(increase("canary_rollbacks_total")),
            "short",
            steps=[(None, GREEN), (0.5, RED)],
            decimals=0,
            span=QUARTER,
        ),
        number(
            "Not compared",
            "Requests a second that were not compared, to leave time for others.",
            total(rate("shadow_dropped_total")),
            "reqps",
            span=QUARTER,
        ),
        lines(
            "Canary and served version",
            "Pictures that both answered. doubted: the served version had a warning for it. failed: the canary failed.",
            "cps",
            Query(total(rate("shadow_answers_total"), "agreement"), "{{agreement}}"),
            stacked=True,
        ),
        lines(
            "Time of a run by version",
            "95 of 100 runs in a comparison take no longer.",
            "s",
            Query(quantile(0.95, shadow, "version"), "{{version}}"),
        ),
        lines(
            "Requests for the canary",
            "answered: by the canary. failed: by the served version in its place.",
            "reqps",
            Query(total(rate("canary_requests_total"), "result"), "{{result}}"),
        ),
        lines(
            "Canaries stopped by reason",
            "errors: it failed. latency: it was slower. agreement: it answered otherwise.",
            "short",
            Query(total(series("canary_rollbacks_total"), "reason"), "{{reason}}"),
        ),
    ]
