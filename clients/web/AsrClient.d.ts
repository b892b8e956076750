/**
 * Return the WebSocket address: http becomes ws, a host or a folder gets the protocol's path.
 * A folder ends in a slash, as in `https://example.com/asr/`.
 * @param {string} url
 */
export function websocketUrl(url: string): string;
/**
 * Return the sentence of a result, or null for a heartbeat; Gummy names it `transcription`.
 * @param {any} output @param {number} index @param {number} shiftMs
 * @returns {Sentence | null}
 */
export function readSentence(output: any, index: number, shiftMs?: number): Sentence | null;
/**
 * Return the format of a file by its magic number; 'pcm' if unknown.
 * @param {Uint8Array} bytes
 */
export function formatOf(bytes: Uint8Array): string;
/** @param {Int16Array} pcm @returns {{rmsDb: number, peakDb: number}} relative to full scale */
export function levelOf(pcm: Int16Array): {
    rmsDb: number;
    peakDb: number;
};
/**
 * Return subtitles of at most `maxChars`, split between words, preferably after punctuation.
 * @param {Sentence[]} sentences
 * @param {number} [maxChars]
 * @returns {Caption[]}
 */
export function captions(sentences: Sentence[], maxChars?: number): Caption[];
/** @param {Sentence[]} sentences @returns {string} one sentence a line */
export function toTxt(sentences: Sentence[]): string;
/** @param {Sentence[]} sentences @param {number} [maxChars] @returns {string} SubRip subtitles */
export function toSrt(sentences: Sentence[], maxChars?: number): string;
/** @param {Sentence[]} sentences @param {number} [maxChars] @returns {string} WebVTT subtitles */
export function toVtt(sentences: Sentence[], maxChars?: number): string;
export const VERSION: "0.1.0";
export const DEFAULT_MODEL: "paraformer-realtime-v2";
export const PATH: "/api-ws/v1/inference";
/**
 * @typedef {object} Word
 * @property {number} beginMs
 * @property {number} endMs
 * @property {string} text
 * @property {string} punctuation what follows the word, or ''
 * @property {number | null} confidence 0 to 1, where the request asked for it
 */
/**
 * An interim sentence is replaced by the next one with the same index, never appended to.
 * @typedef {object} Sentence
 * @property {number} index counts from 0 over the whole stream, also across reconnections
 * @property {number} beginMs
 * @property {number | null} endMs null while the sentence is open
 * @property {string} text
 * @property {Word[]} words
 * @property {boolean} isFinal
 * @property {number | null} confidence
 */
/**
 * The detail of each event.
 * @typedef {object} EventMap
 * @property {{taskId: string, resumed: number}} started
 * @property {Sentence} interim
 * @property {Sentence} final
 * @property {{sentences: Sentence[], durationMs: number}} finished
 * @property {AsrError} failed
 * @property {{rmsDb: number, peakDb: number}} level
 * @property {{attempt: number, delayMs: number, error: AsrError}} reconnecting
 * @property {{pcm: Int16Array, sampleRate: number, beginMs: number}} audio as it is recognised
 * @property {{direction: 'in' | 'out', data: string | Uint8Array}} wire every message, for debugging
 */
/**
 * @typedef {'permission-denied' | 'no-microphone' | 'unsupported' | 'server-away' | 'busy' |
 *   'unauthorized' | 'task-failed' | 'bad-audio' | 'closed'} ErrorCode
 */
/**
 * @typedef {object} Options
 * @property {string} [url] of the server; a host or folder/ gets the protocol's path. A page's default: its folder.
 * @property {string} [apiKey] sent as a header by Node, as `?api_key=` by browsers
 * @property {string} [model]
 * @property {Record<string, unknown>} [parameters] of the task, under their protocol names
 * @property {any} [WebSocket] the class to use; needed before Node 22
 * @property {string | URL} [workletUrl] of pcm-worklet.js, unless it is beside this file
 * @property {MediaTrackConstraints} [microphone] e.g. `{deviceId}`
 * @property {Partial<Retry>} [retry]
 * @property {number} [openTimeoutMs] for the connection, and again for the task to start
 */
/**
 * @typedef {object} Retry
 * @property {number} attempts in a row without a result, once the stream has started
 * @property {number} initialAttempts before it has started; 0 reports an unreachable server at once
 * @property {number} firstDelayMs doubles with each attempt, half of it random
 * @property {number} maxDelayMs
 */
/**
 * @typedef {'microphone' | MediaStream | HTMLMediaElement | Blob | ArrayBuffer | ArrayBufferView |
 *   Iterable<Chunk> | AsyncIterable<Chunk>} Source
 */
/** @typedef {ArrayBuffer | ArrayBufferView} Chunk 16-bit PCM; a Float32Array holds -1 to 1 */
/**
 * @typedef {object} StartOptions
 * @property {number} [pace] 1 sends in real time; as fast as the server reads if absent
 * @property {string} [format] of pushed or iterated audio: 'pcm' if absent
 * @property {number} [sampleRate] of pushed or iterated PCM in Hz: 16000 if absent
 */
/** An error that ended a stream or kept it from starting. */
export class AsrError extends Error {
    /**
     * @param {ErrorCode} code
     * @param {string} message
     * @param {{serverCode?: string, retryable?: boolean, cause?: unknown}} [more]
     */
    constructor(code: ErrorCode, message: string, { serverCode, retryable, cause }?: {
        serverCode?: string;
        retryable?: boolean;
        cause?: unknown;
    });
    code: ErrorCode;
    /** The server's own error code, if it gave one. */
    serverCode: string;
    retryable: boolean;
    /** Whether the task ended only because no audio or no speech came. */
    isIdleTimeout: boolean;
}
/** A recogniser: one stream at a time, on a connection that is kept for the next one. */
export class AsrClient {
    /** @param {Options} [options] */
    constructor(options?: Options);
    url: string;
    model: string;
    parameters: Record<string, unknown>;
    microphone: MediaTrackConstraints;
    apiKey: string;
    /** @type {Retry} */
    retry: Retry;
    openTimeoutMs: number;
    workletUrl: string | URL;
    WebSocket: any;
    /** 'idle' before start() and after the end. */
    get state(): "starting" | "listening" | "stopping" | "idle";
    /**
     * @template {keyof EventMap} Name
     * @param {Name} name
     * @param {(detail: EventMap[Name]) => void} listener
     * @returns {() => void} removes the listener
     */
    on<Name extends keyof EventMap>(name: Name, listener: (detail: EventMap[Name]) => void): () => void;
    /**
     * Start to recognise a source; without one, push() the audio.
     * Resolves when the server has accepted the task.
     * @param {Source | null} [source]
     * @param {StartOptions} [options]
     */
    start(source?: Source | null, options?: StartOptions): Promise<void>;
    /**
     * Add audio of any length; resolves at once unless a minute of audio is unsent.
     * @param {Chunk} chunk
     */
    push(chunk: Chunk): Promise<void>;
    /** Close the open sentence now, as when a push-to-talk key is released; more may follow. */
    flush(): void;
    /**
     * End the audio. Resolves with all sentences after the last final, also if it is over already.
     * @returns {Promise<Sentence[]>}
     */
    stop(): Promise<Sentence[]>;
    /**
     * Resolves with all sentences when the source has ended and all its audio is recognised.
     * @returns {Promise<Sentence[]>}
     */
    done(): Promise<Sentence[]>;
    /** Stop at once and drop the open sentence. */
    cancel(): void;
    /** cancel(), and close the connection. */
    close(): void;
    /**
     * Yield the final sentences of the stream, from the first one on.
     * @returns {AsyncGenerator<Sentence, void, void>}
     */
    sentences(): AsyncGenerator<Sentence, void, void>;
    /**
     * start(), the sentences, and the end in one: `for await (const s of asr.transcribe(file)) ...`
     * @param {Source} source
     * @param {StartOptions} [options]
     * @returns {AsyncGenerator<Sentence, void, void>}
     */
    transcribe(source: Source, options?: StartOptions): AsyncGenerator<Sentence, void, void>;
    /**
     * Return the idle connection, or open one.
     * @internal
     * @returns {Promise<{connection: Connection, isFresh: boolean}>}
     */
    acquireConnection(): Promise<{
        connection: Connection;
        isFresh: boolean;
    }>;
    /** @internal @param {Connection} connection whose task has finished */
    reuseConnection(connection: Connection): void;
    #private;
}
export { Resampler };
export type Audio = {
    chunks: AsyncIterable<Chunk> | Iterable<Chunk>;
    format: string;
    sampleRate: number;
    isLive: boolean;
    /**
     * resolves when the last sample is among the chunks
     */
    stop: () => void | Promise<void>;
};
export type Word = {
    beginMs: number;
    endMs: number;
    text: string;
    /**
     * what follows the word, or ''
     */
    punctuation: string;
    /**
     * 0 to 1, where the request asked for it
     */
    confidence: number | null;
};
/**
 * An interim sentence is replaced by the next one with the same index, never appended to.
 */
export type Sentence = {
    /**
     * counts from 0 over the whole stream, also across reconnections
     */
    index: number;
    beginMs: number;
    /**
     * null while the sentence is open
     */
    endMs: number | null;
    text: string;
    words: Word[];
    isFinal: boolean;
    confidence: number | null;
};
/**
 * The detail of each event.
 */
export type EventMap = {
    started: {
        taskId: string;
        resumed: number;
    };
    interim: Sentence;
    final: Sentence;
    finished: {
        sentences: Sentence[];
        durationMs: number;
    };
    failed: AsrError;
    level: {
        rmsDb: number;
        peakDb: number;
    };
    reconnecting: {
        attempt: number;
        delayMs: number;
        error: AsrError;
    };
    /**
     * as it is recognised
     */
    audio: {
        pcm: Int16Array;
        sampleRate: number;
        beginMs: number;
    };
    /**
     * every message, for debugging
     */
    wire: {
        direction: "in" | "out";
        data: string | Uint8Array;
    };
};
export type ErrorCode = "permission-denied" | "no-microphone" | "unsupported" | "server-away" | "busy" | "unauthorized" | "task-failed" | "bad-audio" | "closed";
export type Options = {
    /**
     * of the server; a host or folder/ gets the protocol's path. A page's default: its folder.
     */
    url?: string | undefined;
    /**
     * sent as a header by Node, as `?api_key=` by browsers
     */
    apiKey?: string | undefined;
    model?: string | undefined;
    /**
     * of the task, under their protocol names
     */
    parameters?: Record<string, unknown> | undefined;
    /**
     * the class to use; needed before Node 22
     */
    WebSocket?: any;
    /**
     * of pcm-worklet.js, unless it is beside this file
     */
    workletUrl?: string | URL | undefined;
    /**
     * e.g. `{deviceId}`
     */
    microphone?: MediaTrackConstraints | undefined;
    retry?: Partial<Retry> | undefined;
    /**
     * for the connection, and again for the task to start
     */
    openTimeoutMs?: number | undefined;
};
export type Retry = {
    /**
     * in a row without a result, once the stream has started
     */
    attempts: number;
    /**
     * before it has started; 0 reports an unreachable server at once
     */
    initialAttempts: number;
    /**
     * doubles with each attempt, half of it random
     */
    firstDelayMs: number;
    maxDelayMs: number;
};
export type Source = "microphone" | MediaStream | HTMLMediaElement | Blob | ArrayBuffer | ArrayBufferView | Iterable<Chunk> | AsyncIterable<Chunk>;
/**
 * 16-bit PCM; a Float32Array holds -1 to 1
 */
export type Chunk = ArrayBuffer | ArrayBufferView;
export type StartOptions = {
    /**
     * 1 sends in real time; as fast as the server reads if absent
     */
    pace?: number | undefined;
    /**
     * of pushed or iterated audio: 'pcm' if absent
     */
    format?: string | undefined;
    /**
     * of pushed or iterated PCM in Hz: 16000 if absent
     */
    sampleRate?: number | undefined;
};
export type Caption = {
    beginMs: number;
    endMs: number;
    text: string;
};
/** A WebSocket whose messages are read from a queue. */
declare class Connection {
    /**
     * @param {AsrClient} client
     * @param {(message: EventMap['wire']) => void} log
     * @returns {Promise<Connection>}
     */
    static open(client: AsrClient, log: (message: EventMap["wire"]) => void): Promise<Connection>;
    /** @param {AsrClient} client @param {(message: EventMap['wire']) => void} log */
    constructor(client: AsrClient, log: (message: EventMap["wire"]) => void);
    log: (message: EventMap["wire"]) => void;
    closed: AbortController;
    address: string;
    socket: any;
    get isOpen(): boolean;
    /** @param {string | Uint8Array} data */
    send(data: string | Uint8Array): void;
    /** Resolves when the socket has sent most of its buffer. */
    drain(): Promise<void>;
    /**
     * Return the next message of the server.
     * @param {() => number} [timeoutMs] evaluated again after each second without a message
     * @returns {Promise<any>}
     */
    next(timeoutMs?: () => number): Promise<any>;
    close(): void;
    #private;
}
import { Resampler } from './pcm-worklet.js';
