// @ts-check
// From strokes to 28 by 28 pixels as MNIST has them: the digit's box, shrunk to 20 pixels, its centre of mass in the middle.

import { blank } from "../canvas.js";
import { SIDE as SHEET, ink } from "../pad.js";

/** @typedef {import("../pad.js").Stroke} Stroke */
/** The box of the ink and its centre of mass, in units of the sheet; the digit as 20 by 20 pixels in its box; and as 28 by 28.
 *  @typedef {{box: {x: number, y: number, width: number, height: number}, mass: {x: number, y: number},
 *  small: Float64Array, pixels: Float64Array}} Digit */

const SMALL = 20, SIDE = 28;
const SAMPLES = 8; // across and down, for the mean ink of one pixel

const context = blank(SHEET, SHEET, { willReadFrequently: true });

/** @param {Stroke[]} strokes @returns {Digit | null} null without ink */
export function toPixels(strokes) {
  context.clearRect(0, 0, SHEET, SHEET);
  ink(context, strokes, "#000");
  const { data } = context.getImageData(0, 0, SHEET, SHEET);
  let [left, top, right, bottom, total, sumX, sumY] = [SHEET, SHEET, -1, -1, 0, 0, 0];
  for (let y = 0; y < SHEET; y++) {
    for (let x = 0; x < SHEET; x++) {
      const alpha = data[4 * (y * SHEET + x) + 3];
      if (!alpha) continue;
      [left, top, right, bottom] = [Math.min(left, x), Math.min(top, y), Math.max(right, x), Math.max(bottom, y)];
      total += alpha;
      sumX += alpha * (x + 0.5);
      sumY += alpha * (y + 0.5);
    }
  }
  if (!total) return null;
  const box = { x: left, y: top, width: right + 1 - left, height: bottom + 1 - top };
  const mass = { x: sumX / total, y: sumY / total };
  const size = Math.max(box.width, box.height) / SMALL; // units of the sheet in one pixel
  const middle = { x: box.x + box.width / 2, y: box.y + box.height / 2 };
  return { box, mass, small: shrink(data, middle, size, SMALL), pixels: shrink(data, mass, size, SIDE) };
}

/** Pixels around a point of the sheet. @param {Uint8ClampedArray} data @param {{x: number, y: number}} centre @param {number} size
 *  @param {number} side */
function shrink(data, centre, size, side) {
  const step = size / SAMPLES;
  const first = (/** @type {number} */ middle) => middle - (side * size) / 2 + step / 2;
  const pixels = new Float64Array(side * side);
  for (let row = 0; row < side * SAMPLES; row++) {
    const y = Math.floor(first(centre.y) + row * step);
    if (y < 0 || y >= SHEET) continue;
    for (let column = 0; column < side * SAMPLES; column++) {
      const x = Math.floor(first(centre.x) + column * step);
      if (x >= 0 && x < SHEET) pixels[Math.floor(row / SAMPLES) * side + Math.floor(column / SAMPLES)] += data[4 * (y * SHEET + x) + 3];
    }
  }
  return pixels.map((sum) => sum / (255 * SAMPLES ** 2));
}
