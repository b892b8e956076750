/**
 * @param {Float32Array} samples in [-1, 1]
 * @returns {Int16Array}
 */
export function toInt16(samples: Float32Array): Int16Array;
/**
 * The mean of all channels.
 * @param {Float32Array[]} channels
 * @returns {Float32Array}
 */
export function toMono(channels: Float32Array[]): Float32Array;
/**
 * Changes the sample rate of a stream, block by block, without a seam between blocks.
 *
 * A polyphase low-pass: what lies above the target's Nyquist frequency is removed, not folded
 * into the speech band.
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
    /** Input that later output still needs; begins with the silence before the stream. */
    kept: Float32Array<ArrayBuffer>;
    next: number;
    /**
     * @param {Float32Array} input
     * @returns {Float32Array} as much output as the input so far allows
     */
    process(input: Float32Array): Float32Array;
    /** @returns {Float32Array} what was held back for samples that will not come */
    flush(): Float32Array;
    /** @param {Float32Array} samples */
    filter(samples: Float32Array): Float32Array<ArrayBuffer>;
}
