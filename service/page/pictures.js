// @ts-check
// Reads a picture from a file or the camera: its bytes, and a bitmap to show. Knows neither the drawing pad nor the service. The
// page loads it with the first picture.

import { blank, encode } from "./canvas.js";

/** @typedef {import("./pad.js").Picture} Picture */

const SENT = new Set(["image/png", "image/jpeg"]);
/** @type {[string, RegExp][]} */
const TYPES = [
  ["image/png", /^\x89P/],
  ["image/jpeg", /^\xff\xd8\xff/],
  ["image/tiff", /^(II\*\0|MM\0\*)/],
  ["image/heic", /^.{4}ftyp(hei|hev|mif1|msf1)/s],
];
const LONGEST = 2048; // pixels of a picture that has to be encoded again

/** PNG and JPEG are sent as they are, whatever their name is; other formats that the browser reads become PNG; HEIC and TIFF,
 *  which most browsers do not read, are sent as they are, because the service may read them.
 *  @param {Blob} file @returns {Promise<Picture>} */
export async function read(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  const type = await kind(file);
  if (type && (SENT.has(type) || !bitmap)) return { blob: new Blob([file], { type }), bitmap };
  if (!bitmap) throw new Error("That file isn’t a picture that this browser can read.");
  return { blob: await encode(cut(bitmap, 0, 0, bitmap.width, bitmap.height), "image/png"), bitmap };
}

/** The type by the first bytes. @param {Blob} file */
async function kind(file) {
  const start = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return TYPES.find(([, pattern]) => pattern.test(start))?.[0] ?? "";
}

/** Part of a picture, at most `LONGEST` wide and high. @param {CanvasImageSource} source @param {number} x @param {number} y @param {number} width @param {number} height */
function cut(source, x, y, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const context = blank(width * scale, height * scale);
  context.drawImage(source, x, y, width, height, 0, 0, width * scale, height * scale);
  return context.canvas;
}

/** Take a photograph: the middle square of the camera's picture, or null if it is cancelled.
 *  @param {HTMLDialogElement} booth @returns {Promise<Blob | null>} */
export async function photograph(booth) {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  const video = /** @type {HTMLVideoElement} */ (booth.querySelector("video"));
  const shutter = /** @type {HTMLButtonElement} */ (booth.querySelector("[value=take]"));
  try {
    shutter.disabled = true;
    video.srcObject = stream;
    booth.returnValue = "";
    booth.showModal();
    video.onplaying = () => { shutter.disabled = false; };
    await video.play();
    await new Promise((resolve) => booth.addEventListener("close", resolve, { once: true }));
    const [width, height] = [video.videoWidth, video.videoHeight];
    const side = Math.min(width, height);
    const square = () => cut(video, (width - side) / 2, (height - side) / 2, side, side);
    return booth.returnValue === "take" ? await encode(square(), "image/jpeg") : null;
  } finally {
    for (const track of stream.getTracks()) track.stop();
    video.srcObject = null;
  }
}
