// What the page says, in the first language of the browser's that it knows.
const TEXTS = {
  en: {
    title: "Emotion in speech",
    about:
      "Choose recordings or speak: the model says which emotion a listener would hear. It runs in " +
      "this browser, and no audio leaves this machine.",
    choose: "Choose audio files, or drop them here",
    record: "Record",
    stop: "Stop",
    results: "Results",
    windows: "Windows",
    file: "file",
    length: "length",
    emotion: "emotion",
    window: "window",
    saveResults: "Save as CSV",
    saveTimeline: "Save the timeline as CSV",
    saveRecording: "Save the recording",
    loading: "Loading the model.",
    ready: "Ready.",
    offline: "Ready. This page now also opens without a network.",
    listening: "Listening: {time}.",
    working: "{name}: {share}.",
    probabilities: "The whole recording ({time})",
    now: "Now: the last {seconds} s",
    shares: "Share of the time:",
    table: "The windows as a table ({count})",
    waveform: "Waveform of {time}. Share of the time: {shares}.",
    span: "{start} to {end} s",
    play: "Play from {start} s",
    microphone: "microphone",
    notAudio:
      "{name} is not an audio file that this browser can read; choose WAV, FLAC, MP3, OGG or M4A.",
    failed: "{name} could not be classified ({reason}); reload the page and try again.",
    noModel: "The model could not be loaded ({reason}); reload the page.",
    noMicrophone: "The microphone cannot be used ({reason}); allow it for this page, or choose a file.",
    insecure: "browsers give it only to https:// pages and to 127.0.0.1",
    limits:
      "The model predicts what listeners from one crowd would most likely hear in such speech. That " +
      "is not what somebody feels, and not fit to decide anything about a person. Model: {model}.",
  },
  ru: {
    title: "Эмоции в речи",
    about:
      "Выберите записи или говорите: модель скажет, какую эмоцию услышал бы слушатель. Она работает " +
      "в этом браузере, звук не покидает ваше устройство.",
    choose: "Выберите аудиофайлы или перетащите их сюда",
    record: "Записать",
    stop: "Стоп",
    results: "Результаты",
    windows: "Окна",
    file: "файл",
    length: "длина",
    emotion: "эмоция",
    window: "окно",
    saveResults: "Сохранить как CSV",
    saveTimeline: "Сохранить шкалу времени как CSV",
    saveRecording: "Сохранить запись",
    loading: "Модель загружается.",
    ready: "Готово.",
    offline: "Готово. Теперь страница открывается и без сети.",
    listening: "Идёт запись: {time}.",
    working: "{name}: {share}.",
    probabilities: "Вся запись ({time})",
    now: "Сейчас: последние {seconds} с",
    shares: "Доля времени:",
    table: "Окна таблицей ({count})",
    waveform: "Осциллограмма, {time}. Доля времени: {shares}.",
    span: "{start}–{end} с",
    play: "Слушать с {start} с",
    microphone: "микрофон",
    notAudio:
      "{name} не читается этим браузером как звук; выберите WAV, FLAC, MP3, OGG или M4A.",
    failed: "Не удалось обработать {name} ({reason}); обновите страницу и попробуйте снова.",
    noModel: "Не удалось загрузить модель ({reason}); обновите страницу.",
    noMicrophone: "Микрофон недоступен ({reason}); разрешите его для страницы или выберите файл.",
    insecure: "браузеры дают его только страницам https:// и 127.0.0.1",
    limits:
      "Модель предсказывает, что скорее всего услышали бы в такой речи слушатели одной группы. Это " +
      "не то, что человек чувствует, и решать что-либо о человеке по этому нельзя. Модель: {model}.",
  },
};
const known = navigator.languages.map((one) => one.slice(0, 2)).find((one) => one in TEXTS);
export const language = known || "en";

// A text with its {values}.
export function say(key, values = {}) {
  return TEXTS[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

// Put the texts where the page names them.
export function translate() {
  document.documentElement.lang = language;
  document.title = say("title");
  for (const one of document.querySelectorAll("[data-text]")) one.textContent = say(one.dataset.text);
  for (const one of document.querySelectorAll("[data-label]")) {
    one.setAttribute("aria-label", say(one.dataset.label));
  }
}

// A number with so many digits, as the language writes it.
export function number(value, digits = 1) {
  const both = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return value.toLocaleString(language, both);
}

export function percent(fraction, digits = 1) {
  return `${number(100 * fraction, digits)}${language === "ru" ? "\u00a0" : ""}%`;
}

// Seconds as people write them: 1:15, 1:01:15.
export function clock(seconds) {
  const [whole, two] = [Math.floor(seconds), (value) => String(value).padStart(2, "0")];
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  const rest = two(whole % 60);
  return hours ? `${hours}:${two(minutes)}:${rest}` : `${minutes}:${rest}`;
}
