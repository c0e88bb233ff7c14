// Recordings as samples: of files, and of the microphone.
function mix(channels) {
  if (channels.length === 1) return channels[0];
  const mono = new Float32Array(channels[0].length);
  for (const channel of channels) {
    for (let i = 0; i < mono.length; i++) mono[i] += channel[i] / channels.length;
  }
  return mono;
}

// How a sample of so many bytes is read, of integers (1) and of floating point (3).
const READERS = {
  1: {
    1: (view, at) => (view.getUint8(at) - 128) / 2 ** 7,
    2: (view, at) => view.getInt16(at, true) / 2 ** 15,
    3: (view, at) => (view.getInt16(at + 1, true) * 256 + view.getUint8(at)) / 2 ** 23,
    4: (view, at) => view.getInt32(at, true) / 2 ** 31,
  },
  3: {
    4: (view, at) => view.getFloat32(at, true),
    8: (view, at) => view.getFloat64(at, true),
  },
};
const textAt = (view, at) =>
  String.fromCharCode(...[0, 1, 2, 3].map((i) => (at + i < view.byteLength ? view.getUint8(at + i) : 0)));

// A plain wav, sample by sample, because browsers scale them in ways of their own; null of all else.
function readWav(view) {
  if (textAt(view, 0) !== "RIFF" || textAt(view, 8) !== "WAVE") return null;
  let form = null;
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const [name, size] = [textAt(view, at), view.getUint32(at + 4, true)];
    const body = at + 8;
    if (name === "fmt " && body + 16 <= view.byteLength) {
      let kind = view.getUint16(body, true);
      if (kind === 0xfffe && size >= 26) kind = view.getUint16(body + 24, true);
      const [channels, bits] = [view.getUint16(body + 2, true), view.getUint16(body + 14, true)];
      const read = READERS[kind]?.[bits / 8];
      form = read && channels && { read, channels, width: bits / 8, rate: view.getUint32(body + 4, true) };
      if (!form) return null;
    } else if (name === "data" && form) {
      // The size in the header of a recording that was cut off is not true.
      const bytes = Math.min(size, view.byteLength - body);
      const count = Math.floor(bytes / (form.channels * form.width));
      const channels = Array.from({ length: form.channels }, () => new Float32Array(count));
      channels.forEach((samples, channel) => {
        // A plain loop: an hour has 58 million samples.
        for (let i = 0; i < count; i++) {
          samples[i] = form.read(view, body + (i * form.channels + channel) * form.width);
        }
      });
      return { samples: mix(channels), rate: form.rate };
    }
    at = body + size + (size % 2);
  }
  return null;
}

// The rate that a FLAC or Ogg file states; elsewhere one that loses nothing of speech.
function rateOf(view) {
  const name = textAt(view, 0);
  if (name === "fLaC" && view.byteLength > 21) return view.getUint32(17) >>> 4 & 0xfffff;
  if (name === "OggS" && view.byteLength > 44 && textAt(view, 29) === "vorb") {
    return view.getUint32(40, true);
  }
  return 48000;
}

// The samples of a file's bytes, its channels mixed, and their rate in Hz.
export async function decode(bytes) {
  const view = new DataView(bytes);
  const wav = readWav(view);
  if (wav) return wav;
  const context = new OfflineAudioContext(1, 1, rateOf(view));
  const audio = await context.decodeAudioData(bytes);
  const channels = Array.from({ length: audio.numberOfChannels }, (_, i) => audio.getChannelData(i));
  return { samples: mix(channels), rate: audio.sampleRate };
}

// A wav of 16 bits.
export function encode(samples, rate) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (place, word) => [...word].forEach((c, i) => view.setUint8(place + i, c.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  for (let i = 0; i < samples.length; i++) {
    const value = Math.max(-32768, Math.min(32767, Math.round(samples[i] * 32768)));
    view.setInt16(44 + 2 * i, value, true);
  }
  return new Blob([view], { type: "audio/wav" });
}

// What the microphone hears, at the rate of the machine; `heard` is told of each new block.
export class Microphone {
  blocks = [];
  size = 0;

  async open(heard) {
    // The telephone's corrections would take away what the emotion is heard by.
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    this.context = new AudioContext();
    this.rate = this.context.sampleRate;
    await this.context.resume();
    await this.context.audioWorklet.addModule("capture.js");
    const capture = new AudioWorkletNode(this.context, "capture");
    capture.port.onmessage = ({ data }) => {
      this.blocks.push(data);
      this.size += data.length;
      heard(data);
    };
    this.context.createMediaStreamSource(this.stream).connect(capture);
  }

  get seconds() {
    return this.size / this.rate;
  }

  // The samples between two times in seconds.
  samples(from = 0, to = Infinity) {
    const first = Math.round(from * this.rate);
    const end = Math.min(this.size, Math.round(to * this.rate));
    const taken = new Float32Array(Math.max(0, end - first));
    let place = 0;
    for (const block of this.blocks) {
      const part = block.subarray(Math.max(0, first - place), Math.max(0, end - place));
      if (part.length) taken.set(part, Math.max(place, first) - first);
      place += block.length;
    }
    return taken;
  }

  close() {
    this.stream.getTracks().forEach((track) => track.stop());
    return this.context.close();
  }
}
