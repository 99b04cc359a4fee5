"""What several tests of training share: a small configuration, and a network trained with it."""

from __future__ import annotations

import re
from html import unescape
from typing import TYPE_CHECKING, NamedTuple

from training.__main__ import parse
from training.config import Config

if TYPE_CHECKING:
    from training.data import Digits
    from training.network.mlp import Network

RARELY = 86_400.0  # seconds between checkpoints
SMALL = Config(hidden=(64, 32), epochs=1)


def run_command(*words: str) -> None:
    """Run a command of `python -m training` in this process; its errors are raised."""
    module, given = parse(list(words))
    module.run(given)


def visible_text(page: str) -> str:
    """The text that a report shows at first, without the lines of its words."""
    body = re.sub(r'<span role="tooltip".*?</span>', "", page[page.index("<body>") :])
    return " ".join(
        unescape(re.sub(r"</?(?:button|b|span)[^>]*>|(<[^>]*>)", lambda tag: " " * bool(tag[1]), body)).split()
    )


class Trained(NamedTuple):
    """A small network after one epoch, and digits that it has not seen."""

    network: Network
    validation: Digits
