// @ts-check
// Helpers for canvases.

/** @param {number} width @param {number} height @returns {CanvasRenderingContext2D} */
export const blank = (width, height) => brush(Object.assign(document.createElement("canvas"), { width, height }));

/** @param {HTMLCanvasElement} canvas */
export const brush = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));

/** @param {HTMLCanvasElement} canvas @param {string} type @returns {Promise<Blob>} */
export const encode = (canvas, type) =>
  new Promise((resolve) => canvas.toBlob((blob) => resolve(/** @type {Blob} */ (blob)), type, 0.92));
