"""Build the dashboards: panels in rows, with their variables, links and marks; and write them as JSON for Grafana.

.venv/bin/python -m deploy.grafana    writes deploy/grafana/dashboards/*.json anew

In: the rows of panels of each dashboard. Out: the JSON that Grafana 10.1 and later read. Its ids and order are always
the same, so that a difference is a change.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from . import pictures, process, service
from .panels import DATASOURCE, series

if TYPE_CHECKING:
    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

FOLDER = Path(__file__).parent / "dashboards"
TAG = "mnist"


class Content(Protocol):
    """A module that has one dashboard's name, title, description and panels."""

    NAME: str
    TITLE: str
    DESCRIPTION: str

    def panels(self) -> dict[str, list[Builder[Panel]]]:
        """Return the panels by the titles of their rows."""


class Mark(NamedTuple):
    """What is marked in all panels: its name, when it is there, its title and its colour."""

    name: str
    expr: str
    title: str
    color: str


MARKS = (
    # Many alerts are about all instances together.
    Mark("Alerts", 'ALERTS{alertstate="firing", alertname=~"Mnist.+", job="$job"}', "{{alertname}}", "red"),
    Mark(
        "Version loaded",
        f"changes({series('model_load_timestamp_seconds')}[$__rate_interval]) > 0",
        "{{instance}} loaded a version",
        "blue",
    ),
    Mark(
        "Worker restarted",
        f"increase({series('worker_restarts_total')}[$__rate_interval]) > 0",
        "{{instance}} restarted a worker: {{reason}}",
        "orange",
    ),
)
DASHBOARDS: tuple[Content, ...] = (service, pictures, process)


def build(content: Content) -> str:
    """Return a dashboard as JSON."""
    board = (
        builders.Dashboard(content.TITLE)
        .uid(f"{TAG}-{content.NAME}")
        .description(content.DESCRIPTION)
        .tags([TAG])
        .refresh("10s")
        .time("now-1h", "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(_link())
        .with_variable(builders.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            _variable("job", "Service", "mnist_build_info").current(VariableOption(text="mnist", value="mnist"))
        )
        .with_variable(
            _variable("instance", "Instance", 'mnist_build_info{job="$job"}')
            .multi(True)
            .include_all(True)
            .all_value(".+")
            .current(VariableOption(text=["All"], value=["$__all"]))
        )
    )
    for mark in MARKS:
        board.annotation(
            builders.AnnotationQuery()
            .name(mark.name)
            .datasource(DATASOURCE)
            .enable(True)
            .icon_color(mark.color)
            .expr(mark.expr)
        )
    for title, panels in content.panels().items():
        board.with_row(builders.Row(title))
        for panel in panels:
            board.with_panel(panel)
    built = board.build()
    for number, placed in enumerate(built.panels or [], 1):
        placed.id_val = number
    text = JSONEncoder(sort_keys=True, indent=2).encode(built)
    fields = json.loads(text)
    for mark, found in zip(MARKS, fields["annotations"]["list"], strict=True):
        found["titleFormat"] = mark.title  # the SDK does not have it
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def _link() -> builders.DashboardLink:
    return (
        builders.DashboardLink("MNIST")
        .type(DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .include_vars(True)
        .keep_time(True)
    )


def _variable(name: str, label: str, of: str) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"query": f"label_values({of}, {name})", "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def write() -> None:
    """Write all dashboards."""
    FOLDER.mkdir(exist_ok=True)
    for content in DASHBOARDS:
        (FOLDER / f"{content.NAME}.json").write_text(build(content))
