// @ts-check
/**
 * Converts any number of channels at any sample rate to frames of mono 16-bit PCM.
 *
 * Runs as an AudioWorklet; as a module it exports the stateful resampler.
 */

const ZERO_CROSSINGS = 32; // of the sinc on either side: -90 dB beyond the transition band
const KAISER_BETA = 9;
const PASS = 0.95; // of the lower Nyquist frequency; the transition ends just above it

/**
 * Converts the sample rate of a stream block by block, continuous across blocks.
 *
 * A polyphase low-pass filter removes frequencies above the target's Nyquist frequency, which
 * would alias into the speech band.
 */
export class Resampler {
  /**
   * @param {number} from rate of the input in Hz
   * @param {number} to rate of the output in Hz
   */
  constructor(from, to) {
    const divisor = gcd(from, to);
    this.up = to / divisor;
    this.down = from / divisor;
    this.half = Math.ceil(ZERO_CROSSINGS * Math.max(1, from / to));
    this.phases = this.up === this.down ? [] : lowPass(this.up, this.half, from, to);
    /** Input that later output needs; starts with the silence before the stream. */
    this.history = new Float32Array(this.half);
    this.next = this.half * this.up; // position of the next output, in 1/up input samples
  }

  /**
   * @param {Float32Array} input
   * @returns {Float32Array} the output for which all input is there
   */
  process(input) {
    if (this.up === this.down) return input.slice();
    const samples = new Float32Array(this.history.length + input.length);
    samples.set(this.history);
    samples.set(input, this.history.length);
    const output = this.filter(samples);
    const done = Math.max(0, Math.floor(this.next / this.up) - this.half);
    this.history = samples.slice(done);
    this.next -= done * this.up;
    return output;
  }

  /** @returns {Float32Array} the last output, with silence after the stream */
  flush() {
    return this.up === this.down ? new Float32Array(0) : this.process(new Float32Array(this.half));
  }

  /** @param {Float32Array} samples */
  filter(samples) {
    const { up, down, half } = this;
    const last = (samples.length - half) * up; // the first position without enough input after it
    const count = Math.max(0, Math.ceil((last - this.next) / down));
    const output = new Float32Array(count);
    for (let n = 0; n < count; n += 1, this.next += down) {
      const start = Math.floor(this.next / up) - half + 1;
      const taps = this.phases[this.next % up];
      let sum = 0;
      for (let k = 0; k < taps.length; k += 1) sum += samples[start + k] * taps[k];
      output[n] = sum;
    }
    return output;
  }
}

/**
 * Return one row of taps for each phase, an output's fraction of an input sample.
 * @param {number} up @param {number} half @param {number} from @param {number} to
 */
function lowPass(up, half, from, to) {
  const cutoff = PASS * Math.min(1, to / from); // of the input's Nyquist frequency
  return Array.from({ length: up }, (_, phase) => {
    const taps = new Float32Array(2 * half);
    let sum = 0;
    for (let k = 0; k < taps.length; k += 1) {
      const t = k - half + 1 - phase / up; // distance from the output in input samples
      taps[k] = sinc(cutoff * t) * kaiser(t / half);
      sum += taps[k];
    }
    return taps.map((tap) => tap / sum); // every phase passes a constant unchanged
  });
}

/** @param {number} x */
function sinc(x) {
  return x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x);
}

/** @param {number} x position in the window, -1 to 1 */
function kaiser(x) {
  return Math.abs(x) > 1 ? 0 : bessel(KAISER_BETA * Math.sqrt(1 - x * x)) / bessel(KAISER_BETA);
}

/** @param {number} x */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > sum * 1e-9; k += 1) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/** @param {number} a @param {number} b @returns {number} */
function gcd(a, b) {
  return b === 0 ? a : gcd(b, a % b);
}

/**
 * @param {Float32Array} samples in [-1, 1]
 * @returns {Int16Array}
 */
export function toInt16(samples) {
  return Int16Array.from(samples, (x) => Math.max(-32768, Math.min(32767, Math.round(x * 32768))));
}

/**
 * Return the mean of all channels.
 * @param {Float32Array[]} channels
 * @returns {Float32Array}
 */
export function toMono(channels) {
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    return sum / channels.length;
  });
}

/** Cuts samples into frames of one length. */
class Framer {
  /** @param {number} size @param {(frame: Int16Array) => void} emit */
  constructor(size, emit) {
    this.frame = new Int16Array(size);
    this.filled = 0;
    this.emit = emit;
  }

  /** @param {Int16Array} samples */
  push(samples) {
    for (let at = 0; at < samples.length;) {
      const part = samples.subarray(at, at + this.frame.length - this.filled);
      this.frame.set(part, this.filled);
      this.filled += part.length;
      at += part.length;
      if (this.filled === this.frame.length) this.flush();
    }
  }

  flush() {
    if (this.filled > 0) this.emit(this.frame.slice(0, this.filled));
    this.filled = 0;
  }
}

// Only an AudioWorklet has these globals; no type library declares them.
const scope = /** @type {any} */ (globalThis);

if (typeof scope.registerProcessor === 'function') {
  class PcmProcessor extends scope.AudioWorkletProcessor {
    /** @param {{processorOptions: {sampleRate: number, frameSamples: number}}} options */
    constructor({ processorOptions }) {
      super();
      this.ended = false;
      this.resampler = new Resampler(scope.sampleRate, processorOptions.sampleRate);
      this.framer = new Framer(processorOptions.frameSamples, (frame) =>
        this.port.postMessage(frame, [frame.buffer]),
      );
      this.port.onmessage = () => this.end();
    }

    /** @param {Float32Array[][]} inputs */
    process([channels]) {
      if (!this.ended && channels && channels.length > 0) {
        this.framer.push(toInt16(this.resampler.process(toMono(channels))));
      }
      return !this.ended;
    }

    end() {
      if (this.ended) return;
      this.ended = true;
      this.framer.push(toInt16(this.resampler.flush()));
      this.framer.flush();
      this.port.postMessage(null);
    }
  }
  scope.registerProcessor('pcm', PcmProcessor);
}
