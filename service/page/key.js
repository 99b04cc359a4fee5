// @ts-check
// Asks for an API key in a dialog. Knows neither what the key opens nor where it is kept.

const FORM = `<form method="dialog">
  <h2 id="key-why"></h2>
  <p id="key-help">Whoever runs the service can make one. It stays in this tab, and is forgotten when you close the tab.</p>
  <label for="key">API key</label>
  <input id="key" type="password" required autocomplete="off" maxlength="256" pattern="\\s*[!-~]+\\s*"
    title="A key without spaces, as it was given to you" aria-describedby="key-help">
  <div><button type="button">Cancel</button><button value="use">Use this key</button></div>
</form>`;

/** @param {string} why a key is needed, or another one @returns {Promise<string>} the key, or "" if the dialog is closed */
export async function enter(why) {
  const dialog = Object.assign(document.createElement("dialog"), { className: "key", innerHTML: FORM });
  dialog.setAttribute("aria-labelledby", "key-why");
  /** @type {HTMLElement} */ (dialog.querySelector("h2")).textContent = why;
  dialog.querySelector("button")?.addEventListener("click", () => dialog.close());
  document.body.append(dialog);
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve));
  dialog.remove();
  return dialog.returnValue && /** @type {HTMLInputElement} */ (dialog.querySelector("input")).value.trim();
}
