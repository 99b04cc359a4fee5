"""The network as a page shows it: its layers with neurons, edges and numbers, and the weights of the first one.

In: a `Network`. Out: HTML, with the fixed layers as boxes, the learnt ones as SVG, and pictures as PNG.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import torch
from PIL import Image
from torch import nn

from ..data.digits import CLASSES, SIDE, WHOLE
from ..network.fold import fold
from ..network.inputs import MEAN, STD, Components
from .glossary import explain

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..network.mlp import Network

TILES: Final = 96  # neurons of the first layer whose weights are shown, the strongest ones
COLUMNS: Final = 12  # of them beside each other
DRAWN: Final = 12  # circles in a row; of larger layers some are drawn, evenly spaced
LEVELS: Final = 5  # of opacity of an edge
RAISES: Final = (229, 72, 77)  # the colour of weights above 0, as in report.css
LOWERS: Final = (59, 130, 246)  # and below 0
# Of a layer's drawing, in SVG units: between circles, their radius, and where its two rows are.
STEP: Final = 24
RADIUS: Final = 7
TOP: Final = 10
BOTTOM: Final = 96
WIDE: Final = 360
HEIGHT: Final = 106


def draw_network(network: Network, *, shifts: bool) -> str:
    """Return the layers from pixels to probabilities as a list: fixed ones in a word, learnt ones as neurons."""
    activation = type(network.activation).__name__
    exported = [step for step in fold(network).steps if isinstance(step, nn.Linear)]
    items = [_draw_fixed(f"{SIDE} × {SIDE} pixels, 0 to 255")]
    if network.frame is not WHOLE:
        rows, columns = network.frame.shape
        items.append(_draw_fixed(f"[deslant], and crop to {rows} × {columns} pixels"))
    if isinstance(network.inputs, Components):
        items.append(_draw_fixed(f"{network.layers[0].in_features} [principal components], part of the first weights"))
    else:
        items.append(_draw_fixed(f"normalise: (pixel / 255 - {MEAN}) / {STD}"))
    for layer, norm, seen in zip(network.layers, [*network.norms, None], exported, strict=True):
        last = norm is None
        items.append(f"<li>{_draw_layer(seen)}<p>{explain(_count(layer, norm))}</p></li>")
        items.append("" if last else _draw_fixed(f"{layer.out_features} neurons: [activation|{activation}]"))
    if shifts:
        items.append(_draw_fixed("[shifts]: the mean of the [logits] of nine places"))
    items.append(_draw_fixed(f"[logits] / [temperature] {network.temperature.item():.3f}"))
    items.append(_draw_fixed("[softmax]: ten probabilities"))
    return f'<ol class="network">{"".join(items)}</ol>'


def _draw_fixed(text: str) -> str:
    return f'<li class="fixed">{explain(text)}</li>'


def _count(layer: nn.Linear, norm: nn.Module | None) -> str:
    """Return the sum of a layer's parameters in words."""
    inputs, outputs = layer.in_features, layer.out_features
    normed = sum(parameter.numel() for parameter in norm.parameters()) if norm else 0
    parts = [f"{inputs} × {outputs} weights"]
    parts += [f"{outputs} [bias|biases]"] if layer.bias is not None else []
    parts += [f"{normed} of [batch norm]"] if normed else []
    return f"{' + '.join(parts)} = {inputs * outputs + (layer.bias is not None) * outputs + normed:,}"


def count_parameters(network: Network) -> tuple[int, int]:
    """Return how many numbers training learns, and how many the exported file has in their place."""
    learnt, exported = (sum(p.numel() for p in module.parameters()) for module in (network, fold(network)))
    return learnt, exported


def _draw_layer(layer: nn.Linear) -> str:
    """Draw inputs above and neurons below, and between them the weights as lines; the bias is a square of its own."""
    weights, bias = layer.weight.detach(), layer.bias.detach()
    above, below = _choose(layer.in_features), _choose(layer.out_features)
    more_above, more_below = layer.in_features > len(above), layer.out_features > len(below)
    inputs, outputs = _places(len(above) + 1, gap=more_above), _places(len(below), gap=more_below)
    edges: dict[tuple[str, int], list[str]] = defaultdict(list)
    part = torch.cat([weights[below][:, above], bias[below][:, None]], dim=1)  # the last column is the bias's
    part = part / torch.tensor([weights.abs().max()] * len(above) + [bias.abs().max()]).clamp(min=1e-12)
    for (row, column), value in np.ndenumerate(part.nan_to_num().numpy()):
        level = round(min(1.0, abs(float(value))) ** 0.5 * LEVELS)
        edges["raises" if value > 0 else "lowers", level].append(f"M{inputs[column]} {TOP}L{outputs[row]} {BOTTOM}")
    lines = "".join(
        f'<path class="{sign}" opacity="{level / LEVELS:.2g}" d="{"".join(paths)}"/>'
        for (sign, level), paths in sorted(edges.items())
        if level
    )
    circles = "".join(
        f'<circle cx="{x}" cy="{y}" r="{RADIUS}"/>'
        for y, places in ((TOP, inputs[:-1]), (BOTTOM, outputs))
        for x in places
    )
    square = f'<rect x="{inputs[-1] - 6}" y="{TOP - 6}" width="12" height="12"/>'
    one = f'<text x="{inputs[-1]}" y="{TOP + 4}">1</text>'
    digits = "".join(f'<text x="{x}" y="{BOTTOM + 4}">{digit}</text>' for digit, x in enumerate(outputs))
    dots = "".join(
        f'<text x="{places[DRAWN // 2 - 1] + STEP}" y="{y}">…</text>'
        for places, y, more in ((inputs, TOP, more_above), (outputs, BOTTOM, more_below))
        if more
    )
    texts = one + dots + (digits if layer.out_features == CLASSES else "")
    shown = [
        f"{len(chosen)} of {size} {name}" if len(chosen) < size else f"{size} {name}"
        for chosen, size, name in ((above, layer.in_features, "inputs"), (below, layer.out_features, "neurons"))
    ]
    name = f"{shown[0]} and the bias, joined to {shown[1]}"
    return (
        f'<svg viewBox="0 0 {WIDE} {HEIGHT}" role="img" aria-label="{name}">{lines}{circles}{square}{texts}</svg>'
        f"<small>{name}</small>"
    )


def _choose(size: int) -> list[int]:
    """Return the neurons of a layer that are drawn: all of a small one, evenly spaced ones of a large one."""
    return [round(place) for place in np.linspace(0, size - 1, min(size, DRAWN))]


def _places(count: int, *, gap: bool) -> list[float]:
    """Return where circles are, in a centred row; a `gap` in its middle is as wide as a circle."""
    steps = [place + (gap and place >= DRAWN // 2) for place in range(count)]
    return [WIDE / 2 + (step - steps[-1] / 2) * STEP for step in steps]


def draw_first_layer(network: Network) -> str:
    """Draw the weights of the first layer's strongest neurons: one colour where ink raises them, another where not."""
    weights = cast("Tensor", fold(network).steps[0].weight).detach().nan_to_num()  # of pixels
    alone = len(network.layers) == 1  # then its neurons are the digits, in their order
    order = torch.arange(CLASSES) if alone else weights.norm(dim=1).argsort(descending=True)[:TILES]
    tiles = weights[order].reshape(-1, *network.frame.shape)
    tiles = tiles / tiles.abs().amax((1, 2), keepdim=True).clamp(min=1e-12)
    columns = 5 if alone else min(COLUMNS, len(tiles), max(6, round(len(tiles) ** 0.5)))
    picture = to_png(_colour(_arrange(tiles, columns)))
    part = f"{len(tiles)} of {len(weights)}" if len(tiles) < len(weights) else f"All {len(tiles)}"
    which = "Each digit's weights, 0 to 9" if alone else f"{part} neurons, the strongest first"
    text = f"{which}. Ink raises a neuron where red, and lowers it where blue."
    return f'<img class="weights" src="{picture}" alt="The weights of the first layer as pictures"><p>{text}</p>'


def _arrange(tiles: Tensor, columns: int) -> NDArray[np.float32]:
    """Return tiles float32[N,R,C] in rows, with a line of zeros between them."""
    rows = -(-len(tiles) // columns)
    high, wide = (size + 1 for size in tiles.shape[1:])
    sheet = np.zeros((rows * high + 1, columns * wide + 1), np.float32)
    for number, tile in enumerate(tiles.numpy()):
        y, x = divmod(number, columns)
        sheet[y * high + 1 : (y + 1) * high, x * wide + 1 : (x + 1) * wide] = tile
    return sheet


def _colour(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return values of -1 to 1 as uint8[H,W,4]: the sign is the colour, and the magnitude the opacity."""
    coloured = np.where((values > 0)[..., None], np.array(RAISES, np.uint8), np.array(LOWERS, np.uint8))
    return np.concatenate([coloured, (np.abs(values) * 255).astype(np.uint8)[..., None]], axis=2)


def to_png(pixels: NDArray[np.uint8]) -> str:
    """Return a data URL of pixels uint8[H,W] or uint8[H,W,4]."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
