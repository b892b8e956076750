// @ts-check
/**
 * Real-time speech recognition over DashScope's WebSocket protocol, for browsers and Node.
 *
 *     const asr = new AsrClient({ url: 'ws://127.0.0.1:8000' });
 *     asr.on('interim', (sentence) => show(sentence.text));
 *     asr.on('final', (sentence) => keep(sentence.text));
 *     await asr.start('microphone');
 *     const sentences = await asr.stop();   // after the last final
 *
 * Audio is buffered until a final sentence covers it, so a lost connection costs time and no text:
 * the client reconnects, resends audio that is not final yet, and shifts the times of the new task.
 * All times are integer milliseconds from the first sample of the stream.
 * The library does not use the DOM.
 */

import { Resampler, toInt16, toMono } from './pcm-worklet.js';

export const VERSION = '0.1.0';
export const DEFAULT_MODEL = 'paraformer-realtime-v2';
export const PATH = '/api-ws/v1/inference';

const RATE = 16000;
const FRAME_MS = 100;
const ENCODED_FRAME = 4096; // bytes of a compressed file in one message
const MAX_UNSENT_MS = 60_000; // push() waits above this; a minute bridges a server's restart
const MAX_BUFFERED_MS = 600_000; // audio to resend; only silence or a very late server reaches it
const MAX_BUFFERED_ENCODED = 64 << 20; // bytes; a longer compressed stream cannot be resumed
const MAX_SOCKET_BYTES = 256 << 10; // handed to the socket but not sent yet
const STABLE_TASK_MS = 10_000; // a task that ran this long resets the count of failed attempts
const FINISH_TIMEOUT_MS = 60_000; // without any answer to finish-task
const SEND_TIMEOUT_MS = 60_000; // without a byte leaving the socket: the network is down
const ONE_SENTENCE = /^gummy-chat/; // models whose task ignores audio after its first final
const NO_AUDIO = 'NO_VALID_AUDIO_ERROR'; // the code of a task that ended without a sample
const RETRYABLE_CODES = /^(InternalError|SystemError|ServiceUnavailable|GatewayTimeout)/;
const IDLE_TIMEOUT = /request timeout|response timeout/i;

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
  constructor(code, message, { serverCode = '', retryable = false, cause } = {}) {
    super(message, { cause });
    this.name = 'AsrError';
    this.code = code;
    /** The server's own error code, if it gave one. */
    this.serverCode = serverCode;
    this.retryable = retryable;
    /** Whether the task ended only because no audio or no speech came. */
    this.isIdleTimeout = code === 'task-failed' && IDLE_TIMEOUT.test(message);
  }
}

// ---------------------------------------------------------------------------------------- client

/** A recogniser: one stream at a time, on a connection that is kept for the next one. */
export class AsrClient {
  /** @type {Map<string, Set<(detail: any) => void>>} */
  #listeners = new Map();
  /** @type {Stream | null} */
  #stream = null;
  /** @type {Connection | null} */
  #idle = null;

  /** @param {Options} [options] */
  constructor(options = {}) {
    this.url = websocketUrl(options.url ?? defaultUrl());
    this.model = options.model ?? DEFAULT_MODEL;
    this.parameters = options.parameters ?? {};
    this.microphone = options.microphone ?? {};
    this.apiKey = options.apiKey ?? '';
    /** @type {Retry} */
    this.retry = {
      attempts: 8,
      initialAttempts: 0,
      firstDelayMs: 250,
      maxDelayMs: 8000,
      ...options.retry,
    };
    this.openTimeoutMs = options.openTimeoutMs ?? 10_000;
    this.workletUrl = options.workletUrl ?? new URL('./pcm-worklet.js', import.meta.url);
    this.WebSocket = options.WebSocket ?? globalThis.WebSocket;
  }

  /** 'idle' before start() and after the end. */
  get state() {
    return this.#stream ? this.#stream.state : 'idle';
  }

  /**
   * @template {keyof EventMap} Name
   * @param {Name} name
   * @param {(detail: EventMap[Name]) => void} listener
   * @returns {() => void} removes the listener
   */
  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(listener));
    return () => void listeners.delete(listener);
  }

  /**
   * Start to recognise a source; without one, push() the audio.
   * Resolves when the server has accepted the task.
   * @param {Source | null} [source]
   * @param {StartOptions} [options]
   */
  async start(source = null, options = {}) {
    await this.#start(source, options);
  }

  /** @param {Source | null} source @param {StartOptions} options @returns {Promise<Stream>} */
  async #start(source, options) {
    if (this.state !== 'idle') throw new AsrError('closed', 'stop() the running stream first');
    const stream = new Stream(this, (name, detail) => this.#emit(name, detail));
    this.#stream = stream;
    try {
      const audio = source === null ? null : await openSource(source, options, this);
      stream.begin(audio, options);
      await stream.started;
      return stream;
    } catch (error) {
      stream.fail(asError(error));
      throw error;
    }
  }

  /**
   * Add audio of any length; resolves at once unless a minute of audio is unsent.
   * @param {Chunk} chunk
   */
  push(chunk) {
    return this.#running().push(chunk);
  }

  /** Close the open sentence now, as when a push-to-talk key is released; more may follow. */
  flush() {
    this.#running().flush();
  }

  /**
   * End the audio. Resolves with all sentences after the last final, also if it is over already.
   * @returns {Promise<Sentence[]>}
   */
  async stop() {
    const stream = this.#begun();
    await stream.endInput();
    return stream.finished;
  }

  /**
   * Resolves with all sentences when the source has ended and all its audio is recognised.
   * @returns {Promise<Sentence[]>}
   */
  done() {
    return this.#begun().finished;
  }

  /** Stop at once and drop the open sentence. */
  cancel() {
    this.#stream?.fail(new AsrError('closed', 'cancelled'), false);
    this.#stream = null;
  }

  /** cancel(), and close the connection. */
  close() {
    this.cancel();
    this.#idle?.close();
    this.#idle = null;
  }

  /**
   * Yield the final sentences of the stream, from the first one on.
   * @returns {AsyncGenerator<Sentence, void, void>}
   */
  sentences() {
    return this.#begun().sentences();
  }

  /**
   * start(), the sentences, and the end in one: `for await (const s of asr.transcribe(file)) ...`
   * @param {Source} source
   * @param {StartOptions} [options]
   * @returns {AsyncGenerator<Sentence, void, void>}
   */
  async *transcribe(source, options = {}) {
    const stream = await this.#start(source, options);
    try {
      yield* stream.sentences();
    } finally {
      if (this.#stream === stream && !stream.isOver) this.cancel();
    }
  }

  /**
   * Return the idle connection, or open one.
   * @internal
   * @returns {Promise<{connection: Connection, isFresh: boolean}>}
   */
  async acquireConnection() {
    const idle = this.#idle;
    this.#idle = null;
    if (idle?.isOpen) return { connection: idle, isFresh: false };
    idle?.close();
    return { connection: await Connection.open(this, (m) => this.#emit('wire', m)), isFresh: true };
  }

  /** @internal @param {Connection} connection whose task has finished */
  reuseConnection(connection) {
    this.#idle?.close();
    this.#idle = connection;
  }

  /** Return the running stream, or the last one. */
  #begun() {
    if (!this.#stream) throw new AsrError('closed', 'start() first');
    return this.#stream;
  }

  #running() {
    const stream = this.#begun();
    if (stream.isOver) throw stream.error ?? new AsrError('closed', 'the stream has ended');
    return stream;
  }

  /**
   * @template {keyof EventMap} Name
   * @param {Name} name @param {EventMap[Name]} detail
   */
  #emit(name, detail) {
    for (const listener of this.#listeners.get(name) ?? []) {
      try {
        listener(detail);
      } catch (error) {
        // An error in a listener must not end the recognition, nor be swallowed.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

function defaultUrl() {
  const page = globalThis.location;
  return page?.protocol.startsWith('http') ? new URL('.', page.href).href : 'ws://127.0.0.1:8000';
}

/**
 * Return the WebSocket address: http becomes ws, a host or a folder gets the protocol's path.
 * A folder ends in a slash, as in `https://example.com/asr/`.
 * @param {string} url
 */
export function websocketUrl(url) {
  const full = new URL(url.includes('://') ? url : `ws://${url}`);
  full.protocol = full.protocol.replace('http', 'ws');
  const path = full.pathname;
  if (path.endsWith('/') && !path.endsWith(`${PATH}/`)) full.pathname = path.slice(0, -1) + PATH;
  return full.href;
}

// ------------------------------------------------------------------------------------ connection

/** A condition variable: notify() resolves every wait(); the caller then checks its predicate. */
class Condition {
  /** @type {(() => void)[]} */
  #waiters = [];

  wait() {
    return new Promise((/** @type {(value?: undefined) => void} */ resolve) => {
      this.#waiters.push(resolve);
    });
  }

  notify() {
    const waiters = this.#waiters;
    this.#waiters = [];
    for (const resolve of waiters) resolve();
  }
}

/** A WebSocket whose messages are read from a queue. */
class Connection {
  /** @type {object[]} */
  #received = [];
  #changed = new Condition();
  /** @type {AsrError | null} */
  #error = null;

  /**
   * @param {AsrClient} client
   * @param {(message: EventMap['wire']) => void} log
   * @returns {Promise<Connection>}
   */
  static async open(client, log) {
    const connection = new Connection(client, log);
    await connection.#waitUntilOpen(client.openTimeoutMs);
    return connection;
  }

  /** @param {AsrClient} client @param {(message: EventMap['wire']) => void} log */
  constructor(client, log) {
    this.log = log;
    this.closed = new AbortController();
    this.address = withoutQuery(client.url);
    this.socket = openSocket(client);
    this.socket.binaryType = 'arraybuffer';
    this.socket.onmessage = (/** @type {MessageEvent} */ event) => this.#receive(event.data);
    this.socket.onerror = (/** @type {any} */ event) => this.#fail(event.message ?? '');
    this.socket.onclose = (/** @type {CloseEvent} */ event) =>
      this.#fail(`closed with code ${event.code}${event.reason ? `: ${event.reason}` : ''}`);
    this.socket.onopen = () => this.#changed.notify();
    // A socket reports a lost network after minutes; the browser's event comes at once.
    const { signal } = this.closed;
    globalThis.addEventListener?.('offline', () => this.#fail('no network'), { signal });
  }

  get isOpen() {
    return this.socket.readyState === 1 && !this.#error;
  }

  /** @param {string | Uint8Array} data */
  send(data) {
    if (!this.isOpen) throw this.#error ?? new AsrError('server-away', 'not connected');
    this.socket.send(data);
    this.log({ direction: 'out', data });
  }

  /** Resolves when the socket has sent most of its buffer. */
  async drain() {
    let least = Infinity;
    let progressAt = Date.now();
    while (this.isOpen && this.socket.bufferedAmount > MAX_SOCKET_BYTES) {
      if (this.socket.bufferedAmount < least) progressAt = Date.now();
      least = Math.min(least, this.socket.bufferedAmount);
      if (Date.now() - progressAt > SEND_TIMEOUT_MS) this.#fail('nothing can be sent');
      if (this.#error) throw this.#error;
      await sleep(20);
    }
  }

  /**
   * Return the next message of the server.
   * @param {() => number} [timeoutMs] evaluated again after each second without a message
   * @returns {Promise<any>}
   */
  async next(timeoutMs = () => Infinity) {
    let waitedMs = 0;
    while (this.#received.length === 0) {
      if (this.#error) throw this.#error;
      if (waitedMs >= timeoutMs()) throw unreachable(`${this.address} does not answer`);
      const begun = Date.now();
      await withTimeout(this.#changed.wait(), 1000);
      waitedMs += Date.now() - begun;
    }
    return this.#received.shift();
  }

  close() {
    this.socket.close(1000);
  }

  /** @param {number} timeoutMs */
  async #waitUntilOpen(timeoutMs) {
    const deadline = Date.now() + timeoutMs;
    while (!this.isOpen && !this.#error && Date.now() < deadline) {
      await withTimeout(this.#changed.wait(), deadline - Date.now());
    }
    if (this.isOpen) return;
    this.close();
    throw this.#error ?? unreachable(`cannot reach ${this.address}: no answer in time`);
  }

  /** @param {unknown} data */
  #receive(data) {
    if (typeof data !== 'string') return;
    this.log({ direction: 'in', data });
    try {
      this.#received.push(JSON.parse(data));
    } catch {
      return; // not a message of this protocol
    }
    this.#changed.notify();
  }

  /** @param {string} reason */
  #fail(reason) {
    this.#error ??= connectionError(this.address, reason);
    this.closed.abort();
    this.#changed.notify();
  }
}

/** @param {AsrClient} client */
function openSocket(client) {
  if (!client.WebSocket) {
    throw new AsrError('unsupported', 'pass a WebSocket class: new AsrClient({ WebSocket })');
  }
  if (!client.apiKey) return new client.WebSocket(client.url);
  if (typeof window === 'undefined') {
    const headers = { Authorization: `Bearer ${client.apiKey}` };
    return new client.WebSocket(client.url, { headers });
  }
  const url = new URL(client.url); // a page cannot set headers
  url.searchParams.set('api_key', client.apiKey);
  return new client.WebSocket(url.href);
}

/** @param {string} address @param {string} reason empty where the platform gives none */
function connectionError(address, reason) {
  const status = Number(/response: (\d{3})/.exec(reason)?.[1] ?? 0);
  const hasPath = /\/api-ws\/v1\/inference\/?$/.test(address);
  if (status === 401 || (status === 403 && hasPath)) {
    const serverCode = 'InvalidApiKey';
    return new AsrError('unauthorized', `${address} refused the API key`, { serverCode });
  }
  if (status === 429 || status === 503) {
    return new AsrError('busy', `${address} is busy (HTTP ${status})`, { retryable: true });
  }
  if (status >= 400 && status < 500) {
    const message = `${address} is no address of a server: it should end in ${PATH} (HTTP ${status})`;
    return new AsrError('server-away', message);
  }
  // A browser does not report the status.
  const hint = hasPath ? '' : `; the address should end in ${PATH}`;
  return unreachable(`cannot reach ${address}${reason ? `: ${reason}` : ''}${hint}`);
}

/** @param {string} message */
function unreachable(message) {
  return new AsrError('server-away', message, { retryable: true });
}

/** @param {{error_code?: string, error_message?: string}} header */
function taskError({ error_code: serverCode = '', error_message: text = 'the task failed' }) {
  const message = serverCode && serverCode !== text ? `${serverCode}: ${text}` : text;
  if (serverCode.startsWith('Throttling')) {
    return new AsrError('busy', message, { serverCode, retryable: true });
  }
  if (serverCode === 'InvalidApiKey') return new AsrError('unauthorized', message, { serverCode });
  const retryable = RETRYABLE_CODES.test(serverCode) || IDLE_TIMEOUT.test(message);
  return new AsrError('task-failed', message, { serverCode, retryable });
}

/** @param {string} url */
function withoutQuery(url) {
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}

// ---------------------------------------------------------------------------------------- stream

/** Buffered audio from the last final on, addressed by byte position in the stream. */
class ResendBuffer {
  base = 0;
  end = 0;
  /** @type {{at: number, bytes: Uint8Array}[]} */
  #blocks = [];

  /** @param {Uint8Array} bytes */
  append(bytes) {
    this.#blocks.push({ at: this.end, bytes });
    this.end += bytes.length;
  }

  /** @param {number} position @param {number} size @returns {Uint8Array} */
  read(position, size) {
    const copy = new Uint8Array(Math.min(size, this.end - position));
    for (const { at, bytes } of this.#blocks) {
      if (at >= position + copy.length) break;
      const from = Math.max(0, position - at);
      const part = bytes.subarray(from, Math.max(from, position + copy.length - at));
      if (part.length > 0) copy.set(part, at + from - position);
    }
    return copy;
  }

  /** @param {number} position */
  dropBefore(position) {
    this.base = Math.max(this.base, Math.min(position, this.end));
    const first = this.#blocks.findIndex(({ at, bytes }) => at + bytes.length > this.base);
    this.#blocks.splice(0, first < 0 ? this.#blocks.length : first);
  }
}

/** One stream: runs task after task until all its audio is recognised. */
class Stream {
  /** @type {'starting' | 'listening' | 'stopping' | 'idle'} */
  state = 'starting';
  /** @type {Sentence[]} */
  #finals = [];
  #buffer = new ResendBuffer();
  // Positions in the buffer: the running task began, has audio up to, is to finish at.
  #taskBase = 0;
  #sent = 0;
  #flushAt = 0;
  #ended = false;
  #sentenceOpen = false;
  #finalMs = 0; // the end of the last final
  #tasksStarted = 0;
  #hasResult = false; // of the running task
  #taskFinals = 0;
  #inputChanged = new Condition(); // audio, a flush or the end was added
  #audioSent = new Condition(); // or the stream is over
  #finalAdded = new Condition();
  /** @type {AsrError | null} */
  error = null;
  /** @type {Connection | null} */
  #connection = null;
  /** @type {Audio | null} */
  #source = null;
  #isPcm = true;
  #isOneSentence = false;
  #bytesPerMs = (RATE * 2) / 1000;
  #sampleRate = RATE;
  #format = 'pcm';
  #frame = 0;

  /**
   * @param {AsrClient} client
   * @param {<Name extends keyof EventMap>(name: Name, detail: EventMap[Name]) => void} emit
   */
  constructor(client, emit) {
    this.client = client;
    this.emit = emit;
    this.started = new Promise((/** @type {(v?: undefined) => void} */ resolve, reject) => {
      this.resolveStarted = resolve;
      this.rejectStarted = reject;
    });
    /** @type {Promise<Sentence[]>} */
    this.finished = new Promise((resolve, reject) => {
      this.resolveFinished = resolve;
      this.rejectFinished = reject;
    });
    // Without a caller that awaits them, the 'failed' event reports the error.
    this.started.catch(() => {});
    this.finished.catch(() => {});
  }

  get isOver() {
    return this.state === 'idle';
  }

  /** @param {Audio | null} audio @param {StartOptions} options */
  begin(audio, options) {
    this.#source = audio;
    this.#format = audio?.format ?? options.format ?? 'pcm';
    this.#sampleRate = audio?.sampleRate ?? options.sampleRate ?? RATE;
    this.#isPcm = this.#format === 'pcm';
    this.#bytesPerMs = (this.#sampleRate * 2) / 1000;
    this.#isOneSentence = this.#isPcm && ONE_SENTENCE.test(this.client.model);
    this.#frame = this.#isPcm ? even(this.#bytesPerMs * FRAME_MS) : ENCODED_FRAME;
    const isCancelled = this.error !== null;
    if (isCancelled || this.#ended) audio?.stop(); // while the source was being opened
    if (isCancelled) return;
    this.#run();
    if (audio) this.#readSource(audio, options.pace);
  }

  /** @param {Chunk} chunk */
  async push(chunk) {
    if (this.#ended || this.isOver) {
      throw this.error ?? new AsrError('closed', 'the stream has ended');
    }
    const bytes = toBytes(chunk, this.#isPcm);
    if (this.#isPcm && bytes.length > 1) this.#emitAudio(bytes);
    this.#buffer.append(bytes);
    const maxSize = this.#isPcm ? MAX_BUFFERED_MS * this.#bytesPerMs : MAX_BUFFERED_ENCODED;
    this.#buffer.dropBefore(even(Math.min(this.#sent, this.#buffer.end - maxSize)));
    this.#inputChanged.notify();
    while (!this.isOver && this.#unsentMs() > MAX_UNSENT_MS) await this.#audioSent.wait();
  }

  flush() {
    if (!this.#isPcm) throw new AsrError('bad-audio', `only PCM can be flushed`);
    this.#flushAt = this.#buffer.end;
    this.#inputChanged.notify();
  }

  async endInput() {
    if (this.isOver) return;
    this.state = 'stopping';
    await this.#source?.stop();
    this.#ended = true;
    this.#inputChanged.notify();
  }

  /** @param {AsrError} error @param {boolean} [emitEvent] */
  fail(error, emitEvent = true) {
    if (this.isOver) return;
    this.state = 'idle';
    this.error = error;
    this.#connection?.close();
    Promise.resolve(this.#source?.stop()).catch(() => {});
    this.rejectStarted?.(error);
    this.rejectFinished?.(error);
    this.#buffer.dropBefore(Infinity);
    for (const each of [this.#inputChanged, this.#audioSent, this.#finalAdded]) each.notify();
    if (emitEvent) this.emit('failed', error);
  }

  /** @returns {AsyncGenerator<Sentence, void, void>} */
  async *sentences() {
    for (let at = 0; ;) {
      for (; at < this.#finals.length; at += 1) {
        if (this.#finals[at].text) yield this.#finals[at];
      }
      if (this.isOver) break;
      await this.#finalAdded.wait();
    }
    if (this.error && this.error.message !== 'cancelled') throw this.error;
  }

  // tasks

  async #run() {
    try {
      await this.#runTasks();
      this.#finish();
    } catch (error) {
      this.fail(asError(error));
    }
  }

  #finish() {
    if (this.isOver) return;
    this.state = 'idle';
    const sentences = this.#finals.filter(({ text }) => text);
    const durationMs = this.#isPcm ? Math.round(this.#buffer.end / this.#bytesPerMs) : 0;
    for (const each of [this.#audioSent, this.#finalAdded]) each.notify();
    this.emit('finished', { sentences, durationMs });
    this.resolveStarted?.(); // a stream without audio needs no task
    this.resolveFinished?.(sentences);
  }

  async #runTasks() {
    let failures = 0;
    while (!this.isOver && !this.#isAllSent) {
      this.#hasResult = false;
      const begun = Date.now();
      try {
        await this.#runTask();
      } catch (thrown) {
        const error = asError(thrown);
        const isEmpty = this.#isAllSent && this.#sent === this.#taskBase;
        if (isEmpty && error.serverCode === NO_AUDIO) return;
        if (this.#hasResult || Date.now() - begun > STABLE_TASK_MS) failures = 0;
        this.#checkRetry(error, failures);
        await this.#recover(error, failures);
        failures += 1;
        continue;
      }
      failures = 0;
      this.#buffer.dropBefore(this.#sent);
      await this.#waitForAudio();
    }
  }

  get #isAllSent() {
    return this.#ended && this.#sent >= this.#buffer.end;
  }

  /** @param {AsrError} error @param {number} failures */
  #checkRetry(error, failures) {
    const { attempts, initialAttempts } = this.client.retry;
    const allowed = this.#tasksStarted > 0 ? attempts : initialAttempts;
    // A compressed stream cannot be decoded without its header.
    const canResume = this.#isPcm || this.#buffer.base === 0;
    if (this.isOver || !error.retryable || failures >= allowed || !canResume) throw error;
  }

  /** @param {AsrError} error @param {number} failures */
  async #recover(error, failures) {
    if (error.isIdleTimeout && this.#isPcm) {
      if (this.#sentenceOpen) {
        this.#flushAt = this.#buffer.end; // finish the open sentence
        this.#sent = this.#buffer.base;
      } else await this.#waitAfterSilence();
      return;
    }
    const { firstDelayMs, maxDelayMs } = this.client.retry;
    const delayMs = Math.min(maxDelayMs, firstDelayMs * 2 ** failures) * (0.5 + Math.random() / 2);
    this.#sent = this.#buffer.base;
    this.emit('reconnecting', { attempt: failures + 1, delayMs, error });
    await sleep(delayMs);
  }

  /** After a timeout on silence: drop the silence, and start a task when more audio comes. */
  async #waitAfterSilence() {
    this.#buffer.dropBefore(even(this.#sent - 1000 * this.#bytesPerMs));
    await this.#waitForAudio();
  }

  async #runTask() {
    let { connection, isFresh } = await this.client.acquireConnection();
    if (this.#isAllSent) {
      this.client.reuseConnection(connection); // the input ended meanwhile, without audio
      return;
    }
    const taskId = newId();
    this.#taskBase = this.#sent = this.#buffer.base;
    this.#taskFinals = 0;
    const shiftMs = this.#isPcm ? Math.round(this.#buffer.base / this.#bytesPerMs) : 0;
    this.#connection = connection;
    const task = { isOver: false };
    this.finishSent = false;
    try {
      try {
        await this.#startTask(connection, taskId);
      } catch (error) {
        // The server may have closed the idle connection just now.
        if (isFresh || asError(error).code !== 'server-away') throw error;
        connection = this.#connection = (await this.client.acquireConnection()).connection;
        await this.#startTask(connection, taskId);
      }
      this.#send(connection, taskId, task).catch(() => connection.close());
      await this.#receive(connection, shiftMs, task);
    } catch (error) {
      connection.close();
      throw error;
    } finally {
      task.isOver = true;
      this.#connection = null;
      this.#inputChanged.notify();
    }
    if (this.#isPcm && this.#taskFinals > 0 && (this.#isOneSentence || !this.finishSent)) {
      this.#sent = this.#buffer.base; // the server ignored what came after its last final
    }
    this.client.reuseConnection(connection);
  }

  /** @param {Connection} connection @param {string} taskId */
  async #startTask(connection, taskId) {
    const { parameters, model, openTimeoutMs } = this.client;
    const payload = {
      task_group: 'audio',
      task: 'asr',
      function: 'recognition',
      model,
      parameters: {
        heartbeat: true, // no timeout during minutes of silence
        ...parameters,
        format: this.#format,
        sample_rate: this.#sampleRate,
      },
      input: {},
    };
    if (this.isOver) throw this.error;
    connection.send(command('run-task', taskId, payload));
    const { header = {} } = await connection.next(() => openTimeoutMs);
    if (header.event === 'task-failed') throw taskError(header);
    if (this.state === 'starting') this.state = 'listening';
    this.emit('started', { taskId, resumed: this.#tasksStarted });
    this.#tasksStarted += 1;
    this.resolveStarted?.();
  }

  /**
   * Send frames until the end or a flush, then finish-task.
   * @param {Connection} connection @param {string} taskId @param {{isOver: boolean}} task
   */
  async #send(connection, taskId, task) {
    while (!this.#atBoundary()) {
      const frame = this.#nextFrame();
      if (frame.length > 0) {
        connection.send(frame);
        this.#sent += frame.length;
        this.#audioSent.notify();
        await connection.drain();
      } else {
        await this.#inputChanged.wait();
      }
      if (task.isOver || this.isOver) return;
    }
    connection.send(command('finish-task', taskId, { input: {} }));
    this.finishSent = true;
  }

  #atBoundary() {
    const isFlushed = this.#taskBase < this.#flushAt && this.#flushAt <= this.#sent;
    const isComplete = this.#isOneSentence && this.#taskFinals > 0;
    return this.#isAllSent || isFlushed || isComplete;
  }

  /** Return a whole frame, or the rest before a boundary. */
  #nextFrame() {
    const flushes = this.#flushAt > this.#sent;
    const boundary = flushes ? this.#flushAt : this.#buffer.end;
    const size = Math.min(this.#frame, boundary - this.#sent);
    const isComplete = size === this.#frame || this.#ended || flushes;
    return this.#buffer.read(this.#sent, isComplete ? size : 0);
  }

  /** @param {Connection} connection @param {number} shiftMs @param {{isOver: boolean}} task */
  async #receive(connection, shiftMs, task) {
    while (!task.isOver) {
      const message = await connection.next(() => (this.finishSent ? FINISH_TIMEOUT_MS : Infinity));
      const { header = {}, payload } = message;
      if (this.isOver) throw this.error;
      if (header.event === 'task-finished') return;
      if (header.event === 'task-failed') throw taskError(header);
      if (header.event !== 'result-generated') continue;
      const sentence = readSentence(payload?.output, this.#finals.length, shiftMs);
      if (sentence) this.#addResult(sentence);
    }
  }

  /** @param {Sentence} sentence */
  #addResult(sentence) {
    this.#hasResult = true;
    // A compressed file is resent from its start: skip sentences that are final already.
    if (!this.#isPcm && sentence.beginMs < this.#finalMs) return;
    this.#sentenceOpen = !sentence.isFinal;
    if (!sentence.isFinal) {
      this.emit('interim', sentence);
      return;
    }
    this.#finals.push(sentence);
    this.#taskFinals += 1;
    this.#inputChanged.notify();
    this.#finalMs = Math.max(this.#finalMs, sentence.endMs ?? 0);
    if (this.#isPcm) {
      const end = this.#finalMs * this.#bytesPerMs;
      this.#buffer.dropBefore(even(Math.min(this.#sent, end)));
    }
    this.#finalAdded.notify();
    this.emit('final', sentence);
  }

  // audio

  async #waitForAudio() {
    while (this.#buffer.end <= this.#sent && !this.#ended && !this.isOver) {
      await this.#inputChanged.wait();
    }
  }

  #unsentMs() {
    return (this.#buffer.end - this.#sent) / this.#bytesPerMs;
  }

  /** @param {Uint8Array} bytes */
  #emitAudio(bytes) {
    const pcm = new Int16Array(bytes.buffer, bytes.byteOffset, bytes.length >> 1);
    const beginMs = Math.round(this.#buffer.end / this.#bytesPerMs);
    this.emit('audio', { pcm, sampleRate: this.#sampleRate, beginMs });
    this.emit('level', levelOf(pcm));
  }

  /** @param {Audio} audio @param {number} [pace] */
  async #readSource(audio, pace) {
    try {
      for await (const chunk of paced(audio, this.#frame, pace)) {
        if (this.#ended || this.isOver) return;
        await this.push(chunk);
      }
      await this.endInput();
    } catch (error) {
      this.fail(asError(error));
    }
  }
}

/** @param {string} action @param {string} taskId @param {object} payload */
function command(action, taskId, payload) {
  return JSON.stringify({ header: { action, task_id: taskId, streaming: 'duplex' }, payload });
}

function newId() {
  // crypto.randomUUID exists only in secure contexts, not in a page over plain http.
  const bytes = globalThis.crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/**
 * Return the sentence of a result, or null for a heartbeat; Gummy names it `transcription`.
 * @param {any} output @param {number} index @param {number} shiftMs
 * @returns {Sentence | null}
 */
export function readSentence(output, index, shiftMs = 0) {
  const raw = output?.sentence ?? output?.transcription;
  if (!raw || raw.heartbeat) return null;
  const end = raw.end_time ?? null;
  const isFinal = raw.sentence_end === true || (raw.sentence_end === undefined && end !== null);
  const beginMs = shiftMs + (raw.begin_time ?? 0);
  const words = (raw.words ?? []).map((/** @type {any} */ word) => readWord(word, shiftMs));
  // An example in DashScope's own documentation ends a sentence without an end_time.
  const endMs = end === null ? (words.at(-1)?.endMs ?? beginMs) : shiftMs + end;
  return {
    index,
    beginMs,
    endMs: isFinal ? endMs : null,
    text: raw.text ?? '',
    words,
    isFinal,
    confidence: raw.confidence ?? meanConfidence(words),
  };
}

/** @param {any} raw @param {number} shiftMs @returns {Word} */
function readWord(raw, shiftMs) {
  const beginMs = shiftMs + (raw.begin_time ?? 0);
  return {
    beginMs,
    endMs: raw.end_time == null ? beginMs : shiftMs + raw.end_time,
    text: raw.text ?? '',
    punctuation: raw.punctuation ?? '',
    confidence: raw.confidence ?? null,
  };
}

/** @param {Word[]} words @returns {number | null} the mean over characters */
function meanConfidence(words) {
  let sum = 0;
  let length = 0;
  for (const { confidence, text } of words) {
    if (confidence === null) continue;
    sum += confidence * text.length;
    length += text.length;
  }
  return length ? sum / length : null;
}

// --------------------------------------------------------------------------------------- sources

/**
 * @typedef {object} Audio
 * @property {AsyncIterable<Chunk> | Iterable<Chunk>} chunks
 * @property {string} format
 * @property {number} sampleRate
 * @property {boolean} isLive
 * @property {() => void | Promise<void>} stop resolves when the last sample is among the chunks
 */

/**
 * @param {Source} source @param {StartOptions} options @param {AsrClient} client
 * @returns {Promise<Audio>}
 */
async function openSource(source, options, client) {
  if (source === 'microphone') return fromMicrophone(client);
  if (isA(source, 'MediaStream')) return fromMediaStream(source, client, false);
  if (isA(source, 'HTMLMediaElement')) return fromElement(source, client);
  if (isA(source, 'Blob')) return fromFile(await source.arrayBuffer(), options);
  if (source instanceof ArrayBuffer || ArrayBuffer.isView(source)) {
    return fromFile(copyOf(source), options);
  }
  const { format = 'pcm', sampleRate = RATE } = options;
  const chunks = /** @type {AsyncIterable<Chunk>} */ (source);
  return { chunks, format, sampleRate, isLive: false, stop: () => {} };
}

/**
 * `instanceof` for classes that Node does not have.
 * @template {'MediaStream' | 'HTMLMediaElement' | 'Blob'} Name
 * @param {any} value @param {Name} name
 * @returns {value is InstanceType<typeof globalThis[Name]>}
 */
function isA(value, name) {
  const constructor = /** @type {any} */ (globalThis)[name];
  return constructor !== undefined && value instanceof constructor;
}

/** @param {AsrClient} client @returns {Promise<Audio>} */
async function fromMicrophone(client) {
  const devices = globalThis.navigator?.mediaDevices;
  if (!devices?.getUserMedia) {
    const message = 'the microphone needs a browser and https, or localhost';
    throw new AsrError('unsupported', message);
  }
  const audio = {
    channelCount: 1,
    echoCancellation: false, // tuned for calls, lowers accuracy
    noiseSuppression: false,
    autoGainControl: true,
    ...client.microphone,
  };
  const stream = await devices.getUserMedia({ audio }).catch((error) => {
    throw microphoneError(error);
  });
  return fromMediaStream(stream, client, true);
}

/** @param {any} error */
function microphoneError(error) {
  if (error.name === 'NotAllowedError' || error.name === 'SecurityError') {
    const message = 'the permission to use the microphone was denied';
    return new AsrError('permission-denied', message, { cause: error });
  }
  const message = `no usable microphone: ${error.message}`;
  return new AsrError('no-microphone', message, { cause: error });
}

/**
 * @param {MediaStream} stream @param {AsrClient} client @param {boolean} ownsTracks to be stopped
 * @returns {Promise<Audio>}
 */
async function fromMediaStream(stream, client, ownsTracks) {
  const context = new AudioContext();
  const release = () => {
    if (ownsTracks) for (const track of stream.getTracks()) track.stop();
    return context.close();
  };
  const input = context.createMediaStreamSource(stream);
  const tap = await Tap.open(context, input, client.workletUrl).catch(async (error) => {
    await release();
    throw error;
  });
  for (const track of stream.getAudioTracks()) {
    track.addEventListener('ended', () => tap.end()); // unplugged
  }
  const stop = async () => {
    await tap.end();
    await release();
  };
  return { chunks: tap.chunks(), format: 'pcm', sampleRate: RATE, isLive: true, stop: once(stop) };
}

/**
 * Return why the worklet was not loaded; addModule() itself does not tell.
 * @param {string | URL} url @param {Error} cause
 */
async function workletError(url, cause) {
  const status = await fetch(url).then(
    (response) => response.status,
    () => 0,
  );
  if (status === 0 || status >= 500) {
    const message = `cannot load ${url}: ${status ? `HTTP ${status}` : 'its server is unreachable'}`;
    return new AsrError('server-away', message, { cause, retryable: true });
  }
  const reason = status === 200 ? cause.message : `HTTP ${status}; see the option workletUrl`;
  return new AsrError('unsupported', `${url} cannot be loaded: ${reason}`, { cause });
}

/** An element can be connected to one audio graph only, permanently. */
const elementGraphs = new WeakMap();

/** @param {HTMLMediaElement} element @param {AsrClient} client @returns {Promise<Audio>} */
async function fromElement(element, client) {
  if (!elementGraphs.has(element)) {
    const context = new AudioContext();
    const source = context.createMediaElementSource(element);
    source.connect(context.destination); // the element stays audible
    elementGraphs.set(element, { context, source });
  }
  const { context, source } = elementGraphs.get(element);
  const tap = await Tap.open(context, source, client.workletUrl);
  element.addEventListener('ended', () => tap.end(), { once: true });
  const stop = once(() => tap.end());
  return { chunks: tap.chunks(), format: 'pcm', sampleRate: RATE, isLive: true, stop };
}

/** Reads frames of 16 kHz PCM from an audio graph, through the worklet. */
class Tap {
  /** @type {Int16Array[]} */
  #frames = [];
  #changed = new Condition();
  #ended = false;
  #ending = false;

  /**
   * @param {AudioContext} context @param {AudioNode} input @param {string | URL} workletUrl
   * @returns {Promise<Tap>}
   */
  static async open(context, input, workletUrl) {
    if (!context.audioWorklet) {
      throw new AsrError('unsupported', 'AudioWorklet needs https, or localhost');
    }
    await context.audioWorklet.addModule(workletUrl).catch(async (cause) => {
      throw await workletError(workletUrl, cause);
    });
    // Without a user gesture the context stays suspended, so resume() is not awaited.
    if (context.state === 'suspended') context.resume();
    return new Tap(context, input);
  }

  /** @param {AudioContext} context @param {AudioNode} input */
  constructor(context, input) {
    this.node = new AudioWorkletNode(context, 'pcm', {
      numberOfOutputs: 0,
      processorOptions: { sampleRate: RATE, frameSamples: (RATE * FRAME_MS) / 1000 },
    });
    this.input = input;
    this.node.port.onmessage = ({ data }) => this.#addFrame(data);
    this.input.connect(this.node);
  }

  /** Resolves when the last sample is among the chunks. */
  async end() {
    if (!this.#ending) this.node.port.postMessage('end');
    this.#ending = true;
    const deadline = Date.now() + 500; // a suspended graph does not answer
    while (!this.#ended && Date.now() < deadline) await withTimeout(this.#changed.wait(), 100);
    this.#addFrame(null);
    await this.#waitUntilRead();
  }

  async *chunks() {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame) yield frame;
      else if (this.#ended) return;
      else await this.#changed.wait();
      if (this.#frames.length === 0) this.#changed.notify();
    }
  }

  async #waitUntilRead() {
    const deadline = Date.now() + 500;
    while (this.#frames.length > 0 && Date.now() < deadline) {
      await withTimeout(this.#changed.wait(), 100);
    }
  }

  /** @param {Int16Array | null} frame */
  #addFrame(frame) {
    if (frame) {
      this.#frames.push(frame);
    } else if (!this.#ended) {
      this.#ended = true;
      this.input.disconnect(this.node);
    }
    this.#changed.notify();
  }
}

/** @param {ArrayBuffer} data @param {StartOptions} options @returns {Promise<Audio>} */
async function fromFile(data, options) {
  const bytes = new Uint8Array(data);
  const format = options.format ?? formatOf(bytes);
  const stop = () => {};
  if (format === 'pcm') {
    const sampleRate = options.sampleRate ?? RATE;
    return { chunks: slices(bytes), format: 'pcm', sampleRate, isLive: false, stop };
  }
  const decoded = readWav(bytes) ?? (await decode(data));
  if (decoded) return { ...decoded, format: 'pcm', isLive: false, stop };
  return { chunks: slices(bytes), format, sampleRate: RATE, isLive: false, stop };
}

/** @type {[string, number[]][]} */
const MAGIC = [
  ['wav', [0x52, 0x49, 0x46, 0x46]],
  ['opus', [0x4f, 0x67, 0x67, 0x53]],
  ['flac', [0x66, 0x4c, 0x61, 0x43]],
  ['mp3', [0x49, 0x44, 0x33]],
  ['amr', [0x23, 0x21, 0x41, 0x4d, 0x52]],
  ['webm', [0x1a, 0x45, 0xdf, 0xa3]],
  ['aac', [0xff, 0xf1]],
  ['aac', [0xff, 0xf9]],
  ['mp3', [0xff, 0xfb]],
  ['mp3', [0xff, 0xf3]],
  ['mp3', [0xff, 0xf2]],
];

/**
 * Return the format of a file by its magic number; 'pcm' if unknown.
 * @param {Uint8Array} bytes
 */
export function formatOf(bytes) {
  const isMp4 = String.fromCharCode(...bytes.subarray(4, 8)) === 'ftyp';
  if (isMp4) return 'm4a';
  return MAGIC.find(([, magic]) => magic.every((byte, i) => bytes[i] === byte))?.[0] ?? 'pcm';
}

/**
 * Return 16-bit WAV as mono PCM; null for any other format.
 * @param {Uint8Array} bytes
 */
function readWav(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (formatOf(bytes) !== 'wav' || bytes.length < 20) return null;
  let channels = 0;
  let sampleRate = 0;
  let isReadable = false;
  for (let at = 12; at + 8 <= bytes.length;) {
    const name = String.fromCharCode(...bytes.subarray(at, at + 4));
    const size = view.getUint32(at + 4, true);
    if (name === 'fmt ') {
      channels = view.getUint16(at + 10, true);
      sampleRate = view.getUint32(at + 12, true);
      const code = view.getUint16(at + 8, true);
      isReadable = (code === 1 || code === 0xfffe) && view.getUint16(at + 22, true) === 16;
    }
    if (name === 'data') {
      // A live recording has size 0: its data extends to the end of the file.
      const data = bytes.subarray(at + 8, size > 0 ? at + 8 + size : undefined);
      return isReadable ? { chunks: slices(wavToMono(data, channels)), sampleRate } : null;
    }
    at += 8 + size + (size % 2);
  }
  return null;
}

/** @param {Uint8Array} data @param {number} channels */
function wavToMono(data, channels) {
  if (channels === 1) return data;
  const samples = new Int16Array(
    copyOf(data),
    0,
    Math.floor(data.length / 2 / channels) * channels,
  );
  const mono = new Int16Array(samples.length / channels);
  for (let i = 0; i < mono.length; i += 1) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel += 1) sum += samples[i * channels + channel];
    mono[i] = Math.round(sum / channels);
  }
  return new Uint8Array(mono.buffer);
}

/**
 * Decode any format the browser plays, also a video's audio; null if it cannot, as in Node.
 * @param {ArrayBuffer} data
 */
async function decode(data) {
  const Context = globalThis.OfflineAudioContext;
  if (!Context) return null;
  try {
    const decoded = await new Context(1, 1, RATE).decodeAudioData(data.slice(0));
    const tracks = Array.from({ length: decoded.numberOfChannels }, (_, channel) =>
      decoded.getChannelData(channel),
    );
    const pcm = toInt16(toMono(tracks));
    return { chunks: slices(new Uint8Array(pcm.buffer)), sampleRate: RATE };
  } catch {
    return null;
  }
}

/** @param {Uint8Array} bytes cut into blocks of one second at 16 kHz */
function* slices(bytes) {
  for (let at = 0; at < bytes.length; at += 32_000) yield bytes.subarray(at, at + 32_000);
}

/**
 * Yield the chunks at `pace` times real time, by an absolute schedule.
 * @param {Audio} audio @param {number} frame bytes in 100 ms @param {number} [pace]
 * @returns {AsyncGenerator<Chunk, void, void>}
 */
async function* paced(audio, frame, pace) {
  if (!pace || audio.isLive) {
    yield* audio.chunks;
    return;
  }
  if (audio.format !== 'pcm') {
    throw new AsrError('bad-audio', `pacing needs PCM or 16-bit WAV, not ${audio.format}`);
  }
  const start = Date.now();
  let sent = 0;
  for await (const chunk of audio.chunks) {
    const bytes = toBytes(chunk, true);
    for (let at = 0; at < bytes.length; at += frame) {
      const block = bytes.slice(at, at + frame);
      sent += block.length;
      // A live source delivers a frame at its end, not at its begin.
      await sleep(start + ((sent / frame) * FRAME_MS) / pace - Date.now());
      yield block;
    }
  }
}

/** @param {Chunk} chunk @param {boolean} isPcm @returns {Uint8Array} aligned for 16-bit samples */
function toBytes(chunk, isPcm) {
  if (isPcm && chunk instanceof Float32Array) return new Uint8Array(toInt16(chunk).buffer);
  return new Uint8Array(copyOf(chunk));
}

/** @param {ArrayBuffer | ArrayBufferView} data @returns {ArrayBuffer} a copy of exactly its bytes */
function copyOf(data) {
  if (data instanceof ArrayBuffer) return data.slice(0);
  const copy = new Uint8Array(data.byteLength);
  copy.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  return copy.buffer;
}

/** @param {Int16Array} pcm @returns {{rmsDb: number, peakDb: number}} relative to full scale */
export function levelOf(pcm) {
  let power = 0;
  let peak = 0;
  for (const sample of pcm) {
    power += sample * sample;
    peak = Math.max(peak, Math.abs(sample));
  }
  return { rmsDb: db(Math.sqrt(power / (pcm.length || 1))), peakDb: db(peak) };
}

/** @param {number} amplitude */
function db(amplitude) {
  return amplitude > 0 ? Math.max(-100, 20 * Math.log10(amplitude / 32768)) : -100;
}

/** @param {number} position @returns {number} the byte position at which its sample begins */
function even(position) {
  return Math.floor(position / 2) * 2;
}

/** @param {unknown} error @returns {AsrError} */
function asError(error) {
  if (error instanceof AsrError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new AsrError('bad-audio', message, { cause: error });
}

/**
 * @template T
 * @param {() => T} work
 * @returns {() => T} calls `work` once and returns its result each time
 */
function once(work) {
  /** @type {{result: T} | null} */
  let done = null;
  return () => (done ??= { result: work() }).result;
}

/** @param {number} ms @returns {Promise<void>} */
function sleep(ms) {
  return new Promise((resolve) => {
    setTimeout(resolve, Math.max(0, ms));
  });
}

/** @param {Promise<unknown>} promise @param {number} ms @returns {Promise<void>} */
async function withTimeout(promise, ms) {
  let timer;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, Math.max(0, ms));
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}

// --------------------------------------------------------------------------------------- formats

/** @typedef {{beginMs: number, endMs: number, text: string}} Caption */

const PAUSE_PUNCTUATION = /[，。！？；：、,.!?;:]$/;

/**
 * Return subtitles of at most `maxChars`, split between words, preferably after punctuation.
 * @param {Sentence[]} sentences
 * @param {number} [maxChars]
 * @returns {Caption[]}
 */
export function captions(sentences, maxChars = 24) {
  return sentences.flatMap(({ beginMs, endMs, text, words }) => {
    if (text.length <= maxChars || words.length === 0) {
      return [{ beginMs, endMs: endMs ?? beginMs, text }];
    }
    return splitWords(words, maxChars).map((group) => ({
      beginMs: group[0].beginMs,
      endMs: group[group.length - 1].endMs,
      text: group
        .map((word) => word.text + word.punctuation)
        .join('')
        .trim(),
    }));
  });
}

/** @param {Word[]} words @param {number} maxChars @returns {Word[][]} */
function splitWords(words, maxChars) {
  /** @type {Word[][]} */
  const groups = [];
  let length = 0;
  for (const word of words) {
    const size = word.text.length + word.punctuation.length;
    const last = groups.at(-1)?.at(-1);
    const isAtPause = length >= maxChars / 2 && PAUSE_PUNCTUATION.test(last?.punctuation ?? '');
    if (groups.length === 0 || length + size > maxChars || isAtPause) {
      groups.push([]);
      length = 0;
    }
    groups[groups.length - 1].push(word);
    length += size;
  }
  return groups;
}

/** @param {Sentence[]} sentences @returns {string} one sentence a line */
export function toTxt(sentences) {
  return sentences.map(({ text }) => `${text}\n`).join('');
}

/** @param {Sentence[]} sentences @param {number} [maxChars] @returns {string} SubRip subtitles */
export function toSrt(sentences, maxChars) {
  return captions(sentences, maxChars)
    .map(({ beginMs, endMs, text }, i) => `${i + 1}\n${span(beginMs, endMs, ',')}\n${text}\n`)
    .join('\n');
}

/** @param {Sentence[]} sentences @param {number} [maxChars] @returns {string} WebVTT subtitles */
export function toVtt(sentences, maxChars) {
  const blocks = captions(sentences, maxChars).map(
    ({ beginMs, endMs, text }) => `${span(beginMs, endMs, '.')}\n${escaped(text)}\n`,
  );
  return `WEBVTT\n\n${blocks.join('\n')}`;
}

/** @param {string} text @returns {string} escaped for WebVTT, where "<" opens a tag */
const escaped = (text) =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** @param {number} beginMs @param {number} endMs @param {string} mark */
function span(beginMs, endMs, mark) {
  return `${clock(beginMs, mark)} --> ${clock(endMs, mark)}`;
}

/** @param {number} ms @param {string} mark before the milliseconds */
function clock(ms, mark) {
  const part = (/** @type {number} */ unit, /** @type {number} */ of) =>
    String(Math.floor(ms / unit) % of).padStart(2, '0');
  const fraction = String(ms % 1000).padStart(3, '0');
  return `${part(3_600_000, 100)}:${part(60_000, 60)}:${part(1000, 60)}${mark}${fraction}`;
}

export { Resampler };
