// @ts-check
// Draws an explanation: the network's input, and the heat map over it. The page loads it with the first answer.

import { blank, brush } from "./canvas.js";

const RAMP = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];

/** @param {HTMLCanvasElement} saw @param {HTMLCanvasElement} heat both 28×28 @param {import("./ask.js").Explain} explain
 *  @param {() => boolean} wanted whether no other answer has come meanwhile */
export async function draw(saw, heat, explain, wanted) {
  const [ink, heated] = await Promise.all([grey(explain.image), grey(explain.heatmap)]);
  if (!wanted()) return;
  paint(saw, (i) => [ink[i], ink[i], ink[i]]);
  paint(heat, (i) => warm(heated[i], ink[i]));
}

/** The grey values of a PNG. @param {string} base64 */
async function grey(base64) {
  const image = new Image();
  image.src = `data:image/png;base64,${base64}`;
  await image.decode();
  const context = blank(28, 28);
  context.drawImage(image, 0, 0);
  return context.getImageData(0, 0, 28, 28).data.filter((_, i) => i % 4 === 0);
}

/** @param {HTMLCanvasElement} canvas @param {(pixel: number) => number[]} colour */
function paint(canvas, colour) {
  const pixels = new ImageData(28, 28);
  for (let i = 0; i < 784; i++) pixels.data.set([...colour(i), 255], i * 4);
  brush(canvas).putImageData(pixels, 0, 0);
}

/** Black, violet, red, amber, near white with growing heat (the colour map "inferno"), over a faint copy of the ink.
 *  @param {number} heat @param {number} ink */
function warm(heat, ink) {
  const at = (heat / 255) * 4;
  const low = Math.min(3, Math.floor(at));
  return RAMP[low].map((from, i) => Math.max(ink * 0.25, from + (RAMP[low + 1][i] - from) * (at - low)));
}
