"""The scale model in its short form: pods behind an edge with its shipped configuration, drained, rolled and killed.

`make scale` is the long form, with figures.
"""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.edges import PROGRAMS, running_edge
from tests.support.scale.autoscaler import Rule
from tests.support.scale.load import running_load
from tests.support.scale.model import SCALED_OBJECT, Model, Scaler, request_of
from tests.support.scale.pods import running_deployment

if TYPE_CHECKING:
    from collections.abc import Iterator

PER_SECOND = 50.0
SPEED = 10.0

pytestmark = pytest.mark.skipif(PROGRAMS["nginx"] is None, reason="nginx is not installed")


@pytest.fixture(scope="module")
def model() -> Iterator[Model]:
    """Two pods, of addresses for three, all of which nginx knows; each disturbance is done once, under load."""
    with (
        running_deployment(2, 3, speed=SPEED) as pods,
        running_edge("nginx", pods.urls) as edge,
        running_load(edge.url, edge.certificate, request_of(1)[1], PER_SECOND) as load,
    ):
        model = Model(pods, edge, load, [])
        time.sleep(2)  # the load begins
        model.disturb("drained", 1, lambda: pods.drain(pods.pods[0]))
        model.disturb("rolled", 1, pods.roll)
        model.disturb("scaled", 1, lambda: _scale(model))
        model.disturb("killed", 1, lambda: pods.kill(pods.pods[0]), kills=True)
        model.read_errors()
    yield model


def _scale(model: Model) -> None:
    """The autoscaler's loop finds more CPU than the target, adds a pod, and later it goes."""
    rule = Rule.read(SCALED_OBJECT, SPEED)
    targets = {**rule.targets, "cpu": 0.01}
    assert Scaler(model, dataclasses.replace(rule, targets=targets), 3).follow(2 * rule.poll)[-1] == 3
    model.deployment.wait_until_ready(model.deployment.pods[-1])  # nginx asks it already
    model.deployment.scale(2)


@pytest.mark.parametrize("name", ["drained", "rolled", "scaled"])
def test_nothing_is_lost(model: Model, name: str) -> None:
    """Every request has a whole response, which is 200."""
    outcome = model.outcome(name)
    assert outcome.requests > PER_SECOND
    assert (outcome.lost, outcome.other) == (0, 0), model.errors


def test_a_killed_pod_takes_only_what_it_was_answering(model: Model) -> None:
    """Of the requests around a SIGKILL some may be lost, by clients that wait; all others are answered."""
    outcome = model.outcome("killed")
    assert outcome.requests > PER_SECOND
    assert outcome.lost <= outcome.requests / 10
    assert outcome.other == 0
