"""Who is let in, through `service.inference.admission.Admission`, with a real queue of pictures and of files to
decode.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from service.errors import DeadlineExceeded, Malformed, Overloaded
from tests.support.inference import Door

if TYPE_CHECKING:
    from service.model.classifier import Classifier


def test_where_nothing_waits_a_request_has_the_services_time(classifier: Classifier) -> None:
    """With a model and without one, and whatever it brings."""
    for serving in (True, False):
        door = Door(classifier, serving=serving, timeout_seconds=7)
        assert (door.now(), door.now(large=True), door.now(ago=100)) == (7, 7, 7)


def test_a_client_may_have_less_time(classifier: Classifier) -> None:
    """Counted from the request's first byte; more than the service's own it does not get."""
    door = Door(classifier, timeout_seconds=7)
    assert door.now("60000") == 7
    assert 4.0 < door.now("5000", ago=0.5) <= 4.5
    with pytest.raises(DeadlineExceeded) as refusal:
        door.now("1500", ago=1.5)
    assert str(refusal.value) == "The deadline of 1.5 s in X-Request-Timeout-Ms had passed already."
    assert refusal.value.limit == 1.5


@pytest.mark.parametrize("timeout", ["", "0", "-1", "1.5", "1e3", " 5", "1000000000", "\u0665", "x" * 50])
def test_a_time_that_is_no_number_is_malformed(classifier: Classifier, timeout: str) -> None:
    """The sentence says what a number is, and quotes what was found as far as it is short."""
    with pytest.raises(Malformed) as refusal:
        Door(classifier).now(timeout)
    numbers = "a whole number of milliseconds from 1 to 999999999"
    assert str(refusal.value) == f"X-Request-Timeout-Ms is {numbers}; found {timeout[:40]!r}."


def test_the_longest_time_is_read(classifier: Classifier) -> None:
    """Both ends of the range."""
    door = Door(classifier, timeout_seconds=1e9)
    assert 900_000 < door.now("999999999") < 1_000_000
    with pytest.raises((DeadlineExceeded, Overloaded)):
        door.now("1", ago=0.001)


def test_who_would_wait_for_too_long_is_refused(classifier: Classifier) -> None:
    """503 with the wait, the limit, and when to come back."""
    door = Door(classifier, max_wait_seconds=0.5)

    def story() -> None:
        with pytest.raises(Overloaded) as refusal:
            door.now()
        sentence = r"A picture would wait for about (3|2\.9|3\.1) s; the limit is 0\.5 s\. Retry in ([34]) s\."
        found = re.fullmatch(sentence, str(refusal.value))
        assert found, refusal.value
        assert (refusal.value.limit, refusal.value.retry_after_s) == (0.5, int(found[2]))

    door.while_pictures_wait(story)
    assert door.now() == 10


def test_who_would_be_late_is_refused(classifier: Classifier) -> None:
    """A wait that all others may have is too long for who has less time than it, and its own run."""
    door = Door(classifier, max_wait_seconds=60)

    def story() -> None:
        assert door.now() == 10
        with pytest.raises(Overloaded) as refusal:
            door.now("1000")
        assert refusal.value.limit is not None
        assert 0 <= refusal.value.limit <= 1 - door.run

    door.while_pictures_wait(story)


def test_files_wait_for_others_to_be_decoded(classifier: Classifier) -> None:
    """Where they are large: the wait for the threads is theirs too."""
    door = Door(classifier, max_wait_seconds=0.001)

    async def story() -> None:
        assert door.now() == 10
        with pytest.raises(Overloaded):
            door.now(large=True)

    door.while_files_wait(story)
