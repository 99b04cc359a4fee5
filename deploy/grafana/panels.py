"""Kinds of panels that the dashboards share, each in one style, and PromQL that they share.

In: a title, what the panel means, and PromQL. Out: builders of grafana-foundation-sdk. It knows no metric's meaning.

Every query is limited to the variables `job` and `instance` of its dashboard: one Grafana can show several services.
"""

from __future__ import annotations

from string import ascii_uppercase
from typing import TYPE_CHECKING, NamedTuple

from grafana_foundation_sdk.builders import bargauge, common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueGraphMode,
    GraphTresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    DataTransformerConfig,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from grafana_foundation_sdk.cog.builder import Builder
    from grafana_foundation_sdk.models.dashboard import Panel

    Steps = Sequence[tuple[float | None, str]]  # a colour, and the value from which it holds

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
SELECTED = 'job="$job", instance=~"$instance"'
RANGE = "$__range"  # that the dashboard shows
WIDE, HALF, THIRD, QUARTER, SMALL = 24, 12, 8, 6, 4  # of 24 columns
# Requests that take pictures, over HTTP and gRPC: the two objectives are for them.
PREDICTIONS = 'route=~".*([/:]predict|/predictions/{model}|/infer|Infer)"'
GREEN, YELLOW, RED, GREY = "green", "#EAB839", "red", "text"


class Query(NamedTuple):
    """PromQL, and the name of each series that it returns."""

    expr: str
    legend: str


def series(name: str, labels: str = "") -> str:
    """Return the selector of a metric of this service; `name` is without its prefix."""
    return f"mnist_{name}{{{', '.join(filter(None, (SELECTED, labels)))}}}"


def rate(name: str, labels: str = "", window: str = "$__rate_interval") -> str:
    """Return the rate of a counter, a second."""
    return f"rate({series(name, labels)}[{window}])"


def increase(name: str, labels: str = "") -> str:
    """Return what a counter grew by in the range that the dashboard shows."""
    return f"increase({series(name, labels)}[{RANGE}])"


def total(expr: str, by: str = "") -> str:
    """Return the sum of series, by some labels."""
    return f"sum by ({by}) ({expr})" if by else f"sum({expr})"


def mean(name: str, by: str = "", labels: str = "") -> str:
    """Return the mean of a histogram's observations."""
    return f"{total(rate(f'{name}_sum', labels), by)} / {total(rate(f'{name}_count', labels), by)}"


def quantile(share: float, name: str, by: str = "", labels: str = "") -> str:
    """Return a quantile of a histogram's observations."""
    wanted = ", ".join(filter(None, ("le", by)))
    return f"histogram_quantile({share}, {total(rate(f'{name}_bucket', labels), wanted)})"


def per_bucket(name: str, labels: str = "") -> str:
    """Return a histogram's observations a second, by bucket, for a heat map."""
    return total(rate(f"{name}_bucket", labels), "le")


def number(
    title: str,
    description: str,
    expr: str,
    unit: str,
    *,
    steps: Steps = (),
    decimals: int | None = None,
    none: str = "",
    span: int = SMALL,
    height: int = 4,
) -> Builder[Panel]:
    """Return a panel with the newest value; `none` is the text where the query has no result, or no number.

    A value that is about the whole range is asked for once, and has no line behind it.
    """
    query = _target(Query(f"({expr}) >= 0" if none else expr, title))
    of_range = RANGE in expr
    panel = (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .span(span)
        .height(height)
        .graph_mode(BigValueGraphMode.NONE if of_range else BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps or [(None, GREY)]))
        .with_target(query.instant() if of_range else query)
    )
    if decimals is not None:
        panel.decimals(decimals)
    return panel.no_value(none) if none else panel


def lines(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    span: int = HALF,
    stacked: bool = False,
    most: float | None = None,
    steps: Steps = (),
    exemplars: bool = False,
) -> Builder[Panel]:
    """Return a panel with lines over time; `steps` are drawn as dashed lines, and exemplars as points."""
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["mean", "max", "lastNotNull"])
    )
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(9)
        .legend(legend)
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
        .fill_opacity(25 if stacked else 8)
        .color_scheme(builders.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(_thresholds(steps or [(None, GREY)]))
    )
    if stacked:
        panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if most is not None:
        panel.max(most)
    if steps:
        panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphTresholdsStyleMode.DASHED))
    for name, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(query, name).exemplar(exemplars))
    return panel


def heat(title: str, description: str, unit: str, expr: str, *, span: int = HALF) -> Builder[Panel]:
    """Return a heat map of a histogram's buckets over time."""
    query = _target(Query(expr, "{{le}}")).format(PromQueryFormat.HEATMAP)
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(span)
        .height(9)
        .calculate(False)
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64))
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .show_legend()
        .show_tooltip()
        .with_target(query)
    )


def bars(title: str, description: str, unit: str, query: Query, *, span: int = HALF) -> Builder[Panel]:
    """Return a panel with one horizontal bar for each series, for the whole range."""
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .unit(unit)
        .min(0)
        .span(span)
        .height(9)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_scheme(builders.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
        .with_target(_target(query).instant())
    )


def rows(title: str, description: str, expr: str, columns: Mapping[str, str]) -> Builder[Panel]:
    """Return a table with a row for each series, and a column for each of these labels, under the given heads."""
    chosen = {"include": {"names": list(columns)}}
    order = {
        "indexByName": {label: position for position, label in enumerate(columns)},
        "renameByName": dict(columns),
    }
    return (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(DATASOURCE)
        .span(HALF)
        .height(6)
        .show_header(True)
        .with_target(_target(Query(expr, "")).instant().format(PromQueryFormat.TABLE))
        .with_transformation(DataTransformerConfig(id_val="filterFieldsByName", options=chosen))
        .with_transformation(DataTransformerConfig(id_val="organize", options=order))
    )


def _target(query: Query, name: str = "A") -> prometheus.Dataquery:
    return prometheus.Dataquery().ref_id(name).expr(query.expr).legend_format(query.legend).datasource(DATASOURCE)


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(ThresholdsMode.ABSOLUTE)
        .steps([Threshold(value=value, color=color) for value, color in steps])
    )
