// @ts-check
// Shows a prediction on the page, and says it to screen readers. Knows the elements of the page, not HTTP or the drawing pad.

import { COVERAGE } from "./ask.js";
import { brush } from "./canvas.js";

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

const ALTERNATIVES = new Intl.ListFormat("en", { type: "disjunction" });
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
  list([...warnings.map((name) => worded(name, prediction)), ...several(prediction)]);
  at("took").textContent = `${ms.toFixed(ms < 10 ? 1 : 0)} ms round trip`;
  at("sent").textContent = [size(blob), explain?.polarity.replaceAll("_", " ")].filter(Boolean).join(", ");
  if (explain) picture(explain);
}

/** @param {string} why there is no answer */
export function forget(why) {
  at("digit").textContent = "–";
  at("sure").textContent = why;
  for (const id of ["took", "sent", "spoken"]) at(id).textContent = "\u00a0";
  rows.forEach((item) => fill(item));
  list([]);
  clean();
}

/** Tell screen readers; only when the pen is up, or they would talk all the time while a line grows. @param {Prediction} prediction */
export function say(prediction) {
  const answer = prediction.digit === null ? "No digit. " : `${prediction.digit}, ${percent(prediction.confidence)} % sure. `;
  at("spoken").textContent = answer + [...prediction.warnings.map((name) => worded(name, prediction)), ...several(prediction)].join(" ");
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

/** The set of digits in words, where the answer is one of several. @param {Prediction} prediction @returns {string[]} */
function several({ digit, set = [] }) {
  if (digit === null || set.length < 2) return [];
  return [`It is ${ALTERNATIVES.format(set.map(String))}, at a coverage of ${100 * COVERAGE} %.`];
}

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

/** @param {import("./ask.js").Explain} explain */
async function picture(explain) {
  const turn = ++newest;
  const drawing = await import("./explanation.js").catch(() => null); // the connection may be gone
  drawing?.draw(at("saw"), at("heat"), explain, () => turn === newest);
}

function clean() {
  newest++;
  for (const id of ["saw", "heat"]) brush(at(id)).clearRect(0, 0, 28, 28);
}
