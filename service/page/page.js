// @ts-check
// Connects the parts of the page: pen and pictures → drawing pad → requests → predictions.

import { at, forget, introduce, say, show } from "./answer.js";
import { Asker, askForSets, card, storeKey } from "./ask.js";
import { Pad } from "./pad.js";
import { camera, chooser, welcome } from "./inputs.js";

/** @typedef {import("./ask.js").Answer} Answer */
/** @typedef {import("./ask.js").Trouble} Trouble */

const pad = new Pad(at("pad"));
const asker = new Asker(answered, troubled);
const main = /** @type {HTMLElement} */ (document.querySelector("main"));
const source = () => pad.bytes();
/** The whole URL of what is beside the page, which may be below a prefix. @param {string} path */
const here = (path) => new URL(path, location.href).href;
let version = "";
let declined = false; // nobody wanted to enter an API key: the page does not ask again by itself

pad.addEventListener("grow", () => { refresh(); asker.soon(source); });
pad.addEventListener("change", () => { refresh(); ask(); });

/** Enable the buttons that can do something now, and show whether there is a picture. */
function refresh() {
  at("undo").toggleAttribute("disabled", !pad.undoable);
  at("clear").toggleAttribute("disabled", pad.empty);
  if (pad.empty || main.dataset.state === "empty") main.dataset.state = pad.empty ? "empty" : "asking";
}

function ask() {
  quieten();
  if (!pad.empty) return asker.now(source);
  asker.stop();
  forget("no ink yet");
}

/** @param {Answer} answer */
function answered(answer) {
  quieten();
  main.dataset.state = "answered";
  show(answer);
  if (!pad.drawing) say(answer.prediction);
  if (answer.model.version !== version) meet();
}

/** @param {Trouble} trouble */
function troubled(trouble) {
  forget("no answer");
  main.dataset.state = "trouble";
  if (at("trouble").textContent !== trouble.message) at("trouble").textContent = trouble.message;
  at("again").hidden = !trouble.passing && !trouble.locked;
  if (trouble.locked && !declined) unlock(trouble.message);
}

/** Ask for an API key, and then the service again. @param {string} why */
async function unlock(why) {
  declined = true;
  const { enter } = await import("./key.js");
  const key = await enter(why);
  if (!key) return;
  storeKey(key);
  retry();
}

function retry() {
  declined = false;
  refresh();
  ask();
  meet();
}

function quieten() {
  at("trouble").textContent = "";
  at("again").hidden = true;
}

/** Show which model serves; it may change while the page is open. */
async function meet() {
  const model = await card().catch((trouble) => { if (trouble.locked) troubled(trouble); });
  if (!model) return;
  version = model.version;
  askForSets(Boolean(model.conformal));
  introduce(model);
}

const pictures = () => import("./pictures.js").catch(() => { throw new Error("The connection is gone. Try again when it is back."); });

/** @param {Blob | null | undefined} file */
async function take(file) {
  try {
    if (file === undefined) throw new Error("That isn’t a file. Drop a picture that is saved on this device.");
    if (file) pad.show(await (await pictures()).read(file));
  } catch (error) {
    at("trouble").textContent = /** @type {Error} */ (error).message;
  }
}

async function takePhoto() {
  try {
    const { photograph } = await pictures();
    take(await photograph(at("booth")).catch(() => {
      throw new Error("The camera can’t be used. Allow it in the browser’s settings, or choose a picture.");
    }));
  } catch (error) {
    at("trouble").textContent = /** @type {Error} */ (error).message;
  }
}

/** @param {KeyboardEvent} event */
function shortcut(event) {
  if (/** @type {HTMLElement} */ (event.target).matches("input, dialog, dialog *")) return;
  const command = event.ctrlKey || event.metaKey;
  const act = { "z!": () => pad.undo(), Escape: () => pad.clear(), o: () => at("choose").click() }[event.key + (command ? "!" : "")];
  if (!act || event.altKey || event.shiftKey) return;
  event.preventDefault();
  act();
}

addEventListener("keydown", shortcut);
addEventListener("pointerdown", () => pictures().catch(() => {}), { once: true }); // before it is needed
addEventListener("online", ask);
at("undo").addEventListener("click", () => pad.undo());
at("clear").addEventListener("click", () => pad.clear());
at("again").addEventListener("click", retry);
at("curl").textContent = `curl -s ${here("page/seven.png")} | curl --data-binary @- ${here("predict")}`;
welcome(take);
chooser(at("choose"), at("file"), take);
camera().then((way) => {
  at("camera").hidden = !way;
  if (way === "app") chooser(at("camera"), at("snapshot"), take);
  else at("camera").addEventListener("click", takePhoto);
});
meet();
