// @ts-check
// The drawing pad: takes strokes (mouse, touch, stylus or arrow keys) or a picture, and returns a PNG or the picture's own
// bytes. Its events are "grow" (a line gets longer) and "change" (the drawing is complete, or a new one). Knows no network.

import { blank, brush, encode } from "./canvas.js";

/** @typedef {[number, number][]} Stroke */
/** @typedef {{blob: Blob, bitmap: ImageBitmap | null}} Picture */
/** @typedef {{strokes: Stroke[], picture: Picture | null}} Sheet */

export const SIDE = 280; // units of the pad's coordinates, and pixels of the PNG that is sent
const PEN = 20; // MNIST's strokes are about a tenth of a digit wide
const STEP = 7; // one press of an arrow key
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** @type {Sheet} */
const BLANK = { strokes: [], picture: null };

export class Pad extends EventTarget {
  /** @type {Sheet[]} all sheets before this one, so that clearing can be undone, too */
  #past = [];
  #sheet = BLANK;
  /** @type {number | null} the pointer that draws; a palm on the screen is another one */
  #pointer = null;
  #frame = 0;
  #cursor = { x: SIDE / 2, y: SIDE / 2, down: false };

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    canvas.addEventListener("mousedown", (event) => event.preventDefault()); // only the keyboard focuses the pad, which then shows its pen
    canvas.addEventListener("pointerdown", (event) => this.#press(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.#lift(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    for (const shown of ["focus", "blur"]) canvas.addEventListener(shown, () => this.#repaint());
    new ResizeObserver(() => this.#repaint()).observe(canvas);
    DARK.addEventListener("change", () => this.#tell("change"));
  }

  get empty() { return !this.#sheet.picture && !this.#sheet.strokes.length; }
  get undoable() { return this.#past.length > 0; }
  get drawing() { return this.#pointer !== null; }
  get strokes() { return this.#sheet.strokes; }

  undo() {
    const before = this.#past.pop();
    if (before) this.#turn(before);
  }

  clear() { if (!this.empty) this.#next(BLANK); }

  /** @param {Picture} picture */
  show(picture) { this.#next({ strokes: [], picture }); }

  /** Write strokes as a pen does, or at once for those who want no motion. Another drawing ends it. @param {Stroke[]} strokes */
  async write(strokes) {
    this.#past.push(this.#sheet);
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const points = strokes.flat().length;
    for (let count = 1; !still && count < points; count += 2) {
      const sheet = { strokes: beginning(strokes, count), picture: null };
      this.#sheet = sheet;
      this.#tell("grow");
      await new Promise(requestAnimationFrame);
      if (this.#sheet !== sheet) return;
    }
    this.#turn({ strokes, picture: null });
  }

  /** The bytes to send: a picture as it is, a drawing as it is seen: dark ink on light, or in the dark theme light on dark. */
  bytes() {
    const { picture, strokes } = this.#sheet;
    if (picture) return Promise.resolve(picture.blob);
    const context = blank(SIDE, SIDE);
    const [ground, pen] = DARK.matches ? ["#000", "#fff"] : ["#fff", "#000"];
    context.fillStyle = ground;
    context.fillRect(0, 0, SIDE, SIDE);
    ink(context, strokes, pen);
    return encode(context.canvas, "image/png");
  }

  /** @param {Sheet} sheet */
  #next(sheet) {
    this.#past.push(this.#sheet);
    this.#turn(sheet);
  }

  /** @param {Sheet} sheet */
  #turn(sheet) {
    this.#pointer = null;
    this.#cursor.down = false;
    this.#sheet = sheet;
    this.#tell("change");
  }

  /** @param {"grow" | "change"} name */
  #tell(name) {
    this.#repaint();
    this.dispatchEvent(new Event(name));
  }

  /** @param {number} x @param {number} y */
  #begin(x, y) {
    this.#past.push(this.#sheet);
    this.#sheet = { strokes: [...this.#sheet.strokes, [[x, y]]], picture: null };
    this.#tell("grow");
  }

  /** @param {[number, number][]} points */
  #extend(points) {
    this.#sheet.strokes.at(-1)?.push(...points);
    this.#tell("grow");
  }

  /** @param {PointerEvent} event */
  #press(event) {
    if (this.#pointer !== null || event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.#begin(...this.#place(event));
    this.#pointer = event.pointerId;
    this.#cursor.down = false;
  }

  /** @param {PointerEvent} event */
  #move(event) {
    if (event.pointerId !== this.#pointer) return;
    const all = event.getCoalescedEvents?.() ?? [];
    this.#extend((all.length ? all : [event]).map((one) => this.#place(one)));
  }

  /** @param {Event} event */
  #lift(event) {
    if (/** @type {PointerEvent} */ (event).pointerId !== this.#pointer) return;
    this.#pointer = null;
    this.#tell("change");
  }

  /** @param {PointerEvent} event @returns {[number, number]} */
  #place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[event.key];
    if (!way || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.key === " ") this.#tap();
    else this.#steer(way);
  }

  #tap() {
    this.#cursor.down = !this.#cursor.down;
    if (this.#cursor.down) this.#begin(this.#cursor.x, this.#cursor.y);
    else this.#tell("change");
  }

  /** @param {number[]} way */
  #steer([x, y]) {
    const inside = (/** @type {number} */ value) => Math.min(SIDE - PEN, Math.max(PEN, value));
    this.#cursor.x = inside(this.#cursor.x + x * STEP);
    this.#cursor.y = inside(this.#cursor.y + y * STEP);
    if (this.#cursor.down) this.#extend([[this.#cursor.x, this.#cursor.y]]);
    else this.#repaint();
  }

  #repaint() {
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      this.#paint();
    });
  }

  #paint() {
    const { canvas } = this;
    const pixels = Math.round(canvas.clientWidth * devicePixelRatio);
    if (canvas.width !== pixels) canvas.width = canvas.height = pixels;
    const context = brush(canvas);
    context.setTransform(pixels / SIDE, 0, 0, pixels / SIDE, 0, 0);
    context.clearRect(0, 0, SIDE, SIDE);
    if (this.#sheet.picture?.bitmap) fit(context, this.#sheet.picture.bitmap);
    ink(context, this.#sheet.strokes, getComputedStyle(canvas).color);
    if (canvas.matches(":focus-visible")) this.#aim(context);
  }

  /** Draw the keyboard's pen: a ring, thicker while it is down. @param {CanvasRenderingContext2D} context */
  #aim(context) {
    context.beginPath();
    context.arc(this.#cursor.x, this.#cursor.y, PEN / 2 + 3, 0, 7);
    context.strokeStyle = getComputedStyle(this.canvas).outlineColor;
    context.lineWidth = this.#cursor.down ? 4 : 1.5;
    context.stroke();
  }
}

/** The first points of the strokes. @param {Stroke[]} strokes @param {number} count @returns {Stroke[]} */
function beginning(strokes, count) {
  const [first, ...others] = strokes;
  return count <= first.length ? [first.slice(0, count)] : [first, ...beginning(others, count - first.length)];
}

/** Draw curves through the midpoints between the reported points, so that lines have no corners.
 *  @param {CanvasRenderingContext2D} context @param {Stroke[]} strokes @param {string} colour */
export function ink(context, strokes, colour) {
  Object.assign(context, { strokeStyle: colour, lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    const [[x, y]] = stroke;
    context.beginPath();
    context.moveTo(x, y);
    for (let i = 1; i < stroke.length - 1; i++) {
      const [[px, py], [qx, qy]] = [stroke[i], stroke[i + 1]];
      context.quadraticCurveTo(px, py, (px + qx) / 2, (py + qy) / 2);
    }
    const [ex, ey] = stroke[stroke.length - 1];
    context.lineTo(ex, ey + 0.01); // a line without length would leave no dot
    context.stroke();
  }
}

/** Draw the whole picture, as large as fits. @param {CanvasRenderingContext2D} context @param {ImageBitmap} bitmap */
function fit(context, bitmap) {
  const scale = Math.min(SIDE / bitmap.width, SIDE / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  context.imageSmoothingEnabled = scale < 3; // tiny pictures show their pixels
  context.drawImage(bitmap, (SIDE - width) / 2, (SIDE - height) / 2, width, height);
}
