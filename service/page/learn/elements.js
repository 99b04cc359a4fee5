// @ts-check
// Short ways to the elements of the page.

/** @param {string} id @returns {any} */
export const at = (id) => document.getElementById(id);

/** A button with a small picture of 28 by 28 pixels and a word. @param {string} tag */
export function thumbnail(tag) {
  const element = document.createElement(tag);
  const canvas = Object.assign(document.createElement("canvas"), { width: 28, height: 28 });
  const word = document.createElement("span");
  element.append(canvas, word);
  return { element, canvas, word };
}
