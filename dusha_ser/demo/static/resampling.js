// Another sampling rate, by a sinc filter under a Kaiser window, as the feature extractor does it:
// what browsers use lets through too little below half of the new rate for the model.
const CROSSINGS = 64;
const BETA = 14.77;
const ROLLOFF = 0.95;

// The modified Bessel function of order 0.
function bessel(x) {
  let [sum, term] = [1, 1];
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

const divisor = (a, b) => (b ? divisor(b, a % b) : a);

// (samples,) at one rate in Hz as (ceil(samples * to / from),) at another.
export function resample(samples, from, to) {
  if (from === to) return samples;
  const common = divisor(from, to);
  const [step, places] = [from / common, to / common];
  const cutoff = ROLLOFF * Math.min(1, to / from);
  const reach = Math.ceil(CROSSINGS / cutoff);
  // The weights of old samples depend on the place of a new one between two of them.
  const filters = [];
  const filterOf = (place) => {
    const offset = ((place * step) % places) / places;
    return Float64Array.from({ length: 2 * reach + 1 }, (_, i) => {
      const distance = i - reach - offset;
      const angle = Math.PI * cutoff * distance;
      const window = bessel(BETA * Math.sqrt(Math.max(0, 1 - (distance / (reach + 1)) ** 2)));
      return (cutoff * (angle ? Math.sin(angle) / angle : 1) * window) / bessel(BETA);
    });
  };
  const made = new Float32Array(Math.ceil((samples.length * to) / from));
  for (let n = 0; n < made.length; n++) {
    const filter = (filters[n % places] ??= filterOf(n % places));
    const first = Math.floor((n * step) / places) - reach;
    const end = Math.min(filter.length, samples.length - first);
    let sum = 0;
    for (let i = Math.max(0, -first); i < end; i++) sum += filter[i] * samples[first + i];
    made[n] = sum;
  }
  return made;
}
