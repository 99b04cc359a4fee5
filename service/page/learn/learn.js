// @ts-check
// Connects the parts of the page: pen → pixels → network → pictures and sentences.

import "../address.js";
import { Asker, card } from "../ask.js";
import { blank, brush } from "../canvas.js";
import { Pad, SIDE as SHEET, ink } from "../pad.js";
import { colour, paint } from "./colours.js";
import { Diagram, linesOf } from "./diagram.js";
import { WRITTEN } from "./digits.js";
import { at } from "./elements.js";
import { fromLink, toLink } from "./link.js";
import { toPixels } from "./mnist.js";
import { HIDDEN, PIXELS, forward, read } from "./network.js";
import { inspect, percent, showAll } from "./neuron.js";
import { Lesson, best } from "./teach.js";

const FIRST = 3; // the digit that is written when the page opens
const BLANK = new Float64Array(PIXELS);

const pad = new Pad(at("pad"));
const diagram = new Diagram(at("net"), () => update());
const asker = new Asker(({ model, prediction }) => {
  answer("theirs", prediction.digit, prediction.digit === null ? "no digit" : `${percent(prediction.confidence)} sure`);
  if (`${model.name} ${model.version}` !== served) introduce();
}, (trouble) => answer("theirs", null, [401, 403].includes(trouble.status) ? "It asks for an API key: the drawing page takes one." : trouble.message));
let served = "";

const file = await (await fetch(new URL("weights.bin", import.meta.url))).arrayBuffer();
const { network, facts } = read(file);
const lesson = new Lesson(WRITTEN.map((strokes, digit) => ({ digit, pixels: toPixels(strokes)?.pixels ?? BLANK })));

/** Show the drawing as it is now. @param {boolean} [moving] whether one sees it flow through the network */
function update(moving = false) {
  const digit = toPixels(pad.strokes);
  const signals = forward(network, digit?.pixels ?? BLANK);
  const { hidden, probabilities } = signals;
  const top = best(probabilities);
  const selected = diagram.selected;
  const loudest = best(hidden.map((a, j) => a * network.output.weights[top * HIDDEN + j]));
  steps(digit);
  diagram.show({
    pixels: signals.pixels,
    hidden: { fill: hidden, says: (j) => `Hidden neuron ${j + 1}, activation ${hidden[j].toFixed(2)}` },
    output: { fill: probabilities, says: (k) => `Output ${k}, ${percent(probabilities[k])}`, note: (k) => percent(probabilities[k]) },
    bars: probabilities,
    lines: linesOf((i, j) => network.hidden.weights[j * PIXELS + i] * signals.pixels[i], (j, k) => network.output.weights[k * HIDDEN + j] * hidden[j], selected),
  }, moving);
  inspect(network, signals, selected ?? { layer: "hidden", index: loudest }, selected ? "" : ` pushes hardest towards ${top}`);
  at("hint").hidden = Boolean(digit);
  at("undo").disabled = !pad.undoable;
  at("clear").disabled = at("share").disabled = pad.empty;
  at("reads").textContent = digit ? sentence(probabilities, top, loudest) : "Nothing is drawn. The neurons have only their biases to go by.";
  answer("ours", digit ? top : null, digit ? `${percent(probabilities[top])} sure` : "no ink yet");
}

/** @param {ArrayLike<number>} p @param {number} top @param {number} loudest */
function sentence(p, top, loudest) {
  const next = best(Array.from(p, (value, k) => (k === top ? -1 : value)));
  const doubt = p[next] > 0.01 ? `, or else ${next} (${percent(p[next])})` : "";
  return `The network reads ${top} (${percent(p[top])})${doubt}. Hidden neuron ${loudest + 1} pushes hardest towards ${top}.`;
}

/** @param {"ours" | "theirs"} whose @param {number | null} digit @param {string} words */
function answer(whose, digit, words) {
  at(whose).textContent = digit === null ? "–" : String(digit);
  at(`${whose}-sure`).textContent = words;
}

/** Show how the drawing becomes 28 by 28 pixels. @param {import("./mnist.js").Digit | null} digit */
function steps(digit) {
  const [first, last] = [brush(at("box")), brush(at("centred"))];
  first.clearRect(0, 0, SHEET, SHEET);
  ink(first, pad.strokes, colour("ink"));
  paint(at("small"), digit?.small ?? new Float64Array(400));
  last.imageSmoothingEnabled = false;
  const { canvas: pixels } = blank(28, 28);
  paint(pixels, digit?.pixels ?? BLANK);
  last.drawImage(pixels, 0, 0, 224, 224);
  if (!digit) return;
  const { box, mass } = digit;
  Object.assign(first, { strokeStyle: colour("up"), lineWidth: 5 });
  first.strokeRect(box.x, box.y, box.width, box.height);
  cross(first, mass.x, mass.y, 16, 5);
  cross(last, 112, 112, 112, 2);
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} reach @param {number} width */
function cross(context, x, y, reach, width) {
  Object.assign(context, { strokeStyle: colour("down"), lineWidth: width });
  context.beginPath();
  context.moveTo(x - reach, y);
  context.lineTo(x + reach, y);
  context.moveTo(x, y - reach);
  context.lineTo(x, y + reach);
  context.stroke();
}

/** Say which network answers at /predict. */
async function introduce() {
  const model = await card().catch(() => null);
  if (!model) return;
  served = `${model.name} ${model.version}`;
  const hidden = model.training?.knobs?.hidden ?? ["…"];
  const larger = hidden.reduce((/** @type {number} */ a, /** @type {number} */ b) => a + b, 0) > HIDDEN;
  at("served-words").textContent = `${larger ? "A larger" : "Another"} network answers requests`;
  const sizes = [784, ...hidden, 10].join(" → ");
  const accuracy = model.metrics?.test?.accuracy;
  at("theirs-size").textContent = `${sizes}${accuracy ? `, ${(100 * accuracy).toFixed(2)} % on MNIST` : ""}`;
}

/** The drawing is complete, or a new one: tell those who do not see it, and ask the larger network. */
function finish() {
  update(!pad.empty);
  lesson.compare(pad.empty ? null : toPixels(pad.strokes)?.pixels ?? null);
  at("spoken").textContent = pad.empty ? "" : at("reads").textContent;
  if (!pad.empty) return asker.now(() => pad.bytes());
  asker.stop();
  answer("theirs", null, "no ink yet");
}

/** Put the drawing into the page's address, and the address on the clipboard. */
async function share() {
  history.replaceState(null, "", `#${toLink(pad.strokes)}`);
  await navigator.clipboard?.writeText(location.href).catch(() => {});
  at("share").textContent = "Link copied";
  at("spoken").textContent = "The address of this page now holds your drawing.";
  setTimeout(() => { at("share").textContent = "Copy link"; }, 2000);
}

/** Draw all pictures in the colours of the theme. */
function recolour() {
  showAll(network, (index) => diagram.pin({ layer: "hidden", index }));
  update();
  lesson.refresh();
}

/** @param {KeyboardEvent} event */
function shortcut(event) {
  const command = event.ctrlKey || event.metaKey;
  const act = { "z!": () => pad.undo(), Escape: () => pad.clear() }[event.key + (command ? "!" : "")];
  if (!act || event.altKey || event.shiftKey) return;
  event.preventDefault();
  act();
}

WRITTEN.forEach((strokes, digit) => {
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: String(digit) });
  button.setAttribute("aria-label", `Write a ${digit}`);
  button.addEventListener("click", () => pad.write(strokes));
  at("samples").append(button);
});
pad.addEventListener("grow", () => { update(); asker.soon(() => pad.bytes()); });
pad.addEventListener("change", finish);
addEventListener("keydown", shortcut);
at("undo").addEventListener("click", () => pad.undo());
at("clear").addEventListener("click", () => pad.clear());
at("share").addEventListener("click", share);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", recolour);

const accuracy = `${(100 * facts.accuracy).toFixed(2)} %`;
at("ours-size").textContent = `784 → 30 → 10, ${accuracy} on MNIST`;
at("facts").textContent = `It reads ${accuracy} of MNIST’s 10,000 test digits right. Its 23,860 weights and biases are ${Math.round(file.byteLength / 1000)} kB.`;
recolour();
pad.write(fromLink(location.hash.slice(1)) ?? WRITTEN[FIRST]);
