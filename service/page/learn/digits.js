// @ts-check
// Ten digits as a pen writes them, for those who cannot draw, and as the examples that the untrained network learns.

/** @typedef {import("../pad.js").Stroke} Stroke */

// The points of each stroke, x and y on the pad of 280 by 280. Lines are separate strokes where they have a corner.
const POINTS = [
  [[152, 44, 100, 70, 70, 140, 88, 208, 138, 238, 190, 212, 214, 145, 196, 78, 152, 44]],
  [[112, 92, 138, 68, 156, 42], [156, 42, 152, 140, 146, 238]],
  [[80, 98, 96, 58, 142, 40, 188, 62, 192, 112, 156, 162, 106, 206, 70, 232], [70, 232, 130, 226, 210, 231]],
  [[84, 66, 130, 42, 184, 60, 184, 106, 124, 132], [124, 132, 188, 150, 206, 196, 166, 236, 106, 238, 70, 210]],
  [[120, 44, 100, 104, 72, 164], [72, 164, 140, 160, 216, 158], [176, 84, 170, 160, 164, 240]],
  [[198, 48, 148, 46, 100, 52], [100, 52, 94, 90, 86, 132], [86, 132, 132, 112, 184, 126, 206, 170, 184, 220, 130, 240, 76, 220]],
  [[176, 44, 124, 86, 88, 146, 84, 200, 120, 238, 174, 230, 196, 188, 172, 150, 122, 156, 86, 190]],
  [[70, 62, 140, 58, 210, 52], [210, 52, 182, 110, 152, 170, 130, 240]],
  [[188, 76, 142, 42, 94, 70, 108, 116, 160, 150, 198, 194, 166, 238, 106, 236, 82, 196, 122, 150, 176, 114, 188, 76]],
  [[196, 88, 150, 46, 98, 68, 86, 116, 130, 146, 180, 126, 196, 88], [196, 88, 192, 150, 176, 240]],
];

/** The strokes of a digit. @type {Stroke[][]} */
export const WRITTEN = POINTS.map((strokes) => strokes.map(smooth));

/** A curve through all points, in short pieces (Catmull and Rom 1974). @param {number[]} flat @returns {Stroke} */
function smooth(flat) {
  const points = flat.filter((_, i) => i % 2 === 0).map((x, i) => [x, flat[2 * i + 1]]);
  const at = (/** @type {number} */ i) => points[Math.max(0, Math.min(points.length - 1, i))];
  const curve = (/** @type {number} */ i, /** @type {number} */ t, /** @type {0 | 1} */ axis) => {
    const [a, b, c, d] = [at(i - 1), at(i), at(i + 1), at(i + 2)].map((point) => point[axis]);
    return b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)));
  };
  const pieces = 5;
  const steps = (points.length - 1) * pieces;
  return Array.from({ length: steps + 1 }, (_, n) => {
    const i = Math.min(points.length - 2, Math.floor(n / pieces));
    const t = n / pieces - i;
    return [curve(i, t, 0), curve(i, t, 1)];
  });
}
