// @ts-check
// Pictures of numbers in the colours of the theme: blue for what is positive, orange for what is negative.

import { brush } from "../canvas.js";

/** @typedef {"sheet" | "ink" | "up" | "down" | "line" | "accent"} Name */

/** A colour of the style sheet, which writes it as #rrggbb. @param {Name} name */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

/** @param {Name} name @returns {number[]} red, green and blue */
function parts(name) {
  const text = colour(name).slice(1);
  const long = text.length === 3 ? text.replace(/./g, "$&$&") : text;
  return [0, 2, 4].map((at) => parseInt(long.slice(at, at + 2), 16));
}

/** Draw one number a pixel: `most` and more is full blue, `-most` and less full orange. Without it, 0 is paper and 1 is ink.
 *  @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} values @param {number} [most] */
export function paint(canvas, values, most) {
  const [sheet, ink, up, down] = [parts("sheet"), parts("ink"), parts("up"), parts("down")];
  const side = Math.sqrt(values.length);
  const image = new ImageData(side, side);
  for (let i = 0; i < values.length; i++) {
    const share = Math.min(1, Math.abs(values[i]) / (most || 1));
    const full = most === undefined ? ink : values[i] > 0 ? up : down;
    image.data.set([...sheet.map((from, c) => from + (full[c] - from) * share), 255], 4 * i);
  }
  brush(canvas).putImageData(image, 0, 0);
}

/** The value that only few exceed, so that one of them does not make the others pale. @param {ArrayLike<number>} values */
export const strong = (values) => Float64Array.from(values, Math.abs).sort()[Math.floor(0.99 * values.length)] || 1;
