"""The tables of settings and of metrics in docs/, from what the service declares.

.venv/bin/python -m tests.docs.tables    writes them anew
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry

from service.observability.metrics import Metrics
from service.settings import Settings
from tests.support.service import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics import MetricWrapperBase

DEFAULTS = {"port": "`8000`", "workers": "the cores"}  # of settings whose default the machine makes
VALUES_IN_ROW = 10


def settings() -> str:
    """A row for each setting: variable, default and description."""
    return _table(("variable", "default", "description"), map(_setting, Settings.model_fields))


def metrics() -> str:
    """A row for each metric: name, labels with the values that are known beforehand, type and description."""
    registry = CollectorRegistry()
    Metrics(registry)
    declared = list(registry._collector_to_names)
    return _table(("metric", "type", "description"), (_metric(each) for each in declared))  # type: ignore[arg-type]


TABLES = {"settings": ("configuration.md", settings), "metrics": ("metrics.md", metrics)}


def written(name: str) -> tuple[str, str]:
    """The text of a table's page, as it is and as it should be."""
    page, table = TABLES[name]
    text = (ROOT / "docs" / page).read_text()
    start, end = re.escape(f"<!-- {name}: made by tests/docs/tables.py -->\n"), f"<!-- end of {name} -->"
    fresh, replaced = re.subn(f"({start}).*({end})", lambda found: found[1] + table() + found[2], text, flags=re.DOTALL)
    assert replaced == 1, f"docs/{page} has no place for the table of {name}"
    return text, fresh


def _setting(name: str) -> tuple[str, ...]:
    field = Settings.model_fields[name]
    value = str(field.default).lower() if isinstance(field.default, bool) else field.default
    default = DEFAULTS.get(name, "unset" if value is None else f"`{value}`")
    assert field.description is not None
    return f"`MNIST_{name.upper()}`", default, field.description


def _metric(metric: MetricWrapperBase) -> tuple[str, ...]:
    (family,) = metric.describe()
    name = family.name + "_total" * (family.type == "counter")
    labels = ",".join(metric._labelnames)
    return f"`{name}{{{labels}}}`" if labels else f"`{name}`", family.type, family.documentation + _values(metric)


def _values(metric: MetricWrapperBase) -> str:
    """The values of its only label that are known before anything happened."""
    if len(metric._labelnames) != 1:
        return ""
    (label,) = metric._labelnames
    samples = [sample for family in metric.collect() for sample in family.samples]
    values = dict.fromkeys(sample.labels[label] for sample in samples if label in sample.labels)
    known = ", ".join(f"`{value}`" for value in values)
    return f" {label.capitalize()}: {known}." if 0 < len(values) < VALUES_IN_ROW else ""


def _table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


if __name__ == "__main__":
    for name, (page, _) in TABLES.items():
        (ROOT / "docs" / page).write_text(written(name)[1])
