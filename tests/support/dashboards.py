"""The committed dashboards: their panels, and their queries as Grafana sends them."""

from __future__ import annotations

import json
from typing import Any

from tests.support.service import ROOT

FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
NAMES = ("service", "pictures", "process")


def dashboard(name: str) -> dict[str, Any]:
    """What the file of a dashboard holds."""
    return json.loads((FOLDER / f"{name}.json").read_text())  # type: ignore[no-any-return]


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels, without the titles of rows."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def promql(expr: str, *, scrape_seconds: int = 1) -> str:
    """A query as Grafana sends it for the service of the committed scrape job, with all of its instances."""
    window = f"{max(10, 4 * scrape_seconds)}s"  # four scrapes, as Grafana has it
    for variable, value in {"$__rate_interval": window, "$__range": "1m", "$job": "mnist", "$instance": ".+"}.items():
        expr = expr.replace(variable, value)
    assert "$" not in expr
    return expr
