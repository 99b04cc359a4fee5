// @ts-check
// One neuron under the magnifying glass: how its inputs and weights make its sum, and what its sum becomes.

import { at } from "./elements.js";
import { paint, strong } from "./colours.js";
import { HIDDEN, PIXELS, sigmoid } from "./network.js";

/** @typedef {import("./network.js").Network} Network */
/** @typedef {import("./network.js").Signals} Signals */

const REACH = 8; // sums from -8 to 8 are on the curve

const points = Array.from({ length: 81 }, (_, n) => (n / 40 - 1) * REACH);
at("sigmoid").setAttribute("d", "M" + points.map((z) => `${z.toFixed(1)} ${(1 - sigmoid(z)).toFixed(3)}`).join("L"));

/** @type {HTMLCanvasElement[]} */
let gallery = [];

/** Show what each hidden neuron looks for. @param {Network} network @param {(j: number) => void} onSelect */
export function showAll({ hidden: { weights } }, onSelect) {
  gallery = Array.from({ length: HIDDEN }, (_, j) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
    const own = weights.subarray(j * PIXELS, (j + 1) * PIXELS);
    paint(canvas, own, strong(own));
    canvas.addEventListener("click", () => onSelect(j));
    return canvas;
  });
  at("gallery").replaceChildren(...gallery);
}

/** @param {Network} network @param {Signals} signals @param {import("./diagram.js").Neuron} neuron @param {string} why it is shown */
export function inspect(network, signals, { layer, index }, why) {
  at("hidden-view").hidden = layer !== "hidden";
  at("output-view").hidden = layer !== "output";
  at("neuron-name").textContent = `${layer === "hidden" ? `Hidden neuron ${index + 1}` : `Output ${index}`}${why}`;
  gallery.forEach((canvas, j) => {
    canvas.classList.toggle("on", signals.hidden[j] > 0.5);
    canvas.classList.toggle("selected", layer === "hidden" && index === j);
  });
  at("neuron-words").textContent = layer === "hidden" ? hidden(network, signals, index) : output(network, signals, index);
}

/** @param {Network} network @param {Signals} signals @param {number} j */
function hidden(network, { pixels, sums, hidden: activations }, j) {
  const weights = network.hidden.weights.subarray(j * PIXELS, (j + 1) * PIXELS);
  const products = weights.map((weight, i) => weight * pixels[i]);
  paint(at("weights"), weights, strong(weights));
  paint(at("ink"), pixels);
  paint(at("products"), products, strong(weights));
  const [z, a] = [sums[j], activations[j]];
  const [x, y] = [Math.max(-REACH, Math.min(REACH, z)), 1 - a];
  at("dot").style.left = `${((x + REACH) / (2 * REACH)) * 100}%`;
  at("dot").style.top = `${((y + 0.15) / 1.3) * 100}%`;
  const [more, less] = [total(products, 1), total(products, -1)];
  const bias = network.hidden.biases[j];
  return `Ink on blue adds ${number(more)}, ink on orange takes away ${number(-less)}, the bias ${bias < 0 ? "takes away" : "adds"} ${number(Math.abs(bias))}. ` +
    `The sum is ${number(z)}, which the sigmoid squeezes to ${a.toFixed(2)}: the neuron is ${a > 0.7 ? "active" : a < 0.3 ? "silent" : "undecided"}.`;
}

/** @param {Network} network @param {Signals} signals @param {number} k */
function output(network, { hidden: activations, logits, probabilities }, k) {
  const weights = network.output.weights.subarray(k * HIDDEN, (k + 1) * HIDDEN);
  const parts = Array.from(weights, (weight, j) => ({ j, weight, value: weight * activations[j] }));
  parts.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
  const most = Math.abs(parts[0].value) || 1;
  at("output-view").replaceChildren(...parts.slice(0, 8).map(({ j, weight, value }) => {
    const item = document.createElement("li");
    const bar = document.createElement("i");
    bar.style.setProperty("--v", String(Math.abs(value) / most));
    bar.className = value > 0 ? "up" : "down";
    item.append(`Neuron ${j + 1}`, bar, `${number(weight)} × ${activations[j].toFixed(2)} = ${number(value)}`);
    return item;
  }));
  return `30 hidden neurons push this output to ${number(logits[k])}. The outputs compete: softmax makes ten shares of 1 from their ten sums. ` +
    `This one gets ${percent(probabilities[k])}.`;
}

/** The sum of the values with this sign. @param {Float64Array} values @param {1 | -1} sign */
const total = (values, sign) => values.reduce((sum, value) => (value * sign > 0 ? sum + value : sum), 0);

/** @param {number} value */
export const number = (value) => value.toFixed(Math.abs(value) < 0.095 ? 3 : 1).replace("-", "−").replace(/^−(0\.?0*)$/, "$1");

/** Per cent, at most 99.9: a network is never certain. @param {number} share */
export const percent = (share) => (share < 0.0005 ? "0 %" : `${Math.min(99.9, share * 100).toFixed(1)} %`);
