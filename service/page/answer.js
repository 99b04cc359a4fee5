// @ts-check
// Shows a prediction on the page, and says it to screen readers. Knows the elements of the page, not HTTP or the drawing pad.

import { blank, brush } from "./canvas.js";

/** @typedef {import("./ask.js").Answer} Answer */
/** @typedef {import("./ask.js").Prediction} Prediction */

/** @template {HTMLElement} T @param {string} id @returns {T} */
export const at = (id) => /** @type {T} */ (document.getElementById(id));

/** @type {Record<string, (prediction: Prediction) => string>} */
const WORDS = {
  no_ink: () => "There is no ink to read.",
  too_faint: () => "The ink is very faint. A darker pen helps.",
  several_shapes: () => "There is more than one shape. One digit at a time, please.",
  unlike_a_digit: () => "This doesn’t look like a digit, so don’t trust the answer.",
  low_confidence: (prediction) => `The network is unsure: it may also be a ${runnerUp(prediction)}.`,
};

const RAMP = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

const rows = Array.from({ length: 10 }, (_, digit) => row(digit));
at("bars").append(...rows);

/** @param {number} digit */
function row(digit) {
  const item = document.createElement("li");
  for (const [tag, text] of [["b", digit], ["i", ""], ["span", "–"]]) {
    item.append(Object.assign(document.createElement(String(tag)), { textContent: String(text) }));
  }
  return item;
}

/** @param {Answer} answer */
export function show({ prediction, ms, blob }) {
  const { digit, confidence, probabilities, warnings, explain } = prediction;
  at("digit").textContent = digit === null ? "–" : String(digit);
  at("sure").textContent = digit === null ? "no digit" : `${percent(confidence)} % sure`;
  rows.forEach((item, i) => fill(item, probabilities[i], i === digit));
  list(warnings.map((name) => worded(name, prediction)));
  at("took").textContent = `${ms.toFixed(ms < 10 ? 1 : 0)} ms round trip`;
  at("sent").textContent = [size(blob), explain?.polarity.replaceAll("_", " ")].filter(Boolean).join(", ");
  if (explain) picture(explain.image, explain.heatmap);
}

/** @param {string} why there is no answer */
export function forget(why) {
  at("digit").textContent = "–";
  at("sure").textContent = why;
  for (const id of ["took", "sent", "spoken"]) at(id).textContent = "\u00a0";
  rows.forEach((item) => fill(item));
  list([]);
  for (const id of ["saw", "heat"]) clean(at(id));
}

/** Tell screen readers; only when the pen is up, or they would talk all the time while a line grows. @param {Prediction} prediction */
export function say(prediction) {
  const answer = prediction.digit === null ? "No digit. " : `${prediction.digit}, ${percent(prediction.confidence)} % sure. `;
  at("spoken").textContent = answer + prediction.warnings.map((name) => worded(name, prediction)).join(" ");
}

/** @param {any} card */
export function introduce({ name, version, metrics }) {
  const accuracy = metrics?.test?.accuracy;
  const known = typeof accuracy === "number" ? `${(accuracy * 100).toFixed(2)} % on MNIST` : "";
  at("model").textContent = [name, version && `version ${version}`, known].filter(Boolean).join(" · ");
}

/** @param {HTMLElement} item @param {number} [probability] @param {boolean} [top] */
function fill(item, probability, top = false) {
  item.style.setProperty("--p", String(probability ?? 0));
  item.classList.toggle("top", top);
  /** @type {HTMLElement} */ (item.lastChild).textContent = probability === undefined ? "–" : percent(probability);
}

/** @param {string[]} sentences */
function list(sentences) {
  const items = sentences.map((textContent) => Object.assign(document.createElement("li"), { textContent }));
  at("warnings").replaceChildren(...items);
}

/** @param {string} name @param {Prediction} prediction */
const worded = (name, prediction) => WORDS[name]?.(prediction) ?? `${name.replaceAll("_", " ")}.`;

/** @param {Prediction} prediction */
function runnerUp({ probabilities, digit }) {
  const others = probabilities.map((probability, i) => (i === digit ? -1 : probability));
  return others.indexOf(Math.max(...others));
}

/** Per cent, at most 99.9: a network is never certain. @param {number} part */
const percent = (part) => Math.min(99.9, part * 100).toFixed(1);

/** @param {Blob} blob */
const size = ({ size: bytes, type }) =>
  `${bytes < 1e6 ? `${(bytes / 1e3).toFixed(1)} kB` : `${(bytes / 1e6).toFixed(1)} MB`} ${type.split("/")[1].toUpperCase()}`;

let newest = 0;

/** @param {string} saw @param {string} heat both base64 PNG, 28×28 grey */
async function picture(saw, heat) {
  const turn = ++newest;
  const [ink, heated] = await Promise.all([grey(saw), grey(heat)]);
  if (turn !== newest) return;
  paint(at("saw"), (i) => [ink[i], ink[i], ink[i]]);
  paint(at("heat"), (i) => warm(heated[i], ink[i]));
}

/** @param {HTMLCanvasElement} canvas */
function clean(canvas) {
  newest++;
  brush(canvas).clearRect(0, 0, 28, 28);
}

/** The grey values of a PNG. @param {string} base64 */
async function grey(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  const context = blank(28, 28);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 0);
}

/** @param {HTMLCanvasElement} canvas @param {(pixel: number) => number[]} colour */
function paint(canvas, colour) {
  const pixels = new ImageData(28, 28);
  for (let i = 0; i < 784; i++) pixels.data.set([...colour(i), 255], i * 4);
  brush(canvas).putImageData(pixels, 0, 0);
}

/** Black, violet, red, amber, near white with growing heat (the colour map "inferno"), over a faint copy of the ink.
 *  @param {number} heat @param {number} ink */
function warm(heat, ink) {
  const at = (heat / 255) * 4;
  const low = Math.min(3, Math.floor(at));
  return RAMP[low].map((from, i) => Math.max(ink * 0.25, from + (RAMP[low + 1][i] - from) * (at - low)));
}
