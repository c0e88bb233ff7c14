// Runs in the page, for the element with the button: sends what the microphone hears piece by
// piece, the next one only once the page has the answer to the one before. So nothing is lost when
// the server is slow: its pieces only grow longer. TEXTS holds what it says, by language; CAPTURE is
// the code that hands blocks of samples on.
const say = TEXTS[navigator.language.startsWith("ru") ? "ru" : "en"];
const INTERVAL = 500; // milliseconds between pieces
const PATIENCE = 60000; // milliseconds to wait for an answer
const button = element.querySelector("button");
const status = element.querySelector("[role=status]");
let context = null, stream = null, timer = null, impatience = null;
let blocks = [], isFirst = true, isEnding = false, isWaiting = false;

function show(text, said) {
  button.textContent = text;
  status.textContent = said || "";
}

async function start() {
  if (!navigator.mediaDevices) {
    show(say.start, say.insecure);
    return;
  }
  try {
    // The telephone's corrections would take away what the emotion is heard by.
    stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
  } catch (error) {
    show(say.start, `${say.refused}${error.message || error.name}.`);
    return;
  }
  context = new AudioContext();
  await context.resume();
  const address = URL.createObjectURL(new Blob([CAPTURE], { type: "text/javascript" }));
  await context.audioWorklet.addModule(address);
  URL.revokeObjectURL(address);
  const capture = new AudioWorkletNode(context, "capture");
  capture.port.onmessage = (message) => blocks.push(message.data);
  context.createMediaStreamSource(stream).connect(capture);
  [blocks, isFirst, isEnding, isWaiting] = [[], true, false, false];
  timer = setInterval(send, INTERVAL);
  show(say.stop, say.listening);
}

function stop(said) {
  clearInterval(timer);
  stream.getTracks().forEach((track) => track.stop());
  context.close();
  context = null;
  isEnding = true;
  show(say.start, said);
}

function encode(parts) {
  const samples = new Int16Array(parts.reduce((size, one) => size + one.length, 0));
  let place = 0;
  for (const part of parts) {
    for (const value of part) {
      samples[place++] = Math.max(-32768, Math.min(32767, Math.round(value * 32768)));
    }
  }
  const bytes = new Uint8Array(samples.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 8192) {
    text += String.fromCharCode(...bytes.subarray(i, i + 8192));
  }
  return btoa(text);
}

let rate = 0;
function send() {
  if (context) rate = context.sampleRate;
  if (isWaiting || !(blocks.length || isEnding)) return;
  const piece = { first: isFirst, last: isEnding, rate, samples: encode(blocks) };
  [blocks, isFirst, isWaiting] = [[], false, true];
  if (isEnding) isEnding = false;
  impatience = setTimeout(() => {
    if (context) stop(say.late);
    isEnding = isWaiting = false;
  }, PATIENCE);
  trigger("piece", piece);
}

watch("value", () => {
  clearTimeout(impatience);
  isWaiting = false;
  // The server has enough, or has no room: it says so.
  const said = props.value.slice(props.value.indexOf(":") + 1);
  if (said !== props.value && context) {
    stop(said);
    isEnding = false;
  }
  if (isEnding) send();
});

button.addEventListener("click", async () => {
  button.disabled = true;
  if (context) {
    stop();
    send();
  } else {
    await start();
  }
  button.disabled = false;
});

show(say.start);
