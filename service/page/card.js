// @ts-check
// Shows the model card of the version that serves, as `/model` returns it. A card may lack parts, which are then left out.

import "./address.js";
import { card, storeKey } from "./ask.js";

/** @typedef {{count: number, accuracy: number, nll: number, ece: number, recall: number[], confusion: number[][]}} Scores */

const NAMES = { test: "MNIST, test", rendered: "Rendered pictures", validation: "MNIST, validation" };
/** @type {[string, string, (scores: Scores) => string][]} */
const ROWS = [
  ["Pictures", "", ({ count }) => whole(count)],
  ["Accuracy", "The share of them that it reads right.", ({ accuracy }) => percent(accuracy)],
  ["Weakest digit", "The one that it reads right least often.", ({ recall }) => weakest(recall)],
  ["Calibration error", "How far its confidence is from the share that is right (15 bins of equal width).", ({ ece }) => percent(ece)],
  ["NLL, in nats", "Negative log-likelihood: the mean surprise at the right digit. 0 is perfect, and guessing is 2.3.", ({ nll }) => nll.toFixed(4)],
];

/** @param {string} id */
const at = (id) => /** @type {HTMLElement} */ (document.getElementById(id));
/** @param {number} part */
const percent = (part) => `${(100 * part).toFixed(2)} %`;
/** @param {number} count */
const whole = (count) => count.toLocaleString("en");

/** @param {number[]} recall */
function weakest(recall) {
  const worst = Math.min(...recall);
  return `${recall.indexOf(worst)}: ${(100 * worst).toFixed(1)} %`;
}

/** @param {string} tag @param {string | Node | (string | Node)[]} [content] @param {object} [properties] */
function make(tag, content = [], properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...[content].flat());
  return element;
}

/** Show the card, or say why not and ask for an API key if one is needed. */
async function load() {
  const model = await card().catch((trouble) => { troubled(trouble); });
  if (!model) return;
  at("trouble").textContent = "";
  at("again").hidden = true;
  show(model);
}

/** @param {import("./ask.js").Trouble} trouble */
async function troubled(trouble) {
  at("trouble").textContent = trouble.message;
  at("again").hidden = false;
  if (!trouble.locked) return;
  const { enter } = await import("./key.js");
  const key = await enter(trouble.message);
  if (!key) return;
  storeKey(key);
  load();
}

/** @param {any} model */
function show(model) {
  const { name, version, created, metrics = {}, training = {}, data = {} } = model;
  const knobs = training.knobs ?? {};
  at("model").textContent = [name, `version ${version}`, day(created)].filter(Boolean).join(" · ");
  document.title = `Model card of ${name}, version ${version}`;
  at("layers").textContent = knobs.hidden ? layers(knobs) : "";
  const sets = Object.keys(NAMES).filter((set) => metrics[set]);
  tiles(metrics);
  if (sets.length) scores(sets, metrics);
  if (metrics.test?.confusion) confusion(metrics.test);
  calibrate(model);
  limits(knobs, data);
  provenance(data, knobs, metrics);
  run(training, knobs);
  file(model);
}

/** @param {any} knobs */
const layers = ({ hidden, deslant }) =>
  deslant ? ` of ${[...hidden, 10].join(" – ")} neurons, after a fixed layer that removes the slant` : ` of ${[784, ...hidden, 10].join(" – ")} neurons`;

/** @param {string} [created] in UTC */
const day = (created) => created && new Date(created).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });

/** @param {Record<string, Scores>} metrics */
function tiles({ test, rendered }) {
  const rows = [
    test && [percent(test.accuracy), `of ${whole(test.count)} test digits of MNIST are read right`],
    rendered && [percent(rendered.accuracy), `of ${whole(rendered.count)} rendered pictures, such as people send, are read right`],
    test && [percent(test.ece), "is how far its confidence is off, on average"],
  ].filter(Boolean);
  at("tiles").replaceChildren(...rows.map(([figure, words]) => make("div", [make("dt", words), make("dd", figure)])));
}

/** @param {string[]} sets @param {Record<string, Scores>} metrics */
function scores(sets, metrics) {
  const head = make("tr", [make("td"), ...sets.map((set) => make("th", NAMES[/** @type {"test"} */ (set)], { scope: "col" }))]);
  const rows = ROWS.map(([label, help, value]) =>
    make("tr", [make("th", help ? [label, make("small", help)] : label, { scope: "row" }), ...sets.map((set) => make("td", value(metrics[set])))]));
  table("scores", [make("thead", head), make("tbody", rows)]);
}

/** A row for each digit that was written, a column for each that was read. @param {Scores} test */
function confusion({ count, confusion: counts, recall }) {
  const most = Math.max(...counts.flatMap((row, digit) => row.filter((_, read) => read !== digit)), 1);
  const head = make("tr", [make("td"), ...counts.map((_, digit) => make("th", String(digit), { scope: "col" })), make("th", "right", { scope: "col" })]);
  const rows = counts.map((row, digit) => {
    const cells = row.map((number, read) => {
      const cell = make("td", number ? String(number) : "·", { className: read === digit ? "right" : number ? "wrong" : "" });
      cell.style.setProperty("--share", String(Math.sqrt(number / most)));
      return cell;
    });
    return make("tr", [make("th", String(digit), { scope: "row" }), ...cells, make("td", `${(100 * recall[digit]).toFixed(1)} %`)]);
  });
  const caption = make("caption", `The ${whole(count)} test digits of MNIST. Rows: the digit that was written. Columns: the digit that was read.`);
  table("confusion", [caption, make("thead", head), make("tbody", rows)]);
}

/** @param {string} id @param {HTMLElement[]} parts */
function table(id, parts) {
  at(id).hidden = false;
  at(id).querySelector("table")?.replaceChildren(...parts);
}

/** @param {any} model */
function calibrate({ metrics, temperature }) {
  if (!metrics?.test) return;
  const fitted = temperature ? ` A temperature of ${temperature.toFixed(3)} divides the network’s outputs for that, fitted to the validation digits.` : "";
  at("calibration").textContent = "If it is 90 % sure of each of a hundred digits, about 90 of them should be right. Over the test digits, " +
    `sureness and success differ by ${percent(metrics.test.ece)} on average (calibration error).${fitted} ` +
    "This holds for pictures like those of the test: for other pictures it may be sure and wrong.";
}

/** @param {any} knobs @param {any} data */
function limits(knobs, data) {
  const trained = knobs.seen
    ? "It is trained to be unsure about what is not a digit, and the service then warns; it still takes some letters and scribbles for digits."
    : "It is not trained on what is not a digit, and may be sure about a letter or a scribble.";
  const items = [trained, ...(data.warnings ?? [])].map((words) => make("li", words, { className: "told" }));
  for (const old of at("limits").querySelectorAll(".told")) old.remove();
  at("limits").append(...items);
}

/** @param {any} data @param {any} knobs @param {any} metrics */
function provenance(data, knobs, metrics) {
  if (!data.train) return;
  const more = knobs.seen ? ` and ${whole(knobs.seen)} rendered pictures of many pens, papers and lights, two of seven without a digit` : "";
  const held = metrics.rendered ? ` So are ${whole(metrics.rendered.count)} other rendered pictures.` : "";
  at("data").textContent = `${whole(data.train)} digits of MNIST${more} train it. ${whole(data.validation)} other digits of MNIST choose its settings, ` +
    `and ${whole(data.test)} more are kept for the test.${held}`;
  pairs("files", Object.entries(data.sha256 ?? {}));
}

/** @param {any} training @param {any} knobs */
function run({ epochs, seconds }, knobs) {
  if (!epochs) return;
  const took = seconds < 120 ? `${seconds.toFixed(0)} seconds` : `${(seconds / 60).toFixed(1)} minutes`;
  const varied = knobs.rotation || knobs.shift || knobs.elastic;
  at("training").textContent = `The recipe “${knobs.recipe}”: ${epochs.length} ${epochs.length === 1 ? "epoch" : "epochs"} in ${took}.` +
    (varied ? " In each epoch each picture is turned, moved and bent a little in another way." : "");
  pairs("knobs", Object.entries(knobs));
}

/** @param {any} model */
function file({ sha256, opset, parity, exports = {}, training, git, libraries }) {
  const made = exports[training?.knobs?.precision];
  pairs("file", [
    ["Format", opset && `ONNX, opset ${opset}: raw pixels in, probabilities out`],
    ["Size", made && `${(made.bytes / 1e6).toFixed(2)} MB`],
    ["Speed", made && `${made.microseconds.toFixed(0)} µs a picture, one at a time on one thread of the machine that trained it`],
    ["Proof", parity && `PyTorch and ONNX Runtime differ by ${parity.max_difference.toExponential(1)} at most, over ${whole(parity.images)} digits`],
    ["SHA-256", sha256],
    ["Code", git?.commit && `commit ${String(git.commit).slice(0, 12)}${git.dirty ? ", with changes" : ""}`],
    ["Made with", libraries && Object.entries(libraries).map((pair) => pair.join(" ")).join(", ")],
  ].filter(([, value]) => value));
}

/** @param {string} id @param {any[]} entries */
function pairs(id, entries) {
  at(id).hidden = !entries.length;
  const items = entries.flatMap(([name, value]) => [make("dt", name), make("dd", Array.isArray(value) ? value.join(", ") : String(value))]);
  at(id).querySelector("dl")?.replaceChildren(...items);
}

at("again").addEventListener("click", load);
load();
