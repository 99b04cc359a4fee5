"""The arithmetic of Kubernetes' HorizontalPodAutoscaler, with the rule of an overlay of deploy/kubernetes.

In: the rule, and at each poll the number of pods and the value of each trigger. Out: the number of pods that should be.
Every time of the rule is divided by a speed, so that minutes take seconds. It knows neither pods nor metrics.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TOLERANCE = 0.1  # of the controller: a value this near to its target changes nothing
POLL_SECONDS = 15.0  # of the controller


class Policy(NamedTuple):
    """By how much the number of pods may change, and for how long the controller remembers what it wanted."""

    share: float  # of the pods there were at the beginning of the period
    seconds: float  # the period
    stabilization: float  # seconds


@dataclass(frozen=True)
class Rule:
    """What a ScaledObject says. Times are in seconds, divided by the speed."""

    least: int
    most: int
    targets: Mapping[str, float]  # by trigger: of `prometheus` as its query computes it, of `cpu` in percent
    window: float  # over which the query takes the mean
    up: Policy
    down: Policy
    poll: float

    @classmethod
    def read(cls, path: Path, speed: float) -> Rule:
        """Read a ScaledObject with triggers of Prometheus and CPU."""
        spec = yaml.safe_load(path.read_text())["spec"]
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        triggers = {trigger["type"]: trigger["metadata"] for trigger in spec["triggers"]}
        window = re.search(r"\[(\d+)m\]", triggers["prometheus"]["query"])
        assert window
        return cls(
            spec["minReplicaCount"],
            spec["maxReplicaCount"],
            {"prometheus": float(triggers["prometheus"]["threshold"]), "cpu": float(triggers["cpu"]["value"])},
            int(window[1]) * 60 / speed,
            _policy(behavior["scaleUp"], speed),
            _policy(behavior["scaleDown"], speed),
            POLL_SECONDS / speed,
        )


def _policy(behavior: Mapping[str, Any], speed: float) -> Policy:
    (policy,) = behavior["policies"]
    assert policy["type"] == "Percent"
    return Policy(
        policy["value"] / 100, policy["periodSeconds"] / speed, behavior["stabilizationWindowSeconds"] / speed
    )


class Autoscaler:
    """The controller's memory: what it recommended, and what it changed."""

    def __init__(self, rule: Rule) -> None:
        self._rule = rule
        self._recommended: list[tuple[float, int]] = []  # when, how many
        self._changes: list[tuple[float, int]] = []  # when, by how many

    def replicas(self, now: float, current: int, values: Mapping[str, float]) -> int:
        """Return how many pods there should be. `now` is in seconds; a trigger's value has the unit of its target."""
        rule = self._rule
        wanted = max(_wanted(current, value / rule.targets[name]) for name, value in values.items())
        wanted = min(rule.most, max(rule.least, wanted))
        self._recommended = [each for each in self._recommended if each[0] > now - rule.down.stabilization]
        self._recommended.append((now, wanted))
        if wanted < current:  # as many as were wanted at any time of the window
            wanted = min(current, max(pods for _, pods in self._recommended))
        wanted = min(wanted, math.ceil(self._at_start(now, current, rule.up) * (1 + rule.up.share)))
        wanted = max(wanted, int(self._at_start(now, current, rule.down) * (1 - rule.down.share)))
        if wanted != current:
            self._changes.append((now, wanted - current))
        return wanted

    def _at_start(self, now: float, current: int, policy: Policy) -> int:
        """How many pods there were when the period began, but for changes in the other direction."""
        sign = 1 if policy is self._rule.up else -1
        return current - sum(
            change for when, change in self._changes if when > now - policy.seconds and change * sign > 0
        )


def _wanted(current: int, ratio: float) -> int:
    return current if abs(ratio - 1) <= TOLERANCE else math.ceil(current * ratio)
