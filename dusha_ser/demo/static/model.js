// The model, as the page asks it: windows as `dusha predict` cuts them, and what it makes of them.
const settings = await (await fetch("settings.json")).json();
export const { labels, names, sampling_rate: rate, live, whole } = settings;
export const title = settings.model;

const waiting = new Map();
let asked = 0;
const worker = new Worker("worker.js", { type: "module" });
export const opened = new Promise((resolve, reject) => waiting.set("open", { resolve, reject }));
worker.onerror = (event) => waiting.get("open")?.reject(new Error(event.message || "worker.js"));
worker.onmessage = ({ data: { id, result, error } }) => {
  const { resolve, reject } = waiting.get(id);
  waiting.delete(id);
  if (error === undefined) resolve(result);
  else reject(new Error(error));
};

function ask(question) {
  const id = ++asked;
  const answer = new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  worker.postMessage({ id, ...question });
  return answer;
}

// The probabilities of (samples,) at the model's rate.
export const classify = (samples) => ask({ samples });

// Samples of a rate in Hz at the model's.
export const resample = (samples, from) =>
  from === rate ? samples : ask({ samples, from, to: rate });

export const best = (probabilities) => labels[probabilities.indexOf(Math.max(...probabilities))];

// Windows of a recording, [start, end] in samples: the last one ends with it.
function spans(size, window, hop) {
  const found = [];
  let start = 0;
  for (; start + window <= size; start += hop) found.push([start, start + window]);
  const covered = found.length ? start - hop + window : 0;
  if (covered < size) found.push([start, size]);
  return found;
}

// Classify (samples,): each of the windows, and the whole, which is the mean of the windows where it
// is long. Tells `progress` the fraction that is done.
export async function analyse(samples, progress) {
  const [window, hop] = [settings.window, settings.hop].map((one) => Math.round(one * rate));
  const windows = [];
  const all = spans(samples.length, window, hop);
  const inOne = samples.length <= whole * rate && all.length > 1;
  const sum = labels.map(() => 0);
  let weight = 0;
  for (const [start, end] of all) {
    const probabilities = await classify(samples.slice(start, end));
    windows.push({ start: start / rate, end: end / rate, probabilities });
    probabilities.forEach((value, place) => (sum[place] += value * (end - start)));
    weight += end - start;
    progress(windows.length / (all.length + inOne));
  }
  const mean = sum.map((value) => value / weight);
  const probabilities = inOne ? await classify(samples.slice()) : mean;
  return { windows, probabilities, duration: samples.length / rate };
}
