"""The report of a run: one self-contained HTML file with its learning curves, results, network and facts.

In: the card of the version, the network, the test digits and their probabilities. Out: HTML, drawings inline as SVG and
PNG.
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

import matplotlib as mpl
import matplotlib.style
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch.nn.utils import parameters_to_vector

from ..data.digits import CLASSES
from ..evaluation.metrics import BINS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from numpy.typing import NDArray
    from torch import Tensor

    from ..data.digits import Digits
    from ..network.mlp import Network

MISTAKES: Final = 40  # at most so many are shown, the worst first
NEURONS: Final = 96  # of the first layer
HERE: Final = Path(__file__).parent


def render_report(card: Mapping[str, Any], network: Network, digits: Digits, probabilities: Tensor) -> str:
    """Return the HTML of a run from its card, its network, and its probabilities float32[N,10] of digits."""
    test = card["metrics"]["test"]
    count = parameters_to_vector(network.parameters()).numel()
    facts = {
        "test accuracy": f"{test['accuracy']:.2%}",
        "NLL": f"{test['nll']:.4f}",
        "calibration error": f"{test['ece']:.2%}",
        "parameters": f"{count:,}",
        "training": f"{card['training']['seconds']:.1f} s",
    }
    with mpl.style.context(HERE / "report.mplstyle"):
        return fill_template(
            "report.html",
            title=html.escape(f"{card['name']}, recipe {card['training']['knobs']['recipe']}"),
            subtitle=html.escape(f"{card['created']}, seed {card['training']['seed']}"),
            facts="".join(f"<span><b>{value}</b>{name}</span>" for name, value in facts.items()),
            curves=_curves(card["training"]["epochs"]),
            results=_confusion(np.array(test["confusion"])) + _reliability(probabilities, digits.labels),
            mistakes=_mistakes(digits, probabilities),
            network=_layers(network) + _first_layer(network) + _table("Variants", _list_exports(card["exports"])),
            run=_table("Hyperparameters", card["training"]["knobs"])
            + _table(
                "Environment",
                {**card["libraries"], **card["environment"], **card["git"], "data": card["data"]["source"]},
            ),
        )


def fill_template(name: str, **parts: str) -> str:
    """Return a template of this folder, filled with the style and the parts."""
    style = (HERE / "report.css").read_text()
    return Template((HERE / name).read_text()).substitute(parts, style=style)


def _curves(epochs: list[dict[str, Any]]) -> str:
    number = [epoch["epoch"] for epoch in epochs]
    mark = "o" if len(epochs) < 15 else ""
    drawings = []
    for title, log, lines in (
        ("Loss, in nats", True, {"training, augmented": "loss", "validation NLL": "validation_nll"}),
        ("Validation error, %", True, {"": "validation_error"}),
        ("Learning rate after each epoch", False, {"": "learning_rate"}),
    ):
        figure, axes = make_axes(title, "epoch")
        for name, key in lines.items():
            values = [100 * (1 - e["validation_accuracy"]) if key == "validation_error" else e[key] for e in epochs]
            axes.plot(number, values, marker=mark, markersize=4, label=name)
        if log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
            axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
        if len(lines) > 1:
            axes.legend(frameon=False)
        drawings.append(to_svg(figure, title))
    figure, axes = make_axes("Gradient norm by layer, mean of each epoch", "epoch")
    for layer, norms in enumerate(zip(*(epoch["gradient_norms"] for epoch in epochs), strict=True), start=1):
        axes.plot(number, norms, marker=mark, markersize=4, label=f"layer {layer}")
    axes.set_yscale("log")
    axes.legend(frameon=False, ncols=2)
    return "".join(drawings) + to_svg(figure, "gradient norms")


def _confusion(counts: NDArray[np.int64]) -> str:
    figure, axes = make_axes("Confusion: rows are digits, columns are predictions", "prediction", size=(5, 4.6))
    wrong = counts * (1 - np.eye(CLASSES, dtype=np.int64))
    axes.imshow(wrong, cmap="Reds", vmax=max(1, wrong.max()) * 1.4)
    for (row, column), value in np.ndenumerate(counts):
        if value:
            colour = "#999" if row == column else "#16181d"
            axes.text(column, row, str(value), ha="center", va="center", color=colour, fontsize=8)
    axes.set(xticks=range(CLASSES), yticks=range(CLASSES), ylabel="digit")
    axes.grid(visible=False)
    return to_svg(figure, "confusion matrix")


def _reliability(probabilities: Tensor, labels: Tensor) -> str:
    """Draw accuracy against confidence in bins of equal width, with the number of digits in each."""
    confidence, answers = probabilities.max(dim=1)
    right = (answers == labels).double()
    bins = (confidence.double() * BINS).ceil().long().clamp(1, BINS) - 1
    counts = torch.bincount(bins, minlength=BINS)
    filled = counts > 0
    mean = [
        torch.bincount(bins, weights, minlength=BINS)[filled] / counts[filled]
        for weights in (confidence.double(), right)
    ]
    figure, axes = make_axes("Reliability: accuracy of predictions by their confidence", "confidence", size=(5, 4.6))
    axes.plot([0, 1], [0, 1], color="#999", linewidth=1, linestyle="--")
    axes.plot(mean[0].numpy(), mean[1].numpy(), marker="o")
    for x, y, n in zip(mean[0].tolist(), mean[1].tolist(), counts[filled].tolist(), strict=True):
        axes.annotate(f"{n:,}", (x, y), textcoords="offset points", xytext=(6, -11), fontsize=7.5, color="#777")
    axes.set(xlim=(0, 1.04), ylim=(0, 1.04), ylabel="accuracy")
    return to_svg(figure, "reliability diagram")


def _mistakes(digits: Digits, probabilities: Tensor) -> str:
    confidence, answers = probabilities.max(dim=1)
    wrong = torch.nonzero(answers != digits.labels)[:, 0]
    worst = wrong[confidence[wrong].argsort(descending=True)][:MISTAKES]
    return "".join(
        f"<figure><img src='{_png(255 - digits.images[i, 0].numpy())}' alt='digit {digits.labels[i]}'>"
        f"<figcaption><b>{answers[i]}</b> {confidence[i]:.0%}<br>is {digits.labels[i]}"
        f" {probabilities[i, digits.labels[i]]:.1%}</figcaption></figure>"
        for i in worst.tolist()
    )


def _layers(network: Network) -> str:
    """Draw the layers as boxes, their height by the number of units, with shapes and parameters."""
    layers = network.layers
    sizes = [layers[0].in_features, *(layer.out_features for layer in layers)]
    figure, axes = make_axes("Layers and parameters", "", size=(5, 4.2))
    heights = np.sqrt(sizes) / np.sqrt(max(sizes))
    for at, (size, height) in enumerate(zip(sizes, heights, strict=True)):
        box = mpl.patches.FancyBboxPatch((at - 0.14, -height / 2), 0.28, height, boxstyle="round,pad=0.02")
        box.set(color="#2b4acb", alpha=0.85)
        axes.add_patch(box)
        name = (
            " × ".join(map(str, network.frame.shape))
            if at == 0
            else "softmax"
            if at == len(layers)
            else type(network.activation).__name__
        )
        axes.text(at, height / 2 + 0.05, f"{size}\n{name}", ha="center", va="bottom", fontsize=9, linespacing=1.3)
        if at:
            weights = sum(p.numel() for p in layers[at - 1].parameters())
            axes.text(at - 0.5, -0.62, f"{weights:,}", ha="center", va="top", fontsize=8.5, color="#555")
            axes.annotate("", (at - 0.2, 0), (at - 0.8, 0), arrowprops={"arrowstyle": "->", "color": "#999"})
    axes.set(xlim=(-0.5, len(sizes) - 0.5), ylim=(-0.75, 0.85))
    axes.axis("off")
    return to_svg(figure, "layers")


def _first_layer(network: Network) -> str:
    """Draw the weights of the first layer's strongest neurons: red where ink raises them, else blue."""
    weights = network.layers[0].weight.detach()
    strongest = weights.norm(dim=1).argsort(descending=True)[:NEURONS]
    tiles = weights[strongest].reshape(-1, *network.frame.shape)
    tiles = tiles / tiles.abs().amax((1, 2), keepdim=True)
    columns = 12
    rows = -(-len(tiles) // columns)
    high, wide = (size + 1 for size in network.frame.shape)  # with a line between
    sheet = np.zeros((rows * high + 1, columns * wide + 1), np.float32)
    for number, tile in enumerate(tiles.numpy()):
        y, x = divmod(number, columns)
        sheet[y * high + 1 : (y + 1) * high, x * wide + 1 : (x + 1) * wide] = tile
    coloured = (mpl.colormaps["RdBu_r"](sheet / 2 + 0.5)[..., :3] * 255).astype(np.uint8)
    caption = f"The first layer's {len(tiles)} strongest neurons: ink raises them where red, and lowers them where blue"
    return f"<figure><img src='{_png(coloured)}' alt='weights'><figcaption>{caption}</figcaption></figure>"


def _list_exports(exports: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    return {
        name: f"{each['accuracy']:.2%} accuracy, {each['bytes'] / 1000:,.0f} kB, {each['microseconds']:.0f} µs an image"
        for name, each in exports.items()
    }


def _table(title: str, facts: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(str(v))}</td></tr>" for k, v in facts.items())
    return f"<figure><figcaption>{title}</figcaption><table>{rows}</table></figure>"


def make_axes(title: str, below: str, *, size: tuple[float, float] = (5, 3.1)) -> tuple[Figure, Axes]:
    """Return a figure of `size` in inches, and axes with a title and a label below."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=10.5)
    axes.set_xlabel(below)
    return figure, axes


def to_svg(figure: Figure, name: str) -> str:
    """Return a figure as HTML, with a name for screen readers."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    drawing = stream.getvalue()
    return f"<figure role='img' aria-label='{html.escape(name)}'>{drawing[drawing.index('<svg') :]}</figure>"


def _png(pixels: NDArray[np.uint8]) -> str:
    """Return a data URL of pixels uint8[H,W] or uint8[H,W,3]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
