// A server for client tests whose transcript is a function of the samples.
//
// Every 100 ms of audio hold one constant sample value: 0 is silence, v > 0 is recognised as the
// character 0x4E00 + v. So the text alone shows whether audio was lost, doubled or reordered.

import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname } from 'node:path';
import { WebSocketServer } from 'ws';

export const BLOCK = 3200; // bytes in 100 ms
const FIRST = 0x4e00;
const WEB = new URL('../', import.meta.url);
const SAMPLES = new URL('../../../tests/data/', import.meta.url);
const TYPES = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.json': 'application/json',
  '.wav': 'audio/wav',
};

/** Return PCM that the server recognises as `text`; a space is 100 ms of silence. */
export function pcmOf(text) {
  const blocks = [...text].map((c) => {
    const value = c === ' ' ? 0 : c.charCodeAt(0) - FIRST;
    return new Int16Array(BLOCK / 2).fill(value);
  });
  const pcm = new Int16Array((blocks.length * BLOCK) / 2);
  blocks.forEach((block, i) => pcm.set(block, (i * BLOCK) / 2));
  return pcm;
}

/** Return characters that pcmOf() can encode, made from the letters of a test. */
export function textOf(letters) {
  return [...letters]
    .map((c) => (c === ' ' ? c : String.fromCharCode(FIRST + c.charCodeAt(0))))
    .join('');
}

export class ScriptedServer {
  tasks = [];
  connections = 0;
  requests = [];
  refuseWith = 0; // an HTTP status
  refuseEmpty = false; // whether a task without audio fails
  oneSentence = ''; // 'by itself' or 'on finish-task': how such a task ends
  failRun = []; // [code, message], answered to run-task
  dropAfter = []; // bytes of a task after which its connection is cut
  failAfter = []; // [bytes, code, message]
  replay = null; // messages to send instead, after run-task
  apiKey = ''; // required if given
  permissions = ''; // the header Permissions-Policy of the page
  prefix = ''; // the path below which a proxy has the server
  maxTasks = Infinity; // at once
  mistakes = {}; // characters by those that interims show instead
  health = { status: 'ok', model: 'scripted', device: 'cpu', notice: null };
  #port = 0;

  /** Listen; after stop() on the same port again. */
  async start() {
    this.sockets = new Set();
    this.http = createServer((request, response) => this.#answer(request, response));
    const wss = new WebSocketServer({ noServer: true });
    this.http.on('upgrade', (request, socket, head) => {
      this.requests.push(request);
      const status = this.refuseWith || this.#refusal(new URL(request.url, this.url));
      if (status) {
        socket.end(`HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
        return;
      }
      this.sockets.add(socket);
      wss.handleUpgrade(request, socket, head, (ws) => this.#serve(ws, socket));
    });
    await new Promise((resolve) => this.http.listen(this.#port, '127.0.0.1', resolve));
    this.#port = this.http.address().port;
    this.url = `ws://127.0.0.1:${this.#port}`;
  }

  /** Stop as a killed process does, without close frames. */
  async stop() {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.http.close(resolve));
  }

  /** Return the status that refuses a handshake, or 0. */
  #refusal({ pathname, searchParams }) {
    if (this.prefix && pathname !== `${this.prefix}/api-ws/v1/inference`) return 404;
    return this.apiKey && searchParams.get('api_key') !== this.apiKey ? 401 : 0;
  }

  /** The demo page as the real server serves it. */
  async #answer(request, response) {
    const { pathname } = new URL(request.url, 'http://localhost');
    const path = pathname.startsWith(this.prefix) ? pathname.slice(this.prefix.length) : '';
    response.setHeader('access-control-allow-origin', '*');
    if (this.permissions) response.setHeader('permissions-policy', this.permissions);
    if (path === '/healthz') {
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(this.health));
      return;
    }
    if (path === '/api/v1/tokens' || path === '/readyz') {
      const isKnown = !this.apiKey || request.headers.authorization === `Bearer ${this.apiKey}`;
      response.statusCode = isKnown || path === '/readyz' ? 200 : 401;
      response.end();
      return;
    }
    try {
      if (!path.startsWith('/')) throw new Error('below another path');
      response.setHeader('content-type', TYPES[extname(path)] ?? TYPES['.html']);
      response.end(await readFile(fileOf(path)));
    } catch {
      response.statusCode = 404;
      response.end();
    }
  }

  #serve(ws, socket) {
    this.connections += 1;
    let task = null;
    ws.on('error', () => {});
    ws.on('message', (data, isBinary) => {
      if (isBinary) {
        if (task) this.#takeAudio(ws, socket, task, data);
        return;
      }
      const { header, payload } = JSON.parse(data);
      if (header.action === 'run-task') task = this.#runTask(ws, header, payload);
      if (header.action === 'finish-task' && task) {
        this.#finish(ws, task);
        task = null;
      }
    });
  }

  #finish(ws, task) {
    if (task.isFinished) return;
    if (this.refuseEmpty && !task.audio.length) {
      this.#fail(ws, task, 'NO_VALID_AUDIO_ERROR', 'NO_VALID_AUDIO_ERROR');
      return;
    }
    if (task.open.length) this.#result(ws, task, true);
    if (!task.isFinished) send(ws, task, 'task-finished', { output: {}, usage: null });
    task.isFinished = true;
  }

  #runTask(ws, header, payload) {
    const task = {
      id: header.task_id,
      payload,
      audio: Buffer.alloc(0),
      decoded: 0,
      open: [],
      silent: 0,
      sentences: 0,
      isFinished: false,
    };
    if (this.tasks.filter(({ isFinished }) => !isFinished).length >= this.maxTasks) {
      this.#fail(ws, task, 'Throttling.RateQuota', 'Requests rate limit exceeded');
      return null;
    }
    this.tasks.push(task);
    ws.on('close', () => (task.isFinished = true));
    if (this.replay) {
      ws.send(this.replay[0]);
      ws.on('message', (data, isBinary) => {
        const isFinish = !isBinary && JSON.parse(data).header.action === 'finish-task';
        for (const message of isFinish ? this.replay.slice(1) : []) ws.send(message);
      });
      return null;
    }
    if (this.failRun.length) {
      this.#fail(ws, task, ...this.failRun.shift());
      return null;
    }
    send(ws, task, 'task-started', {});
    return task;
  }

  #takeAudio(ws, socket, task, data) {
    task.audio = Buffer.concat([task.audio, data]);
    if (task.audio.length >= (this.dropAfter[0] ?? Infinity)) {
      this.dropAfter.shift();
      socket.destroy();
      return;
    }
    if (task.audio.length >= (this.failAfter[0]?.[0] ?? Infinity)) {
      const [, code, message] = this.failAfter.shift();
      this.#fail(ws, task, code, message);
      return;
    }
    while (task.audio.length >= (task.decoded + 1) * BLOCK) {
      if (this.oneSentence && task.sentences) return;
      this.#decodeBlock(ws, task);
    }
  }

  #decodeBlock(ws, task) {
    const at = task.decoded;
    task.decoded += 1;
    const value = task.audio.readInt16LE(at * BLOCK);
    if (value) {
      task.silent = 0;
      task.open.push([at, String.fromCharCode(FIRST + value)]);
      this.#result(ws, task, false);
    } else if (task.open.length) {
      task.silent += 100;
      const limit = task.payload.parameters.max_sentence_silence ?? 800;
      if (task.silent >= limit) this.#result(ws, task, true);
    }
  }

  #result(ws, task, isFinal) {
    const words = task.open.map(([at, text]) => ({
      begin_time: at * 100,
      end_time: at * 100 + 100,
      text: isFinal ? text : (this.mistakes[text] ?? text),
      punctuation: '',
      ...(task.payload.parameters.word_confidence_enabled && {
        confidence: { 气: 0.5, 不: 0.7 }[text] ?? 0.95,
      }),
    }));
    if (isFinal) words[words.length - 1].punctuation = '。';
    const sentence = {
      sentence_id: 1,
      begin_time: words[0].begin_time,
      end_time: isFinal ? words[words.length - 1].end_time : null,
      text: words.map((word) => word.text + word.punctuation).join(''),
      sentence_end: isFinal,
      words,
    };
    if (isFinal) Object.assign(task, { open: [], silent: 0 });
    send(ws, task, 'result-generated', { output: { sentence } });
    if (!isFinal) return;
    task.sentences += 1;
    if (this.oneSentence === 'by itself') this.#finish(ws, task);
  }

  #fail(ws, task, code, message) {
    send(ws, task, 'task-failed', {}, { error_code: code, error_message: message });
    ws.close(1000);
  }
}

function send(ws, task, event, payload, more = {}) {
  const header = { task_id: task.id, event, ...more, attributes: {} };
  ws.send(JSON.stringify({ header, payload }));
}

function fileOf(path) {
  if (path.startsWith('/samples/')) return new URL(path.slice(9), SAMPLES);
  return new URL(path === '/' ? 'index.html' : path.slice(1), WEB);
}
