// @ts-check
// A picture of the network: 28 by 28 pixels, 30 hidden neurons, 10 outputs, and lines between them. From left to right, or from
// top to bottom where the screen is narrow. Its neurons are buttons. Knows no arithmetic: it shows the numbers that it gets.

import { brush } from "../canvas.js";
import { colour, paint } from "./colours.js";
import { DIGITS, HIDDEN, PIXELS } from "./network.js";

/** @typedef {{layer: "hidden" | "output", index: number}} Neuron */
/** A neuron's fill, from -1 (orange) over 0 (empty) to 1 (blue), or to 1 (ink) unless `signed`; and what is said of it.
 *  @typedef {{fill: ArrayLike<number>, signed?: boolean, says: (index: number) => string, note?: (index: number) => string}} Marks */
/** A line from a pixel to a hidden neuron (`into` "hidden"), or from a hidden neuron to an output.
 *  @typedef {{into: "hidden" | "output", from: number, to: number, value: number}} Line */
/** @typedef {{pixels: ArrayLike<number>, hidden: Marks, output: Marks, bars: ArrayLike<number>, target?: number, lines: Line[],
 *  backwards?: boolean}} View */
/** @typedef {{x: number, y: number, r: number}} Place */

const NARROW = 520;

export class Diagram {
  /** @type {View | null} */
  #view = null;
  /** @type {Neuron | null} the neuron that was tapped, clicked or reached by the keyboard */
  #pinned = null;
  /** @type {Neuron | null} the neuron under the mouse */
  #hovered = null;
  /** @type {{pixels: {x: number, y: number, cell: number}, hidden: Place[], output: Place[], across: boolean}} */
  #places = { pixels: { x: 0, y: 0, cell: 1 }, hidden: [], output: [], across: true };
  #animation = 0;

  /** @param {HTMLElement} root @param {() => void} onSelect */
  constructor(root, onSelect) {
    this.root = root;
    this.onSelect = onSelect;
    this.lines = add(root, "canvas", "lines");
    this.lines.setAttribute("aria-hidden", "true");
    this.pixels = /** @type {HTMLCanvasElement} */ (Object.assign(add(root, "canvas", "pixels"), { width: 28, height: 28 }));
    this.pixels.setAttribute("role", "img");
    this.pixels.setAttribute("aria-label", "The 28 by 28 pixels that go in");
    this.heads = ["784 pixels", "30 hidden neurons", "10 outputs"].map((text) => Object.assign(add(root, "span", "head"), { textContent: text }));
    this.buttons = { hidden: this.#neurons("hidden", HIDDEN), output: this.#neurons("output", DIGITS) };
    this.buttons.hidden[0].tabIndex = 0;
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("pointerleave", () => this.#hover(null));
    new ResizeObserver(() => this.#arrange()).observe(root);
  }

  /** The neuron that somebody looks at. */
  get selected() { return this.#hovered ?? this.#pinned; }

  /** @param {View} view @param {boolean} [moving] whether the lines grow from where they begin */
  show(view, moving = false) {
    this.#view = view;
    paint(this.pixels, view.pixels);
    for (const layer of /** @type {const} */ (["hidden", "output"])) this.#mark(layer, view[layer]);
    this.buttons.output.forEach((button, k) => {
      button.style.setProperty("--p", String(view.bars[k]));
      button.classList.toggle("target", view.target === k);
      button.classList.toggle("top", view.bars[k] === Math.max(...Array.from(view.bars)));
      /** @type {HTMLElement} */ (button.lastChild).dataset.note = view.output.note?.(k) ?? "";
    });
    cancelAnimationFrame(this.#animation);
    if (moving && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.#grow(performance.now());
    else this.#draw(1);
  }

  /** @param {"hidden" | "output"} layer @param {number} count */
  #neurons(layer, count) {
    return Array.from({ length: count }, (_, index) => {
      const button = /** @type {HTMLButtonElement} */ (Object.assign(add(this.root, "button", `neuron ${layer}`), { type: "button", tabIndex: -1 }));
      add(button, "b", "").textContent = layer === "output" ? String(index) : "";
      if (layer === "output") button.append(make("i"), make("span"));
      button.addEventListener("click", () => this.pin({ layer, index }, true));
      button.addEventListener("focus", () => { if (button.matches(":focus-visible")) this.pin({ layer, index }); });
      button.addEventListener("pointerenter", (event) => { if (event.pointerType === "mouse") this.#hover({ layer, index }); });
      return button;
    });
  }

  /** @param {"hidden" | "output"} layer @param {Marks} marks */
  #mark(layer, { fill, signed, says }) {
    this.buttons[layer].forEach((button, index) => {
      button.style.setProperty("--v", String(Math.min(1, Math.abs(fill[index]))));
      button.classList.toggle("rises", Boolean(signed && fill[index] > 0));
      button.classList.toggle("falls", Boolean(signed && fill[index] < 0));
      button.setAttribute("aria-label", says(index));
    });
  }

  /** Select a neuron until another is selected, or until it is clicked again. @param {Neuron} neuron @param {boolean} [toggle] */
  pin({ layer, index }, toggle = false) {
    const same = this.#pinned?.layer === layer && this.#pinned.index === index;
    this.#pinned = same && toggle && !this.buttons[layer][index].matches(":focus-visible") ? null : { layer, index };
    for (const button of this.root.querySelectorAll("button")) button.tabIndex = -1;
    this.buttons[layer][index].tabIndex = 0;
    this.#select();
  }

  /** @param {Neuron | null} neuron */
  #hover(neuron) {
    this.#hovered = neuron;
    this.#select();
  }

  #select() {
    const { selected } = this;
    for (const layer of /** @type {const} */ (["hidden", "output"])) {
      this.buttons[layer].forEach((button, i) => button.setAttribute("aria-pressed", String(selected?.layer === layer && selected.index === i)));
    }
    this.onSelect();
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const [next, previous, deeper, higher] = (this.#places.across ? ["Down", "Up", "Right", "Left"] : ["Right", "Left", "Down", "Up"]).map((way) => `Arrow${way}`);
    const layer = this.buttons.hidden.some((button) => button === document.activeElement) ? "hidden" : "output";
    const index = this.buttons[layer].findIndex((button) => button === document.activeElement);
    const other = layer === "hidden" ? "output" : "hidden";
    const count = { hidden: HIDDEN, output: DIGITS };
    const go = {
      [next]: [layer, Math.min(count[layer] - 1, index + 1)],
      [previous]: [layer, Math.max(0, index - 1)],
      [layer === "hidden" ? deeper : higher]: [other, Math.floor(((index + 0.5) * count[other]) / count[layer])],
    }[event.key];
    if (!go || index < 0) return;
    event.preventDefault();
    this.buttons[/** @type {"hidden" | "output"} */ (go[0])][Number(go[1])].focus();
  }

  /** Place everything for the width that there is. */
  #arrange() {
    const width = this.root.clientWidth;
    if (!width) return;
    const across = width >= NARROW;
    this.root.classList.toggle("across", across);
    this.#places = across ? fromLeft(width) : fromTop(width);
    const { pixels, hidden, output, height, heads } = /** @type {any} */ (this.#places);
    this.root.style.height = `${height}px`;
    this.root.style.setProperty("--bar", `${Math.round(width * 0.26 - 90)}px`);
    Object.assign(this.pixels.style, { left: `${pixels.x}px`, top: `${pixels.y}px`, width: `${28 * pixels.cell}px`, height: `${28 * pixels.cell}px` });
    this.heads.forEach((head, i) => Object.assign(head.style, { left: `${heads[i].x}px`, top: `${heads[i].y}px` }));
    for (const [buttons, places] of [[this.buttons.hidden, hidden], [this.buttons.output, output]]) {
      buttons.forEach((/** @type {HTMLElement} */ button, /** @type {number} */ i) => {
        const { x, y, r } = places[i];
        Object.assign(button.style, { left: `${x - r}px`, top: `${y - r}px` });
        button.style.setProperty("--d", `${2 * r}px`);
      });
    }
    this.#draw(1);
  }

  /** @param {number} start */
  #grow(start) {
    this.#animation = requestAnimationFrame((now) => {
      const share = Math.min(1, (now - start) / 900);
      this.#draw(share);
      if (share < 1) this.#grow(start);
    });
  }

  /** @param {number} share of the way through the network that the lines have gone */
  #draw(share) {
    const { lines: canvas, root } = this;
    const view = this.#view;
    if (!view || !this.#places.hidden.length) return;
    const [width, height] = [root.clientWidth, root.clientHeight];
    Object.assign(canvas, { width: Math.round(width * devicePixelRatio), height: Math.round(height * devicePixelRatio) });
    const context = brush(canvas);
    context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
    const colours = { up: colour("up"), down: colour("down") };
    for (const into of /** @type {const} */ (["hidden", "output"])) {
      const lines = view.lines.filter((line) => line.into === into).sort((a, b) => Math.abs(a.value) - Math.abs(b.value));
      const most = Math.abs(lines.at(-1)?.value ?? 0) || 1;
      const second = (into === "output") !== Boolean(view.backwards);
      const part = Math.max(0, Math.min(1, 2 * share - Number(second))); // one layer after the other
      if (!part) continue;
      for (const line of lines) {
        const weight = Math.abs(line.value) / most;
        context.globalAlpha = 0.1 + 0.75 * weight;
        context.lineWidth = 0.5 + 2.5 * weight;
        context.strokeStyle = line.value > 0 ? colours.up : colours.down;
        this.#line(context, line, part, view.backwards);
      }
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {Line} line @param {number} share @param {boolean} [backwards] */
  #line(context, { into, from, to }, share, backwards) {
    const { pixels, hidden, output, across } = this.#places;
    const pixel = () => ({ x: pixels.x + ((from % 28) + 0.5) * pixels.cell, y: pixels.y + (Math.floor(from / 28) + 0.5) * pixels.cell, r: 0 });
    const [start, end] = into === "hidden" ? [pixel(), hidden[to]] : [hidden[from], output[to]];
    const [ax, ay, bx, by] = across ? [start.x + start.r, start.y, end.x - end.r, end.y] : [start.x, start.y + start.r, end.x, end.y - end.r];
    const [mx, my] = [(ax + bx) / 2, (ay + by) / 2];
    const bends = across ? [mx, ay, mx, by] : [ax, my, bx, my];
    const length = 1.3 * Math.hypot(bx - ax, by - ay);
    context.setLineDash(share < 1 ? [share * length, 2 * length] : []);
    context.beginPath();
    if (backwards) {
      context.moveTo(bx, by);
      context.bezierCurveTo(bends[2], bends[3], bends[0], bends[1], ax, ay);
    } else {
      context.moveTo(ax, ay);
      context.bezierCurveTo(bends[0], bends[1], bends[2], bends[3], bx, by);
    }
    context.stroke();
  }
}

/** @param {number} width */
function fromLeft(width) {
  const pitch = Math.max(26, Math.min(34, width / 25));
  const top = 28;
  const height = 15.5 * pitch;
  const cell = Math.floor((width * 0.29) / 28);
  const middle = width * 0.5;
  const bars = width * 0.74;
  const hidden = Array.from({ length: HIDDEN }, (_, j) => ({ x: middle + (j % 2 ? 0.85 : -0.85) * pitch, y: top + ((j + 1) / 2) * pitch, r: pitch * 0.4 }));
  const output = Array.from({ length: DIGITS }, (_, k) => ({ x: bars, y: top + ((k + 0.5) * height) / DIGITS, r: 15 }));
  const pixels = { x: 0, y: top + (height - 28 * cell) / 2, cell };
  const heads = [{ x: 14 * cell, y: pixels.y - 24 }, { x: middle, y: 0 }, { x: bars + (width - bars) * 0.4, y: 0 }];
  return { pixels, hidden, output, heads, across: true, height: top + height };
}

/** @param {number} width */
function fromTop(width) {
  const pitch = width / 10;
  const cell = Math.max(4, Math.min(7, Math.floor((width * 0.5) / 28)));
  const below = 24 + 28 * cell + 84;
  const hidden = Array.from({ length: HIDDEN }, (_, j) => ({ x: ((j % 10) + 0.5) * pitch, y: below + (Math.floor(j / 10) + 0.5) * pitch * 1.05, r: Math.min(15, pitch * 0.42) }));
  const last = below + 3 * pitch * 1.05 + 84;
  const output = Array.from({ length: DIGITS }, (_, k) => ({ x: (k + 0.5) * pitch, y: last + pitch / 2, r: Math.min(15, pitch * 0.42) }));
  const pixels = { x: (width - 28 * cell) / 2, y: 24, cell };
  const heads = [{ x: width / 2, y: 0 }, { x: width / 2, y: below - 24 }, { x: width / 2, y: last - 22 }];
  return { pixels, hidden, output, heads, across: false, height: last + pitch + 76 };
}

/** The lines with the largest values. @param {Line[]} lines @param {number} count */
const strongest = (lines, count) => lines.sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, count);

/** Lines of a value for each weight: the strongest of all, or those of one neuron.
 *  @param {(pixel: number, hidden: number) => number} first @param {(hidden: number, output: number) => number} second
 *  @param {Neuron | null} selected @returns {Line[]} */
export function linesOf(first, second, selected) {
  /** @type {[Line[], Line[]]} */
  const [hidden, output] = [[], []];
  const only = selected?.layer === "hidden" ? selected.index : -1;
  for (let j = 0; j < HIDDEN; j++) {
    for (let i = 0; selected?.layer !== "output" && i < PIXELS; i++) {
      const value = only < 0 || only === j ? first(i, j) : 0;
      if (value) hidden.push({ into: "hidden", from: i, to: j, value });
    }
    for (let k = 0; k < DIGITS; k++) {
      const shown = !selected || (selected.layer === "hidden" ? only === j : selected.index === k);
      if (shown) output.push({ into: "output", from: j, to: k, value: second(j, k) });
    }
  }
  return [...strongest(hidden, only < 0 ? 150 : 90), ...strongest(output, selected ? 30 : 45)];
}

/** @param {string} tag @param {string} [className] @returns {any} */
const make = (tag, className = "") => Object.assign(document.createElement(tag), { className });

/** @param {HTMLElement} parent @param {string} tag @param {string} className */
const add = (parent, tag, className) => parent.appendChild(make(tag, className));
