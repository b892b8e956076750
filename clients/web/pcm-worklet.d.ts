/**
 * @param {Float32Array} samples in [-1, 1]
 * @returns {Int16Array}
 */
export function toInt16(samples: Float32Array): Int16Array;
/**
 * Return the mean of all channels.
 * @param {Float32Array[]} channels
 * @returns {Float32Array}
 */
export function toMono(channels: Float32Array[]): Float32Array;
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
    constructor(from: number, to: number);
    up: number;
    down: number;
    half: number;
    phases: Float32Array<ArrayBuffer>[];
    /** Input that later output needs; starts with the silence before the stream. */
    history: Float32Array<ArrayBuffer>;
    next: number;
    /**
     * @param {Float32Array} input
     * @returns {Float32Array} the output for which all input is there
     */
    process(input: Float32Array): Float32Array;
    /** @returns {Float32Array} the last output, with silence after the stream */
    flush(): Float32Array;
    /** @param {Float32Array} samples */
    filter(samples: Float32Array): Float32Array<ArrayBuffer>;
}
