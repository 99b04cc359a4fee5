// @ts-check
// The network's arithmetic: forward, loss, backward and one step of gradient descent. In: 784 pixels of 0 (paper) to 1 (ink).
// Knows no page.

/** A layer of `outputs` neurons; the weights of neuron j are weights[j * inputs] and those after it.
 *  @typedef {{inputs: number, outputs: number, weights: Float64Array, biases: Float64Array}} Layer */
/** @typedef {{hidden: Layer, output: Layer}} Network */
/** @typedef {{pixels: ArrayLike<number>, sums: Float64Array, hidden: Float64Array, logits: Float64Array, probabilities: Float64Array}} Signals */
/** The derivatives of the loss by the sums of the neurons (δ), and by the weights and biases.
 *  @typedef {{loss: number, deltaOutput: Float64Array, deltaHidden: Float64Array, hidden: Layer, output: Layer}} Gradients */
/** @typedef {{pixels: ArrayLike<number>, digit: number}} Example */

export const PIXELS = 784, HIDDEN = 30, DIGITS = 10;

/** Read weights.bin: one line of JSON, then the weights of all layers as bytes from -127 to 127.
 *  @param {ArrayBuffer} buffer @returns {{network: Network, facts: any}} */
export function read(buffer) {
  const bytes = new Uint8Array(buffer);
  const end = bytes.indexOf(10);
  const facts = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  let start = end + 1;
  const [hidden, output] = facts.layers.map((/** @type {any} */ { inputs, outputs, scales, biases }) => {
    const whole = new Int8Array(buffer, start, inputs * outputs);
    start += whole.length;
    const weights = Float64Array.from(whole, (value, i) => value * scales[Math.floor(i / inputs)]);
    return { inputs, outputs, weights, biases: Float64Array.from(biases) };
  });
  return { network: { hidden, output }, facts };
}

/** A network that has learnt nothing: random weights, the same for the same seed, and biases of 0.
 *  @param {number} seed @returns {Network} */
export function untrained(seed) {
  const random = generator(seed);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const fresh = (/** @type {number} */ inputs, /** @type {number} */ outputs, /** @type {number} */ spread) =>
    ({ inputs, outputs, weights: Float64Array.from({ length: inputs * outputs }, () => normal() * spread), biases: new Float64Array(outputs) });
  return { hidden: fresh(PIXELS, HIDDEN, 0.1), output: fresh(HIDDEN, DIGITS, 0.3) };
}

/** Random numbers from 0 to 1 (mulberry32). @param {number} seed */
const generator = (seed) => () => {
  seed = (seed + 0x6d2b79f5) | 0;
  let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
};

export const sigmoid = (/** @type {number} */ z) => 1 / (1 + Math.exp(-z));

/** @param {ArrayLike<number>} logits */
function softmax(logits) {
  const most = Math.max(...Array.from(logits));
  const powers = Float64Array.from(logits, (z) => Math.exp(z - most));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / total);
}

/** Each neuron's weighted sum. @param {Layer} layer @param {ArrayLike<number>} signal */
function sums({ inputs, outputs, weights, biases }, signal) {
  const z = Float64Array.from(biases);
  for (let j = 0; j < outputs; j++) for (let i = 0; i < inputs; i++) z[j] += weights[j * inputs + i] * signal[i];
  return z;
}

/** @param {Network} network @param {ArrayLike<number>} pixels @returns {Signals} */
export function forward({ hidden, output }, pixels) {
  const z = sums(hidden, pixels);
  const activations = z.map(sigmoid);
  const logits = sums(output, activations);
  return { pixels, sums: z, hidden: activations, logits, probabilities: softmax(logits) };
}

/** The squared distance between the probabilities and the right ones. @param {ArrayLike<number>} p @param {number} digit */
export const lossOf = (p, digit) => Array.from(p).reduce((sum, value, k) => sum + (value - Number(k === digit)) ** 2, 0);

/** The gradients of one example's loss, by the chain rule. @param {Network} network @param {Example} example @returns {Gradients} */
export function backward(network, { pixels, digit }) {
  const { hidden, probabilities: p } = forward(network, pixels);
  const slope = p.map((value, k) => 2 * (value - Number(k === digit))); // ∂L/∂p
  const mean = slope.reduce((sum, value, k) => sum + value * p[k], 0);
  const deltaOutput = p.map((value, k) => value * (slope[k] - mean)); // ∂L/∂z of the outputs, through the softmax
  const deltaHidden = hidden.map((a, j) => a * (1 - a) * deltaOutput.reduce((sum, d, k) => sum + d * network.output.weights[k * HIDDEN + j], 0));
  return { loss: lossOf(p, digit), deltaOutput, deltaHidden, hidden: outer(deltaHidden, pixels), output: outer(deltaOutput, hidden) };
}

/** The derivative by each weight is the δ of the neuron after it times the signal before it.
 *  @param {Float64Array} delta @param {ArrayLike<number>} signal @returns {Layer} */
function outer(delta, signal) {
  const inputs = signal.length;
  const weights = new Float64Array(delta.length * inputs);
  for (let j = 0; j < delta.length; j++) for (let i = 0; i < inputs; i++) weights[j * inputs + i] = delta[j] * signal[i];
  return { inputs, outputs: delta.length, weights, biases: delta };
}

/** The mean gradients of several examples. @param {Network} network @param {Example[]} examples */
export function meanGradients(network, examples) {
  const all = examples.map((example) => backward(network, example));
  const mean = (/** @type {(g: Gradients) => Float64Array} */ of) =>
    of(all[0]).map((_, i) => all.reduce((sum, one) => sum + of(one)[i], 0) / all.length);
  const layer = (/** @type {"hidden" | "output"} */ name) =>
    ({ ...all[0][name], weights: mean((g) => g[name].weights), biases: mean((g) => g[name].biases) });
  return { hidden: layer("hidden"), output: layer("output") };
}

/** Move each weight a little against its gradient; returns the new network.
 *  @param {Network} network @param {{hidden: Layer, output: Layer}} gradients @param {number} rate @returns {Network} */
export function descend(network, gradients, rate) {
  const layer = (/** @type {"hidden" | "output"} */ name) => ({
    ...network[name],
    weights: network[name].weights.map((w, i) => w - rate * gradients[name].weights[i]),
    biases: network[name].biases.map((b, i) => b - rate * gradients[name].biases[i]),
  });
  return { hidden: layer("hidden"), output: layer("output") };
}
