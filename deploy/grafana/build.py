"""Build the dashboards: panels in rows, with their variables, links and marks; and write them as JSON for Grafana.

.venv/bin/python -m deploy.grafana    writes deploy/grafana/dashboards/*.json anew

In: the rows of panels of each dashboard. Out: the JSON that Grafana 10.1 and later read. Its ids and order are always
the same, so that a difference is a change.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

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
from .panels import DATASOURCE, SELECTED, series

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
    for mark in _marks():
        board.annotation(mark)
    for title, panels in content.panels().items():
        board.with_row(builders.Row(title))
        for panel in panels:
            board.with_panel(panel)
    built = board.build()
    for number, placed in enumerate(built.panels or [], 1):
        placed.id_val = number
    return JSONEncoder(sort_keys=True, indent=2).encode(built) + "\n"


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


def _marks() -> list[builders.AnnotationQuery]:
    """Return what is marked in all panels: alerts, loads of a version and restarts."""
    return [
        _mark("Alerts", f'ALERTS{{alertstate="firing", alertname=~"Mnist.+", {SELECTED}}}', "red"),
        _mark("Version loaded", f"changes({series('model_load_timestamp_seconds')}[$__rate_interval]) > 0", "blue"),
        _mark("Worker restarted", f"increase({series('worker_restarts_total')}[$__rate_interval]) > 0", "orange"),
    ]


def _mark(name: str, expr: str, color: str) -> builders.AnnotationQuery:
    return builders.AnnotationQuery().name(name).datasource(DATASOURCE).enable(True).icon_color(color).expr(expr)


def write() -> None:
    """Write all dashboards."""
    FOLDER.mkdir(exist_ok=True)
    for content in DASHBOARDS:
        (FOLDER / f"{content.NAME}.json").write_text(build(content))
