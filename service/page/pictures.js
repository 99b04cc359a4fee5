// @ts-check
// Reads a picture that is chosen, dropped, pasted or photographed: its bytes, and a bitmap to show. Knows neither the drawing
// pad nor the service.

import { blank, encode } from "./canvas.js";

/** @typedef {import("./pad.js").Picture} Picture */

const LONGEST = 2048; // pixels of a picture that has to be encoded again

/** PNG and JPEG are sent as they are, whatever their name is; other formats that the browser reads become PNG.
 *  @param {Blob} file @returns {Promise<Picture>} */
export async function read(file) {
  const bitmap = await createImageBitmap(file).catch(() => null);
  const type = await kind(file);
  if (type) return { blob: new Blob([file], { type }), bitmap };
  if (!bitmap) throw new Error("That file isn’t a picture that this browser can read.");
  return { blob: await encode(cut(bitmap, 0, 0, bitmap.width, bitmap.height), "image/png"), bitmap };
}

/** The type by the first bytes. @param {Blob} file */
async function kind(file) {
  const [a, b, c] = new Uint8Array(await file.slice(0, 3).arrayBuffer());
  if (a === 0x89 && b === 0x50) return "image/png";
  return a === 0xff && b === 0xd8 && c === 0xff ? "image/jpeg" : "";
}

/** Part of a picture, at most `LONGEST` wide and high. @param {CanvasImageSource} source @param {number} x @param {number} y @param {number} width @param {number} height */
export function cut(source, x, y, width, height) {
  const scale = Math.min(1, LONGEST / Math.max(width, height));
  const context = blank(width * scale, height * scale);
  context.drawImage(source, x, y, width, height, 0, 0, width * scale, height * scale);
  return context.canvas;
}

/** Take files that are dropped anywhere on the page or pasted into it. @param {(file: Blob | undefined) => void} take */
export function welcome(take) {
  const root = document.documentElement;
  const hover = (/** @type {boolean} */ over) => root.classList.toggle("dropping", over);
  addEventListener("dragover", (event) => { event.preventDefault(); hover(true); });
  addEventListener("dragleave", (event) => { if (!event.relatedTarget) hover(false); });
  addEventListener("drop", (event) => {
    event.preventDefault();
    hover(false);
    take(event.dataTransfer?.files[0]);
  });
  addEventListener("paste", (event) => {
    const [file] = event.clipboardData?.files ?? [];
    if (file) take(file);
  });
}

/** Make a button open an input for files. @param {HTMLElement} button @param {HTMLInputElement} input @param {(file: Blob) => void} take */
export function chooser(button, input, take) {
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    if (input.files?.[0]) take(input.files[0]);
    input.value = ""; // the same file can be chosen again
  });
}

/** Whether there is a camera, and what uses it: a phone's own app is better than this page; a desktop has no such app.
 *  @returns {Promise<"app" | "page" | "">} */
export async function camera() {
  if (matchMedia("(pointer: coarse)").matches) return "app";
  const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
  return devices.some((device) => device.kind === "videoinput") ? "page" : "";
}
