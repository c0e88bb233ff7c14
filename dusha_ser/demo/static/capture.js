// Hands on what comes from the microphone, its channels mixed, in blocks of about 40 ms.
class Capture extends AudioWorkletProcessor {
  held = new Float32Array(2048);
  size = 0;

  process([channels]) {
    for (let i = 0; channels.length && i < channels[0].length; i++) {
      this.held[this.size++] = channels.reduce((sum, one) => sum + one[i], 0) / channels.length;
      if (this.size === this.held.length) {
        this.port.postMessage(this.held.slice());
        this.size = 0;
      }
    }
    return true;
  }
}
registerProcessor("capture", Capture);
