// @ts-check
// A drawing as text for the end of an address, so that a link holds it: nothing is stored anywhere.

import { SIDE } from "../pad.js";

/** @typedef {import("../pad.js").Stroke} Stroke */

const END = 255; // after each stroke; a coordinate is 0 to 254

/** @param {Stroke[]} strokes */
export function toLink(strokes) {
  const bytes = strokes.flatMap((stroke) => [...thin(stroke).flat().map((value) => Math.round((Math.max(0, Math.min(SIDE, value)) / SIDE) * (END - 1))), END]);
  return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @param {string} text @returns {Stroke[] | null} null for what is no drawing */
export function fromLink(text) {
  try {
    /** @type {Stroke[]} */
    const strokes = [[]];
    const bytes = Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    for (let i = 0; i < bytes.length; i += 2) {
      if (bytes[i] === END) { strokes.push([]); i--; } else strokes[strokes.length - 1].push([(bytes[i] * SIDE) / (END - 1), (bytes[i + 1] * SIDE) / (END - 1)]);
    }
    const whole = strokes.filter((stroke) => stroke.length);
    return whole.length && whole.flat(2).every((value) => value <= SIDE) ? whole : null;
  } catch {
    return null;
  }
}

/** Points that are some pixels apart: the browser reports many more. @param {Stroke} stroke */
function thin(stroke) {
  /** @type {Stroke} */
  const kept = [];
  stroke.forEach((point, i) => {
    const [x, y] = kept[kept.length - 1] ?? [Infinity, 0];
    if (i === stroke.length - 1 || Math.hypot(point[0] - x, point[1] - y) > 6) kept.push(point);
  });
  return kept;
}
