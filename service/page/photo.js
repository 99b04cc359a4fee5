// @ts-check
// Takes a photograph inside the page, on devices that have no app for it. Knows neither the drawing pad nor the service.

import { encode } from "./canvas.js";
import { cut } from "./pictures.js";

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
