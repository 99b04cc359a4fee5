// @ts-check
// Where pictures come from: files that are chosen, dropped or pasted, and the camera. Does not read them.

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
