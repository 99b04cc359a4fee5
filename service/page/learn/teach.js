// @ts-check
// The lesson: a network with random weights learns ten pictures by gradient descent, one phase of backpropagation after another.

import { Diagram, linesOf } from "./diagram.js";
import { paint, strong } from "./colours.js";
import { at, thumbnail } from "./elements.js";
import { HIDDEN, PIXELS, backward, descend, forward, lossOf, meanGradients, untrained } from "./network.js";
import { number, percent } from "./neuron.js";

/** @typedef {import("./network.js").Example} Example */

const PHASES = ["Forward", "Loss", "Output error", "Hidden error", "Gradients", "Update"];
const UPDATE = PHASES.length - 1;
const SEED = 7;

export class Lesson {
  #seed = SEED;
  #network = untrained(SEED);
  #before = this.#network; // the network before the update that is shown
  #phase = 0;
  #run = {}; // another run, phase or start ends this one
  #shown = 7; // the example whose way through the network is shown
  /** @type {number[]} the mean loss before each step, and now */
  #losses = [];
  /** @type {ArrayLike<number> | null} somebody's own drawing */
  #own = null;

  /** @param {Example[]} examples one for each digit */
  constructor(examples) {
    this.examples = examples;
    this.diagram = new Diagram(at("teach-net"), () => this.#show());
    this.thumbnails = examples.map(({ digit, pixels }) => this.#thumbnail(digit, pixels));
    this.own = thumbnail("figure");
    this.own.element.className = "own";
    at("examples").append(...this.thumbnails.map(({ element }) => element), this.own.element);
    this.phases = PHASES.map((name, phase) => this.#button(name, phase));
    at("next").addEventListener("click", () => this.#go((this.#phase + 1) % PHASES.length));
    at("step").addEventListener("click", () => this.#steps(1));
    at("ten").addEventListener("click", () => this.#steps(10));
    at("restart").addEventListener("click", () => this.#restart());
    at("rate").addEventListener("change", () => this.#show());
    this.#losses = [this.#mean()];
    this.#show();
  }

  /** Show what the network makes of somebody's own drawing, too. @param {ArrayLike<number> | null} pixels */
  compare(pixels) {
    this.#own = pixels;
    this.#label();
  }

  /** Show all again, in the colours of the theme. */
  refresh() {
    this.thumbnails.forEach(({ canvas }, i) => paint(canvas, this.examples[i].pixels));
    this.#show();
  }

  /** @param {number} digit @param {ArrayLike<number>} pixels */
  #thumbnail(digit, pixels) {
    const made = thumbnail("button");
    paint(made.canvas, pixels);
    /** @type {HTMLButtonElement} */ (made.element).type = "button";
    made.element.addEventListener("click", () => { this.#shown = digit; this.#show(true); });
    return made;
  }

  /** @param {string} name @param {number} phase */
  #button(name, phase) {
    const item = document.createElement("li");
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: name });
    button.addEventListener("click", () => this.#go(phase));
    item.append(button);
    at("phases").append(item);
    return button;
  }

  get #rate() { return Number(at("rate").value); }

  #mean() {
    const losses = this.examples.map(({ pixels, digit }) => lossOf(forward(this.#network, pixels).probabilities, digit));
    return losses.reduce((a, b) => a + b) / losses.length;
  }

  /** @param {number} phase */
  #go(phase) {
    this.#run = {};
    if (phase === UPDATE && this.#phase !== UPDATE) this.#descend();
    this.#phase = phase;
    this.#show(true);
  }

  /** Make whole steps, slowly enough to watch. @param {number} count */
  async #steps(count) {
    const run = (this.#run = {});
    this.#phase = UPDATE;
    for (let step = 1; step <= count && this.#run === run; step++) {
      this.#descend();
      this.#show(step === count);
      await new Promise((resolve) => setTimeout(resolve, 80));
    }
  }

  #descend() {
    this.#before = this.#network;
    this.#network = descend(this.#network, meanGradients(this.#network, this.examples), this.#rate);
    this.#losses.push(this.#mean());
  }

  #restart() {
    this.#run = {};
    this.#network = untrained(++this.#seed);
    this.#phase = 0;
    this.#losses = [this.#mean()];
    this.#show(true);
  }

  /** @param {boolean} [moving] */
  #show(moving = false) {
    if (!this.#losses.length) return;
    const phase = this.#phase;
    const example = this.examples[this.#shown];
    const network = phase === UPDATE ? this.#before : this.#network;
    const now = forward(this.#network, example.pixels); // after the update
    const signals = forward(network, example.pixels);
    const back = backward(network, example);
    const mean = phase < UPDATE - 1 ? back : meanGradients(network, this.examples);
    const selected = this.diagram.selected;
    const errors = phase === 2 || phase === 3;
    const [first, second] = this.#values(signals, back, mean);
    const deltas = (/** @type {Float64Array} */ delta) => {
      const most = Math.max(...delta.map(Math.abs)) || 1;
      return { signed: true, fill: delta.map((value) => -value / most) };
    };
    this.diagram.show({
      pixels: example.pixels,
      hidden: { ...(phase === 3 || phase === 4 ? deltas(back.deltaHidden) : { fill: phase === 2 ? new Float64Array(HIDDEN) : signals.hidden }),
        says: (j) => `Hidden neuron ${j + 1}, activation ${signals.hidden[j].toFixed(2)}, δ ${small(back.deltaHidden[j])}` },
      output: { note: (k) => (errors || phase === 4 ? small(back.deltaOutput[k]) : percent(now.probabilities[k])), ...(errors || phase === 4 ? deltas(back.deltaOutput) : { fill: now.probabilities }),
        says: (k) => `Output ${k}, ${percent(now.probabilities[k])}, should be ${k === example.digit ? "100" : "0"} %, δ ${small(back.deltaOutput[k])}` },
      bars: now.probabilities,
      target: example.digit,
      lines: phase === 1 || phase === 2 ? [] : linesOf(first, second, selected),
      backwards: phase === 3,
    }, moving);
    this.#explain(example, signals, back);
    this.#pair(mean, network, selected);
    this.#label();
  }

  /** The values of the lines of this phase: of a pixel and a hidden neuron, and of a hidden neuron and an output.
   *  @param {import("./network.js").Signals} signals @param {import("./network.js").Gradients} back
   *  @param {{hidden: import("./network.js").Layer, output: import("./network.js").Layer}} mean
   *  @returns {[(i: number, j: number) => number, (j: number, k: number) => number]} */
  #values({ pixels, hidden }, back, mean) {
    const { hidden: w, output: v } = this.#network;
    if (this.#phase < 3) return [(i, j) => w.weights[j * PIXELS + i] * pixels[i], (j, k) => v.weights[k * HIDDEN + j] * hidden[j]];
    if (this.#phase === 3) return [() => 0, (j, k) => -v.weights[k * HIDDEN + j] * back.deltaOutput[k]];
    return [(i, j) => -mean.hidden.weights[j * PIXELS + i], (j, k) => -mean.output.weights[k * HIDDEN + j]];
  }

  /** @param {Example} example @param {import("./network.js").Signals} signals @param {import("./network.js").Gradients} back */
  #explain({ digit }, { probabilities: p, hidden }, back) {
    const steps = this.#losses.length - 1;
    const [before, after] = [this.#losses[Math.max(0, steps - 1)], this.#losses[steps]];
    const answer = best(p);
    const j = this.#looked();
    const [words, formula] = [
      [`The picture of a ${digit} goes through. ${steps ? `After ${steps} step${steps > 1 ? "s" : ""}` : "With random weights"} the network answers ${answer} (${percent(p[answer])}).`,
        "a = σ(W₁x + b₁)     p = softmax(W₂a + b₂)"],
      [`Right is 1 for the ${digit} and 0 for the others (y). The loss is the squared distance to that: ${back.loss.toFixed(3)} for this picture. A perfect answer has 0.`,
        `L = Σ (p − y)² = ${back.loss.toFixed(3)}`],
      [`How does the loss change when an output’s sum grows? This is the output’s error, δ. Blue outputs should grow, orange ones shrink.`,
        `δₖ = pₖ (gₖ − Σ g·p),  g = 2(p − y)     δ of ${digit} = ${small(back.deltaOutput[digit])}`],
      [`The errors flow back through the same weights. A hidden neuron adds up what comes, and multiplies it by the slope of its sigmoid.`,
        `δⱼ = aⱼ(1 − aⱼ) Σ wₖⱼ δₖ     δ of neuron ${j + 1} = ${number(hidden[j])} · ${number(1 - hidden[j])} · Σ = ${small(back.deltaHidden[j])}`],
      [`A weight’s gradient is the number that went in, times the error that came back. The lines are its opposite, the mean over ten pictures: where each weight should go.`,
        "∂L/∂wₖⱼ = δₖ aⱼ     ∂L/∂wⱼᵢ = δⱼ xᵢ"],
      [after < before ? `All 23,860 weights and biases took a small step downhill. The loss fell from ${before.toFixed(3)} to ${after.toFixed(3)}.`
        : `The loss rose from ${before.toFixed(3)} to ${after.toFixed(3)}: the steps are too long. Take a lower learning rate.`,
        `w ← w − η ∂L/∂w,  η = ${this.#rate}`],
    ][this.#phase];
    if (at("phase-words").textContent !== words) at("phase-words").textContent = words;
    at("formula").replaceChildren(...formula.split("     ").map((textContent) => Object.assign(document.createElement("span"), { textContent })));
    this.phases.forEach((button, phase) => button.toggleAttribute("aria-current", phase === this.#phase));
    at("next").textContent = `Next: ${PHASES[(this.#phase + 1) % PHASES.length].toLowerCase()}`;
    at("loss").textContent = after.toFixed(3);
    at("steps").textContent = `${steps} step${steps === 1 ? "" : "s"}`;
    const most = Math.max(1, ...this.#losses);
    const places = this.#losses.map((loss, n) => `${(100 * n) / Math.max(20, steps)},${60 - (57 * loss) / most}`);
    at("curve").setAttribute("points", (places.length > 1 ? places : [places[0], places[0]]).join(" "));
    at("chart").setAttribute("aria-label", `The mean loss after ${steps} steps: ${after.toFixed(3)}; at first ${this.#losses[0].toFixed(3)}`);
  }

  /** The hidden neuron that is looked at, or the one with the largest error. */
  #looked() {
    const selected = this.diagram.selected;
    if (selected?.layer === "hidden") return selected.index;
    return best(backward(this.#network, this.examples[this.#shown]).deltaHidden.map(Math.abs));
  }

  /** @param {{hidden: import("./network.js").Layer}} mean @param {import("./network.js").Network} network
   *  @param {import("./diagram.js").Neuron | null} selected */
  #pair(mean, network, selected) {
    const j = this.#looked();
    const [from, to] = [j * PIXELS, (j + 1) * PIXELS];
    const change = mean.hidden.weights.subarray(from, to).map((value) => -value);
    const weights = (this.#phase === UPDATE ? this.#network : network).hidden.weights.subarray(from, to);
    at("pair-name").textContent = `Hidden neuron ${j + 1}${selected?.layer === "hidden" ? "" : ", which errs most"}`;
    paint(at("before"), weights, strong(weights));
    paint(at("change"), change, strong(change));
  }

  /** Write below each picture what the network reads. */
  #label() {
    let right = 0;
    this.thumbnails.forEach(({ element, word }, digit) => {
      const answer = best(forward(this.#network, this.examples[digit].pixels).probabilities);
      right += Number(answer === digit);
      word.textContent = `${answer} ${answer === digit ? "✓" : "✗"}`;
      element.classList.toggle("right", answer === digit);
      element.setAttribute("aria-label", `Picture of ${digit}, read as ${answer}`);
      element.setAttribute("aria-pressed", String(digit === this.#shown));
    });
    const { element, canvas, word } = this.own;
    element.hidden = !this.#own;
    if (!this.#own) return;
    paint(canvas, this.#own);
    word.textContent = `yours: ${best(forward(this.#network, this.#own).probabilities)}`;
  }
}

/** The index of the largest value. @param {ArrayLike<number>} values */
export const best = (values) => Array.from(values).indexOf(Math.max(...Array.from(values)));

/** @param {number} value */
const small = (value) => (Math.abs(value) < 0.0005 ? "0.000" : value.toFixed(3).replace("-", "−"));
