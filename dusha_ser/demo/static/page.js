// What a visitor does, and what the page then shows.
import { Microphone, decode, encode } from "./audio.js";
import { bars, figure, make, nameOf, peaksOf, windowTable } from "./drawing.js";
import { analyse, best, classify, labels, live, opened, rate, resample, title, whole } from "./model.js";
import { clock, number, percent, say, translate } from "./texts.js";

const LONGEST = 3600; // seconds at the microphone, whose samples are in memory
const find = (selector) => document.querySelector(selector);
const [state, problems, button] = ["#state", "#problems", "#microphone button"].map(find);
const [results, shown, player] = ["#results", "#shown", "audio"].map(find);
const taken = []; // a result per file, the last one last
let idle = say("loading");
let queue = opened;
let microphone = null;

function refuse(text) {
  problems.append(make("p", {}, text));
}

// Files one after the other; of several the first one is shown.
function take(files) {
  problems.replaceChildren();
  [...files].forEach((file, place) => {
    queue = queue.then(() => takeOne(file, place === 0)).catch(() => null);
  });
  queue.then(() => (state.textContent = idle));
}

async function takeOne(file, isFirst) {
  const { name } = file;
  const tell = (share) => (state.textContent = say("working", { name, share: percent(share, 0) }));
  const result = { name, file, error: "" };
  tell(0);
  let samples = [];
  try {
    const heard = await decode(await file.arrayBuffer());
    samples = await resample(heard.samples, heard.rate);
  } catch {
    // It says nothing that helps.
  }
  try {
    if (!samples.length) result.error = say("notAudio", { name });
    else Object.assign(result, await analyse(samples, tell), { peaks: peaksOf(samples, rate) });
  } catch (error) {
    result.error = say("failed", { name, reason: error.message });
  }
  taken.push(result);
  if (result.error) refuse(result.error);
  else if (isFirst || shown.hidden) show(result);
  list();
}

// A table of all files, where there are several.
function list() {
  const head = [say("file"), say("length"), say("emotion"), ...labels.map(nameOf)];
  const rows = taken.map((result) => {
    if (result.error) {
      return make("tr", {}, make("th", { scope: "row" }, result.name), make("td"), make("td", {}, "–"));
    }
    const choose = make("button", { type: "button", className: "link" }, result.name);
    choose.onclick = () => show(result);
    return make(
      "tr",
      { "data-label": best(result.probabilities) },
      make("th", { scope: "row" }, choose),
      make("td", {}, clock(result.duration)),
      make("td", {}, nameOf(best(result.probabilities))),
      ...result.probabilities.map((value) => make("td", {}, percent(value))),
    );
  });
  find("#results table").replaceChildren(
    make("thead", {}, make("tr", {}, ...head.map((one) => make("th", { scope: "col" }, one)))),
    make("tbody", {}, ...rows),
  );
  const lines = taken.map(({ name, duration, probabilities, error }) =>
    line([name, error ? "" : round(duration)], probabilities, error),
  );
  link(find("#results .save"), csv(["id", "duration"], lines));
  results.hidden = taken.length < 2;
}

function show(result) {
  const { name, file, windows, probabilities, duration } = result;
  const play = (second) => {
    player.currentTime = second;
    player.play().catch(() => {}); // paused before it began
  };
  draw(result, bars(result, say("probabilities", { time: clock(duration) }), duration > whole));
  find(".figure").append(windowTable(result, play));
  find(".lane").onclick = ({ clientX, currentTarget }) => {
    const { left, width } = currentTarget.getBoundingClientRect();
    play((duration * (clientX - left)) / width);
  };
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
  player.ontimeupdate = () => {
    const head = find(".head");
    head.hidden = false;
    head.style.left = `${(100 * player.currentTime) / duration}%`;
  };
  const lines = windows.map(({ start, end, probabilities: own }) =>
    line([name, round(start), round(end)], own, ""),
  );
  const timeline = make("a", { className: "save", download: `${name}.csv` }, say("saveTimeline"));
  link(timeline, csv(["id", "start", "end"], lines));
  const kept = make("a", { className: "save", download: name, href: player.src }, say("saveRecording"));
  find("#links").replaceChildren(timeline, " ", ...(file.own ? [kept] : []));
}

function draw(result, answer) {
  shown.hidden = false;
  find("#name").textContent = result.name;
  find(".answer").replaceChildren(...answer);
  find(".figure").replaceChildren(figure(result));
}

// Tables as `dusha predict` writes them.
const round = (value) => String(Math.round(1000 * value) / 1000);
const quote = (value) => (/[",\n\r]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);

function line(first, probabilities, error) {
  const values = probabilities
    ? [best(probabilities), ...probabilities.map((value) => value.toFixed(6))]
    : ["", ...labels.map(() => "")];
  return [...first, ...values, error].map(quote).join(",");
}

function csv(columns, lines) {
  const head = [...columns, "prediction", ...labels.map((one) => `probability_${one}`), "error"];
  return [head.map(quote).join(","), ...lines, ""].join("\n");
}

function link(element, text) {
  URL.revokeObjectURL(element.href);
  element.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
}

async function start() {
  problems.replaceChildren();
  const result = { name: say("microphone"), windows: [], peaks: [], duration: 0 };
  const opening = new Microphone();
  try {
    if (!navigator.mediaDevices) throw new Error(say("insecure"));
    await opening.open((block) => result.peaks.push(Math.max(...block.map(Math.abs))));
  } catch (error) {
    refuse(say("noMicrophone", { reason: error.message || error.name }));
    return;
  }
  microphone = opening;
  button.textContent = say("stop");
  player.pause();
  player.hidden = true;
  find("#links").replaceChildren();
  shown.hidden = true;
  while (microphone && microphone.seconds < LONGEST) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    if (microphone) await listen(microphone, result);
  }
  if (microphone) await stop();
}

// Classify the newest window of the microphone, if it is complete.
async function listen(source, result) {
  result.duration = source.seconds;
  state.textContent = say("listening", { time: clock(source.seconds) });
  const { window, hop } = live;
  const next = result.windows.length ? result.windows.at(-1).start + hop : 0;
  if (source.seconds < next + window) return;
  // A slow machine leaves windows out, and does not lag behind.
  const from = Math.max(next, hop * Math.floor((source.seconds - window) / hop));
  const samples = source.samples(from, from + window);
  const probabilities = await classify(await resample(samples, source.rate));
  result.windows.push({ start: from, end: from + window, probabilities });
  if (microphone) draw(result, bars({ probabilities }, say("now", { seconds: number(window, 0) })));
}

// What was heard becomes a file like any other.
async function stop() {
  const source = microphone;
  microphone = null;
  await source.close();
  button.textContent = say("record");
  const samples = source.samples();
  const when = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  const file = new File([encode(samples, source.rate)], `${say("microphone")} ${when}.wav`);
  take([Object.assign(file, { own: true })]);
}

function followColours() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => document.documentElement.classList.toggle("dark", dark.matches);
  dark.addEventListener("change", follow);
  follow();
}

function begin() {
  translate();
  followColours();
  find("#limits").textContent = say("limits", { model: title });
  state.textContent = idle;
  const choose = find("#files");
  choose.onchange = () => {
    take(choose.files);
    choose.value = ""; // so that the same file can be chosen again
  };
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files.length) take(event.dataTransfer.files);
  });
  button.onclick = () => (microphone ? stop() : start());
  opened.then(
    () => {
      button.disabled = false;
      become("ready");
      keep();
    },
    (error) => {
      idle = "";
      state.textContent = "";
      refuse(say("noModel", { reason: error.message }));
    },
  );
}

function become(key) {
  if (state.textContent === idle) state.textContent = say(key);
  idle = say(key);
  document.body.dataset.state = key;
}

// Browsers keep pages of https:// and of this machine only.
async function keep() {
  if (!navigator.serviceWorker) return;
  await navigator.serviceWorker.register("service_worker.js");
  await navigator.serviceWorker.ready;
  become("offline");
}

begin();
