// A result as elements of the page: its probabilities as bars, its waveform coloured by emotion, its
// windows as a table. The demo's style sheet gives labels their colours: emotion-0, emotion-1, ...
import { best, labels, names } from "./model.js";
import { clock, language, number, percent, say } from "./texts.js";

const COLUMNS = 600; // lines of a drawing, at most
const STEP = 0.02; // seconds between peaks
const RANGE = 50; // decibels below the loudest peak that are drawn
const QUIETEST = 0.02; // the loudest peak of a recording that is drawn to the full height
const TICKS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];
const MOST_TICKS = 9;

// An element: properties by name, attributes where the name has a hyphen or the element is SVG's.
export function make(tag, properties = {}, ...children) {
  const isDrawn = ["svg", "path"].includes(tag);
  const space = `http://www.w3.org/${isDrawn ? "2000/svg" : "1999/xhtml"}`;
  const element = document.createElementNS(space, tag);
  for (const [name, value] of Object.entries(properties)) {
    if (isDrawn || name.includes("-") || name === "role") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children);
  return element;
}

export const nameOf = (label) => (language === "ru" && names[label]) || label;
const chip = (label) => make("i", { className: `chip emotion-${labels.indexOf(label)}` });
const emotion = (place) => `emotion-${place < 0 ? "none" : place}`;

// The loudest sample of each 20 ms.
export function peaksOf(samples, rate) {
  const size = Math.round(STEP * rate);
  const peaks = new Float32Array(Math.ceil(samples.length / size));
  for (let i = 0; i < samples.length; i++) {
    const place = Math.floor(i / size);
    peaks[place] = Math.max(peaks[place], Math.abs(samples[i]));
  }
  return peaks;
}

// The label, by number, of the mean of the windows over a time, as `dusha predict --merge` has it; -1
// where there is none.
function emotionAt(time, windows) {
  const over = windows.filter(({ start, end }) => start <= time && time < end);
  const sums = labels.map((_, i) => over.reduce((sum, one) => sum + one.probabilities[i], 0));
  return over.length ? labels.indexOf(best(sums)) : -1;
}

// What there is to draw: for each column its height, 0 to 1, and its label by number.
function columnsOf({ peaks, windows, duration }) {
  const group = Math.max(1, Math.ceil(peaks.length / COLUMNS));
  const count = Math.ceil(peaks.length / group);
  const loud = Array.from({ length: count }, (_, i) =>
    Math.max(...peaks.slice(i * group, (i + 1) * group)),
  );
  const full = Math.max(QUIETEST, ...loud);
  return loud.map((peak, i) => ({
    height: Math.max(0, 1 + (20 * Math.log10(peak / full)) / RANGE),
    label: emotionAt(((i + 0.5) * duration) / count, windows),
  }));
}

// The labels that are heard, each with its share of the time, the most frequent first.
export function sharesOf(result) {
  const columns = columnsOf(result);
  return labels
    .map((label, i) => ({
      label,
      share: columns.filter((one) => one.label === i).length / columns.length,
    }))
    .filter(({ share }) => share)
    .sort((one, other) => other.share - one.share);
}

// The prediction as a headline, and the probabilities as bars. Of several windows the headline says
// the share of time of each emotion, where `isLong`.
export function bars(result, caption, isLong) {
  const { probabilities } = result;
  const shares = isLong ? sharesOf(result) : [{ label: best(probabilities) }];
  const told = shares.flatMap(({ label, share }) => [
    make(
      "span",
      { className: "share" },
      chip(label),
      nameOf(label) + (isLong ? ` ${percent(share, 0)}` : ""),
    ),
  ]);
  const rows = labels.map((label, i) => {
    const bar = make("i", { className: emotion(i) });
    bar.style.width = `${100 * probabilities[i]}%`;
    return make(
      "tr",
      { "data-label": label, "data-probability": probabilities[i].toFixed(6) },
      make("th", { scope: "row" }, nameOf(label)),
      make("td", { className: "bar", "aria-hidden": "true" }, bar),
      make("td", {}, percent(probabilities[i])),
    );
  });
  const headline = make("h2", { "data-prediction": best(probabilities) }, ...told);
  const table = make("table", {}, make("caption", {}, caption), make("tbody", {}, ...rows));
  return [make("div", { role: "status" }, headline), table];
}

// The recording over time.
export function figure(result) {
  const columns = columnsOf(result);
  const width = Math.max(1, columns.length);
  const paths = new Map();
  const spans = [];
  columns.forEach(({ height, label }, i) => {
    const line = `M${i + 0.5} ${(50 - 48 * height).toFixed(1)}v${Math.max(1, 96 * height).toFixed(1)}`;
    paths.set(label, (paths.get(label) || "") + line);
    if (!spans.length || spans.at(-1).label !== label) spans.push({ label, first: i, size: 0 });
    spans.at(-1).size += 1;
  });
  const shares = sharesOf(result)
    .map(({ label, share }) => `${nameOf(label)} ${percent(share, 0)}`)
    .join(", ");
  const drawing = make(
    "svg",
    {
      role: "img",
      viewBox: `0 0 ${width} 100`,
      preserveAspectRatio: "none",
      "aria-label": say("waveform", { time: clock(result.duration), shares }),
    },
    ...[...paths].map(([label, d]) => make("path", { class: emotion(label), d })),
  );
  const head = make("div", { className: "head", hidden: true });
  const lane = make("div", { className: "lane" }, drawing, head);
  const band = make("div", { className: "band", "aria-hidden": "true" });
  for (const { label, first, size } of spans) {
    const name = label < 0 ? "" : nameOf(labels[label]);
    const part = make("span", { className: emotion(label) }, make("b", {}, name));
    part.style.left = `${(100 * first) / width}%`;
    part.style.width = `${(100 * size) / width}%`;
    band.append(part);
  }
  const axis = make("div", { className: "axis", "aria-hidden": "true" });
  const step = TICKS.find((one) => result.duration / one <= MOST_TICKS) || TICKS.at(-1);
  // The last tick leaves room for its own text.
  for (let second = 0; second < 0.92 * result.duration; second += step) {
    const tick = make("span", {}, clock(second));
    tick.style.left = `${(100 * second) / result.duration}%`;
    axis.append(tick);
  }
  const legend = sharesOf(result).map(({ label, share }) =>
    make("span", { className: "key" }, chip(label), `${nameOf(label)} ${percent(share, 0)}`),
  );
  const caption = make("figcaption", {}, make("span", {}, say("shares")), ...legend);
  return make("figure", { className: "timeline" }, lane, band, axis, caption);
}

// The windows as a table that opens; `play` is told the start of the one that is chosen.
export function windowTable({ windows }, play) {
  const head = [say("window"), say("emotion"), ...labels.map(nameOf)];
  const rows = windows.map(({ start, end, probabilities }) => {
    const [from, to] = [number(start), number(end)];
    const button = make(
      "button",
      { type: "button", className: "link", title: say("play", { start: from }) },
      say("span", { start: from, end: to }),
    );
    button.onclick = () => play(start);
    return make(
      "tr",
      { "data-label": best(probabilities), "data-start": start, "data-end": end },
      make("th", { scope: "row" }, button),
      make("td", {}, nameOf(best(probabilities))),
      ...probabilities.map((value) =>
        make("td", { "data-probability": value.toFixed(6) }, percent(value)),
      ),
    );
  });
  const table = make(
    "table",
    {},
    make("thead", {}, make("tr", {}, ...head.map((one) => make("th", { scope: "col" }, one)))),
    make("tbody", {}, ...rows),
  );
  const scroll = make(
    "div",
    { className: "scroll", role: "region", tabIndex: 0, "aria-label": say("windows") },
    table,
  );
  const summary = make("summary", {}, say("table", { count: windows.length }));
  return make("details", { className: "timeline" }, summary, scroll);
}
