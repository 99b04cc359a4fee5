"""The scale model's autoscaler: Kubernetes' arithmetic, with the rule of the overlay autoscale-on-wait."""

from __future__ import annotations

import pytest

from tests.support.scale.autoscaler import Autoscaler, Policy, Rule
from tests.support.scale.model import Waits, mean_wait
from tests.support.scale.pods import KUBERNETES

RULE = Rule.read(KUBERNETES / "overlays" / "autoscale-on-wait" / "scaledobject.yaml", 1)


def test_the_rule_is_that_of_the_overlay() -> None:
    """Targets, limits and times are read from the manifest; a speed divides the times alone."""
    assert (RULE.least, RULE.most, RULE.targets, RULE.window) == (2, 20, {"prometheus": 10.0, "cpu": 70.0}, 60.0)
    assert (RULE.up, RULE.down) == (Policy(1.0, 15.0, 0.0), Policy(0.5, 60.0, 300.0))
    fast = Rule.read(KUBERNETES / "overlays" / "autoscale-on-wait" / "scaledobject.yaml", 10)
    assert (fast.targets, fast.down, fast.poll) == (RULE.targets, Policy(0.5, 6.0, 30.0), 1.5)


@pytest.mark.parametrize(
    ("current", "wait", "cpu", "wanted"),
    [
        (4, 10.0, 70.0, 4),  # on target
        (4, 10.9, 20.0, 4),  # within the tolerance
        (4, 12.0, 20.0, 5),  # 4 · 1.2 = 4.8
        (4, 0.0, 100.0, 6),  # 4 · 100 / 70 = 5.7: the higher of both triggers
        (4, 1000.0, 0.0, 8),  # at most 100 % more in 15 s
        (15, 100.0, 0.0, 20),  # at most 20
        (2, 0.0, 0.0, 2),  # at least 2
    ],
)
def test_pods_follow_the_ratio_of_value_to_target(current: int, wait: float, cpu: float, wanted: int) -> None:
    """ceil(pods · value / target), of the trigger that wants more, within the limits."""
    assert Autoscaler(RULE).replicas(0.0, current, {"prometheus": wait, "cpu": cpu}) == wanted


def test_pods_double_once_in_a_period() -> None:
    """What was added in the last 15 s counts: two polls do not make four times as many."""
    autoscaler = Autoscaler(RULE)
    high = {"prometheus": 1000.0, "cpu": 0.0}
    assert autoscaler.replicas(0.0, 2, high) == 4
    assert autoscaler.replicas(10.0, 4, high) == 4
    assert autoscaler.replicas(20.0, 4, high) == 8


def test_pods_go_when_five_minutes_did_not_want_them() -> None:
    """The highest recommendation of 300 s holds; then half of the pods go in a minute."""
    autoscaler = Autoscaler(RULE)
    low = {"prometheus": 0.0, "cpu": 10.0}
    assert autoscaler.replicas(0.0, 8, {"prometheus": 10.0, "cpu": 0.0}) == 8
    for now in range(15, 300, 15):
        assert autoscaler.replicas(float(now), 8, low) == 8
    assert autoscaler.replicas(301.0, 8, low) == 4
    assert autoscaler.replicas(316.0, 4, low) == 4
    assert autoscaler.replicas(362.0, 4, low) == 2


def test_the_wait_is_the_mean_over_the_requests_of_all_pods() -> None:
    """A pod with many requests weighs more; without requests, and at the first scrape, it is 0."""
    first = {1: Waits(5.0, 100.0), 2: Waits(1.0, 10.0)}
    assert mean_wait([]) == mean_wait([first]) == mean_wait([first, first]) == 0
    later = {1: Waits(5.9, 190.0), 2: Waits(1.2, 20.0), 3: Waits(7.0, 70.0)}
    assert mean_wait([first, first, later]) == pytest.approx((0.9 + 0.2) / (90 + 10))


def test_a_pod_at_the_address_of_another_counts_from_its_start() -> None:
    """Prometheus counts so too."""
    assert mean_wait([{1: Waits(5.0, 100.0)}, {1: Waits(0.3, 10.0)}]) == pytest.approx(0.03)
