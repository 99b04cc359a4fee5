// @ts-check
// Sends a picture to the service, and returns its prediction, or a Trouble with a sentence. Knows HTTP and retries, not the page.

/** @typedef {{image: string, heatmap: string, polarity: string, box: number[] | null}} Explain */
/** @typedef {{digit: number | null, confidence: number, probabilities: number[], warnings: string[], set?: number[], explain?: Explain}} Prediction */
/** @typedef {{model: {name: string, version: string}, prediction: Prediction, ms: number, blob: Blob}} Answer */
/** @typedef {() => Promise<Blob>} Source */

const MIN_INTERVAL_MS = 50; // between two requests while a line grows
const TIMEOUT_MS = 10_000;
export const COVERAGE = 0.99; // of the sets of digits
const KEY = "mnist-api-key"; // its name in the tab's storage

/** Why there is no prediction: a sentence, and the HTTP status if there is one. */
export class Trouble extends Error {
  /** @param {string} words @param {number} [status] @param {number} [seconds] until the service accepts another request
   *  @param {boolean} [locked] whether another API key is needed */
  constructor(words, status = 0, seconds = 0, locked = false) {
    super(words);
    this.status = status;
    this.seconds = seconds;
    this.locked = locked;
  }

  /** Whether the same request may succeed later. */
  get passing() { return [0, 408, 429, 502, 503, 504].includes(this.status); }
}

/** Sends one request at a time, with the newest picture only. */
export class Asker {
  /** @type {Source | null} */
  #wanted = null;
  /** @type {AbortController | null} */
  #underway = null;
  #timer = 0;
  #asked = 0;
  #failures = 0;

  /** @param {(answer: Answer) => void} onAnswer @param {(trouble: Trouble) => void} onTrouble */
  constructor(onAnswer, onTrouble) {
    this.onAnswer = onAnswer;
    this.onTrouble = onTrouble;
  }

  /** The picture grows. The request in flight may finish: otherwise a slow network would never show a prediction.
   *  @param {Source} source */
  soon(source) {
    this.#wanted = source;
    if (!this.#underway && !this.#failures) this.#schedule(this.#asked + MIN_INTERVAL_MS - performance.now());
  }

  /** The picture is a new one: the request in flight is cancelled. @param {Source} source */
  now(source) {
    this.stop();
    this.#wanted = source;
    this.#ask();
  }

  stop() {
    this.#underway?.abort();
    this.#underway = this.#wanted = null;
    this.#failures = 0;
    clearTimeout(this.#timer);
  }

  /** @param {number} ms */
  #schedule(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), ms);
  }

  async #ask() {
    const source = this.#wanted;
    if (!source) return;
    const turn = (this.#underway = new AbortController());
    this.#wanted = null;
    this.#asked = performance.now();
    const outcome = await send(source, turn.signal).catch((error) => error);
    if (turn !== this.#underway) return; // outdated
    this.#underway = null;
    if (outcome instanceof Error) this.#fail(source, outcome);
    else this.#succeed(outcome);
  }

  /** @param {Answer} answer */
  #succeed(answer) {
    this.#failures = 0;
    this.onAnswer(answer);
    if (this.#wanted) this.soon(this.#wanted);
  }

  /** @param {Source} source @param {Error} error */
  #fail(source, error) {
    const trouble = error instanceof Trouble ? error : new Trouble(`The page could not send the picture: ${error.message}`, 400);
    this.onTrouble(trouble);
    if (trouble.passing) {
      this.#wanted ??= source;
      this.#schedule(1000 * (trouble.seconds || Math.min(8, 2 ** this.#failures)));
      this.#failures++;
    } else if (this.#wanted) this.soon(this.#wanted);
  }
}

let sets = false;

/** Ask for sets of digits from now on, or not: only a version whose card has quantiles makes them. @param {boolean} wanted */
export const askForSets = (wanted) => { sets = wanted; };

/** @param {Source} source @param {AbortSignal} signal @returns {Promise<Answer>} */
async function send(source, signal) {
  const blob = await source();
  const start = performance.now();
  /** @param {string} more */
  const post = (more) => fetchJson(`predict?explain=1${more}`, {
    method: "POST",
    body: blob,
    signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
  });
  const body = await post(sets ? `&coverage=${COVERAGE}` : "").catch((trouble) => {
    if (trouble.status !== 409) throw trouble;
    return post(""); // another version answers now, or a canary, and makes no sets
  });
  return { model: body.model, prediction: body.predictions[0], ms: performance.now() - start, blob };
}

/** The card of the model version that serves. @returns {Promise<any>} */
export const card = () => fetchJson("model", { signal: AbortSignal.timeout(TIMEOUT_MS) });

/** Send this API key with all requests, until the tab is closed. @param {string} key */
export const storeKey = (key) => sessionStorage.setItem(KEY, key);

/** The API key that is kept, or null. */
export const readKey = () => sessionStorage.getItem(KEY);

/** Fetch JSON from the service. @param {string} path @param {RequestInit} options @returns {Promise<any>} */
async function fetchJson(path, options) {
  try {
    const key = readKey();
    const reply = await fetch(path, key ? { ...options, headers: { "X-API-Key": key } } : options);
    const body = await reply.json().catch((error) => (error.name === "SyntaxError" ? {} : Promise.reject(error)));
    if (reply.ok) return body;
    const words = body.detail || body.title || `the service answered with status ${reply.status}`;
    const locked = ["unauthorized", "forbidden"].includes(body.reason);
    const needed = locked && !key ? "This service needs an API key" : words; // its own words are for programs
    throw new Trouble(sentence(needed), reply.status, Number(reply.headers.get("Retry-After")) || 0, locked);
  } catch (error) {
    throw error instanceof TypeError ? new Trouble(unreachable()) : late(error);
  }
}

/** Begin with a capital and end with a full stop, which some details lack. @param {string} words */
const sentence = (words) => words[0].toUpperCase() + words.slice(1).replace(/[^.!?]$/, "$&.");

/** @param {any} error */
const late = (error) =>
  error.name === "TimeoutError" ? new Trouble(`No answer within ${TIMEOUT_MS / 1000} seconds. Trying again.`) : error;

const unreachable = () =>
  navigator.onLine
    ? `The service at ${location.host} can’t be reached. Your picture is kept; trying again.`
    : "You are offline. Your picture is kept; the answer comes when the connection is back.";
