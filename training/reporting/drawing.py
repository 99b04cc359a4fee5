"""Charts as SVG inside HTML, in the colours of the page.

In: curves. Out: a `<figure>` of HTML. Matplotlib writes colours as numbers; here each becomes a CSS variable, so that
one drawing serves light and dark pages.
"""

from __future__ import annotations

import html
import io
import math
import re
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final, NamedTuple

import matplotlib as mpl
import matplotlib.style
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matplotlib.axes import Axes

HERE: Final = Path(__file__).parent
STYLE: Final = HERE / "report.mplstyle"
WIDTH: Final = 4.6  # of a chart, in inches: its text is of the page's size on a phone, and a little larger elsewhere
MARKED: Final = 15  # curves of fewer points have a mark at each
NEUTRAL: Final = {"#16181d": "ink", "#55585f": "quiet", "#999999": "axis", "#e6e6e3": "grid"}
# How fine the ticks of a logarithmic axis may be: the first that has few enough is taken.
STEPS: Final = ((1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8), (1, 2, 3, 5), (1, 3), (1,))
MOST_TICKS: Final = 7


class Curve(NamedTuple):
    """A curve with a name; a chart leaves out the points that it cannot show. `colour` is its place in the palette."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    colour: int = 0


def fill_template(name: str, **parts: str) -> str:
    """Return a template of this folder, filled with the style and the parts."""
    style = (HERE / "report.css").read_text()
    return Template((HERE / name).read_text()).substitute(parts, style=style)


def draw_curves(
    title: str, curves: Sequence[Curve], *, unit: str, log: bool = False, note: str = "", legend: bool = True
) -> str:
    """Draw values by epoch in one unit, as curves, or as bars where there is one epoch. `title` and `note` are HTML."""
    curves = [_visible(curve, positive=log) for curve in curves]
    name = _describe(title, curves)
    if all(len(curve.y) < 2 for curve in curves):
        return _draw_bars(title, [curve for curve in curves if curve.y], unit, note, name)
    with axes_of(3.0) as (figure, axes):
        for curve in curves:
            mark = "o" if len(curve.x) < MARKED else ""
            axes.plot(curve.x, curve.y, _dash(curve.colour), color=f"C{curve.colour % 10}", marker=mark, markersize=4)
        axes.set(xlabel="epoch", ylabel=unit)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if log and (values := [value for curve in curves for value in curve.y]):
            scale_log(axes, min(values), max(values))
        else:
            axes.set_ylim(bottom=0)
        drawing = to_svg(figure, name)
    return frame(title, drawing, list_curves(curves) if legend and len(curves) > 1 else "", note)


def _draw_bars(title: str, curves: Sequence[Curve], unit: str, note: str, name: str) -> str:
    with axes_of(0.75 + 0.3 * len(curves)) as (figure, axes):
        for place, curve in enumerate(curves):
            axes.barh(place, curve.y[0], 0.6, color=f"C{curve.colour % 10}")
            axes.annotate(
                f"{curve.y[0]:.3g}", (curve.y[0], place), (4, 0), textcoords="offset points", va="center_baseline"
            )
        axes.set(xlabel=unit, yticks=range(len(curves)), yticklabels=[curve.name for curve in curves])
        axes.margins(x=0.15)
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        drawing = to_svg(figure, name)
    return frame(title, drawing, note)


def _visible(curve: Curve, *, positive: bool) -> Curve:
    """Return a curve without the points that are not finite, or that a logarithmic axis does not have."""
    shown = [(x, y) for x, y in zip(curve.x, curve.y, strict=True) if math.isfinite(y) and (y > 0 or not positive)]
    return curve._replace(x=[x for x, _ in shown], y=[y for _, y in shown])


def _describe(title: str, curves: Sequence[Curve]) -> str:
    """Return what a chart shows, in words, for those who do not see it."""
    plain = html.unescape(re.sub(r"<span role=.*?</span>|<[^>]*>", "", title))
    parts = [f"{curve.name} from {curve.y[0]:.3g} to {curve.y[-1]:.3g}".strip() for curve in curves if curve.y]
    return f"{plain}: {'; '.join(parts)}"


def list_curves(curves: Sequence[Curve]) -> str:
    """Return the names of curves, each with its colour, as an HTML list."""
    items = "".join(
        f'<li><svg width="26" height="10" aria-hidden="true"><path d="M0 5H26" fill="none" stroke-width="2.5" '
        f'stroke="var(--c{curve.colour % 10})" stroke-dasharray="{_DASHES[_dash(curve.colour)]}"/></svg> '
        f"{html.escape(curve.name)}</li>"
        for curve in curves
    )
    return f'<ul class="legend">{items}</ul>'


_DASHES: Final = {"-": "none", "--": "7 3", ":": "2 3"}


def _dash(colour: int) -> str:
    """Return the line of a curve: the palette has ten colours, and after them come dashes and dots."""
    return list(_DASHES)[colour // 10 % len(_DASHES)]


@contextmanager
def axes_of(height: float, rows: Sequence[float] = (1,)) -> Iterator[tuple[Figure, Axes]]:
    """Within it, the style is the report's: yields a figure of `height` inches, and the axes of its first row."""
    with mpl.style.context(STYLE):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots(len(rows), squeeze=False, sharex=True, height_ratios=list(rows))
        yield figure, axes[0, 0]


def scale_log(axes: Axes, low: float, high: float) -> None:
    """Make the y axis logarithmic, from one labelled tick to another, with all values between them."""
    ticks = round_numbers(low, high)
    axes.set_yscale("log")
    axes.set_ylim(ticks[0], ticks[-1])
    axes.yaxis.set_major_locator(FixedLocator(ticks))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e-0", "e-")))


def round_numbers(low: float, high: float) -> list[float]:
    """Return two to seven round numbers, of which the first is at most `low` and the last at least `high`."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 2)
    for steps in STEPS:
        numbers = [float(f"{step}e{decade}") for decade in decades for step in steps]
        first = max(place for place, number in enumerate(numbers) if number <= low)
        last = max(first + 1, min(place for place, number in enumerate(numbers) if number >= high))
        if last - first < MOST_TICKS:
            return numbers[first : last + 1]
    stride = -(-(last - first) // (MOST_TICKS - 1))  # in powers of ten
    return [float(f"1e{decades[first] + place}") for place in range(0, last - first + stride, stride)]


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as HTML, with a name for screen readers."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawing = stream.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r'<g id="[^"]*"', "<g", drawing)  # the same in each drawing
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"font: ([\d.]+px)[^;\"]*", r"font-size: \1", drawing)  # the page's font
    return f'<div role="img" aria-label="{html.escape(name)}">{_apply_theme(drawing)}</div>'


def _apply_theme(drawing: str) -> str:
    """Return a drawing with a CSS variable for each colour of the style."""
    palette = mpl.rc_params_from_file(STYLE, use_default_template=False)["axes.prop_cycle"].by_key()["color"]
    names = NEUTRAL | {f"#{colour.strip('#')}": f"c{place}" for place, colour in enumerate(palette)}
    return re.sub(
        r"#[0-9a-f]{6}\b", lambda match: f"var(--{names[match[0]]})" if match[0] in names else match[0], drawing
    )


def frame(title: str, *parts: str) -> str:
    """Return a figure with its title above its parts; all are HTML."""
    return f"<figure><figcaption>{title}</figcaption>{''.join(parts)}</figure>"
