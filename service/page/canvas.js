// @ts-check
// Helpers for canvases.

/** @param {number} width @param {number} height @param {CanvasRenderingContext2DSettings} [options] @returns {CanvasRenderingContext2D} */
export const blank = (width, height, options) => brush(Object.assign(document.createElement("canvas"), { width, height }), options);

/** @param {HTMLCanvasElement} canvas @param {CanvasRenderingContext2DSettings} [options] */
export const brush = (canvas, options) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", options));

/** @param {HTMLCanvasElement} canvas @param {string} type @returns {Promise<Blob>} */
export const encode = (canvas, type) =>
  new Promise((resolve) => canvas.toBlob((blob) => resolve(/** @type {Blob} */ (blob)), type, 0.92));
