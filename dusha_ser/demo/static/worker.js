// Beside the page, which stays quick: the model in ONNX Runtime, on one thread, so that servers need
// send no headers of isolation. Takes {id, samples} and gives {id, result: probabilities}, or takes
// {id, samples, from, to} and gives {id, result: samples at another rate}; {id, error} if it failed.
import * as ort from "./ort.wasm.bundle.min.js";
import { resample } from "./resampling.js";

async function load(name) {
  const response = await fetch(name);
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  const bytes = new Uint8Array(await response.arrayBuffer());
  // Some servers unpack what ends in .gz on its way.
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.buffer;
  const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(unpacked).arrayBuffer();
}

async function open() {
  const [wasm, model] = await Promise.all([
    load("ort-wasm-simd-threaded.wasm.gz"),
    load("model.onnx"),
  ]);
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: wasm });
  return ort.InferenceSession.create(new Uint8Array(model), { executionProviders: ["wasm"] });
}

const opened = open();
opened.then(
  () => postMessage({ id: "open" }),
  (error) => postMessage({ id: "open", error: error.message || String(error) }),
);

async function classify(samples) {
  const session = await opened;
  const inputs = { waveform: new ort.Tensor("float32", samples, [1, samples.length]) };
  if (session.inputNames.includes("lengths")) {
    inputs.lengths = new ort.Tensor("int64", [BigInt(samples.length)], [1]);
  }
  const { probabilities } = await session.run(inputs, ["probabilities"]);
  return Array.from(probabilities.data);
}

let last = opened;
onmessage = ({ data: { id, samples, from, to } }) => {
  // One after the other: a session computes one thing at a time.
  last = last.catch(() => null).then(async () => {
    try {
      postMessage({ id, result: from ? resample(samples, from, to) : await classify(samples) });
    } catch (error) {
      postMessage({ id, error: error.message || String(error) });
    }
  });
};
