// AsrClient.js in Node over a socket: sources, events, errors, and no loss on reconnection.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { WebSocket } from 'ws';
import {
  AsrClient,
  AsrError,
  captions,
  levelOf,
  readSentence,
  toSrt,
  toTxt,
  toVtt,
  websocketUrl,
} from '../AsrClient.js';
import { BLOCK, ScriptedServer, pcmOf, textOf } from './scripted-server.js';

const PAUSE = ' '.repeat(8); // ends a sentence
const FAST = { firstDelayMs: 10, maxDelayMs: 20 };
const GOLDEN = new URL('../../../tests/protocol/golden/', import.meta.url);

let server;
const clients = [];

beforeEach(async () => {
  server = new ScriptedServer();
  await server.start();
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
});

function connect(options = {}) {
  const client = new AsrClient({ url: server.url, WebSocket, retry: FAST, ...options });
  clients.push(client);
  return client;
}

async function transcribe(client, source, options) {
  const sentences = [];
  for await (const sentence of client.transcribe(source, options)) sentences.push(sentence);
  return sentences;
}

async function textsOf(client, source, options) {
  return (await transcribe(client, source, options)).map(({ text }) => text);
}

function audioOf(task = server.tasks.at(-1)) {
  return new Int16Array(
    task.audio.buffer.slice(task.audio.byteOffset, task.audio.byteOffset + task.audio.length),
  );
}

function next(client, name) {
  return new Promise((resolve) => {
    const off = client.on(name, (detail) => {
      off();
      resolve(detail);
    });
  });
}

/** Resolves once the client has handled a message of the server. */
function wire(client, event) {
  return new Promise((resolve) => {
    const off = client.on('wire', ({ direction, data }) => {
      if (direction !== 'in' || JSON.parse(data).header.event !== event) return;
      off();
      setImmediate(resolve);
    });
  });
}

function wav(pcm, { channels = 1, rate = 16000, bits = 16 } = {}) {
  const header = Buffer.alloc(44);
  const frame = (channels * bits) / 8;
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + pcm.byteLength, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(channels, 22);
  header.writeUInt32LE(rate, 24);
  header.writeUInt32LE(rate * frame, 28);
  header.writeUInt16LE(frame, 32);
  header.writeUInt16LE(bits, 34);
  header.write('data', 36);
  header.writeUInt32LE(pcm.byteLength, 40);
  return new Uint8Array(Buffer.concat([header, Buffer.from(pcm.buffer)]));
}

async function golden(name) {
  return (await readFile(new URL(`${name}.json`, GOLDEN), 'utf8')).trim();
}

describe('sources', () => {
  test('a WAV file becomes sentences with times', async () => {
    const text = textOf('abc');
    const sentences = await transcribe(connect(), wav(pcmOf(`  ${text}${PAUSE}${text}`)));
    assert.deepEqual(
      sentences.map((s) => [s.index, s.beginMs, s.endMs, s.text]),
      [
        [0, 200, 500, `${text}。`],
        [1, 1300, 1600, `${text}。`],
      ],
    );
    const last = sentences[0].words.at(-1);
    assert.deepEqual([last.beginMs, last.endMs, last.punctuation], [400, 500, '。']);
  });

  test('a Blob is read as a file', async () => {
    const blob = new Blob([wav(pcmOf(textOf('a')))]);
    assert.deepEqual(await textsOf(connect(), blob), [`${textOf('a')}。`]);
  });

  test('stereo is mixed down', async () => {
    const mono = pcmOf(textOf('xy'));
    const stereo = new Int16Array(mono.length * 2).map((_, i) => mono[i >> 1]);
    assert.deepEqual(await textsOf(connect(), wav(stereo, { channels: 2 })), [`${textOf('xy')}。`]);
  });

  test('a format that Node cannot decode is sent as it is', async () => {
    const mp3 = new Uint8Array(10_000).map((_, i) => i);
    mp3.set([0x49, 0x44, 0x33]);
    await transcribe(connect(), mp3);
    assert.equal(server.tasks[0].payload.parameters.format, 'mp3');
    assert.deepEqual(new Uint8Array(server.tasks[0].audio), mp3);
  });

  test('chunks of an asynchronous iterable may have any size', async () => {
    const pcm = pcmOf(textOf('hello'));
    async function* chunks() {
      for (let at = 0; at < pcm.length; at += 777) yield pcm.subarray(at, at + 777);
    }
    assert.deepEqual(await textsOf(connect(), chunks()), [`${textOf('hello')}。`]);
    assert.deepEqual(audioOf(), pcm);
  });

  test('an error in the source is thrown to the caller', async () => {
    async function* chunks() {
      yield pcmOf(textOf('a'));
      throw new Error('the source failed');
    }
    await assert.rejects(transcribe(connect(), chunks()), /the source failed/);
  });

  test('Float32 samples are converted', async () => {
    const client = connect();
    await client.start();
    client.push(new Float32Array([0, 0.5, -1, 2]));
    await client.stop();
    assert.deepEqual([...audioOf()], [0, 16384, -32768, 32767]);
  });

  test('the microphone needs a browser', async () => {
    await assert.rejects(connect().start('microphone'), { code: 'unsupported' });
  });

  test('pacing follows the clock', async () => {
    const begun = Date.now();
    await transcribe(connect(), wav(pcmOf(' '.repeat(10))), { pace: 4 });
    const took = Date.now() - begun;
    assert.ok(took >= 240 && took < 5000, `${took} ms`);
  });
});

describe('a stream', () => {
  test('its events come in order', async () => {
    const client = connect();
    const names = [];
    for (const name of ['started', 'interim', 'final', 'finished', 'failed']) {
      client.on(name, () => names.push(name));
    }
    await client.start();
    assert.equal(client.state, 'listening');
    client.push(pcmOf(textOf('a') + PAUSE));
    const sentences = await client.stop();
    assert.deepEqual(names, ['started', 'interim', 'final', 'finished']);
    assert.equal(sentences[0].text, `${textOf('a')}。`);
    assert.equal(client.state, 'idle');
  });

  test('level and audio events carry their time', async () => {
    const client = connect();
    const levels = [];
    const begins = [];
    client.on('level', ({ rmsDb }) => levels.push(Math.round(rmsDb)));
    client.on('audio', ({ beginMs }) => begins.push(beginMs));
    await client.start();
    client.push(new Int16Array(1600).fill(16384));
    client.push(new Int16Array(1600));
    await client.stop();
    assert.deepEqual(levels, [-6, -100]);
    assert.deepEqual(begins, [0, 100]);
  });

  test('frames are 100 ms and the last is the rest', async () => {
    const client = connect();
    const sizes = [];
    client.on('wire', ({ direction, data }) => {
      if (direction === 'out' && typeof data !== 'string') sizes.push(data.length);
    });
    await client.start();
    client.push(new Int16Array(4805));
    await client.stop();
    assert.deepEqual(sizes, [BLOCK, BLOCK, BLOCK, 10]);
  });

  test('flush closes a sentence and the stream goes on', async () => {
    const client = connect();
    await client.start();
    client.push(pcmOf(textOf('ab')));
    client.flush();
    await next(client, 'final');
    client.push(pcmOf(textOf('cd')));
    const sentences = await client.stop();
    assert.deepEqual(
      sentences.map((s) => [s.index, s.text, s.beginMs, s.endMs]),
      [
        [0, `${textOf('ab')}。`, 0, 200],
        [1, `${textOf('cd')}。`, 200, 400],
      ],
    );
    assert.equal(server.connections, 1);
  });

  test('push-to-talk as documented keeps its sentences', async () => {
    server.refuseEmpty = true;
    const client = connect();
    await client.start();
    for (const text of ['ab', 'cd']) {
      const final = next(client, 'final');
      const finished = wire(client, 'task-finished');
      client.push(pcmOf(textOf(text)));
      client.flush();
      assert.equal((await final).text, `${textOf(text)}。`);
      await finished;
    }
    assert.equal((await client.stop()).length, 2);
    assert.equal(server.tasks.length, 2);
  });

  test('a flush without new audio does nothing', async () => {
    server.refuseEmpty = true;
    const client = connect();
    await client.start();
    client.flush();
    client.push(pcmOf(textOf('ab')));
    client.flush();
    await wire(client, 'task-finished');
    client.flush();
    const final = next(client, 'final');
    client.push(pcmOf(textOf('cd') + PAUSE));
    await final;
    assert.equal((await client.stop()).length, 2);
    assert.equal(server.tasks.length, 2);
  });

  test('a stream that never got audio finishes without an error', async () => {
    server.refuseEmpty = true;
    const client = connect();
    await client.start();
    assert.deepEqual(await client.stop(), []);
    assert.deepEqual(await textsOf(client, new Uint8Array(0)), []);
    assert.equal(server.tasks.length, 1);
  });

  test('stop() while the stream starts resolves start() too', async () => {
    server.refuseEmpty = true;
    const client = connect();
    const started = client.start();
    assert.deepEqual(await client.stop(), []);
    await started;
  });

  test('a flush survives the loss of the connection', async () => {
    server.dropAfter = [2 * BLOCK];
    const client = connect();
    await client.start();
    const final = next(client, 'final');
    client.push(pcmOf(textOf('ab')));
    client.flush();
    assert.equal((await final).text, `${textOf('ab')}。`);
    await client.stop();
  });

  for (const ends of ['by itself', 'on finish-task']) {
    test(`audio after the one sentence of gummy-chat is recognised: it ends ${ends}`, async () => {
      server.oneSentence = ends;
      const texts = ['ab', 'cd', 'e'].map(textOf);
      const client = connect({ model: 'gummy-chat-v1' });
      const sentences = await transcribe(client, pcmOf(texts.map((text) => text + PAUSE).join('')));
      assert.deepEqual(
        sentences.map((s) => [s.text, s.beginMs, s.endMs]),
        [
          [`${texts[0]}。`, 0, 200],
          [`${texts[1]}。`, 1000, 1200],
          [`${texts[2]}。`, 2000, 2100],
        ],
      );
    });
  }

  test('done() resolves when the next stream may start', async () => {
    const client = connect();
    for (const c of 'ab') {
      await client.start(wav(pcmOf(textOf(c))));
      assert.equal((await client.done())[0].text, `${textOf(c)}。`);
    }
    await client.start(new Uint8Array(0));
    assert.deepEqual(await client.done(), []);
    let restarted;
    client.on('finished', () => (restarted ??= client.start()));
    await client.start(wav(pcmOf(textOf('c'))));
    await client.done();
    await restarted;
    assert.equal(client.state, 'listening');
  });

  test('what comes after the end of a stream gets its result', async () => {
    const client = connect();
    await client.start(wav(pcmOf(textOf('a'))));
    await next(client, 'finished');
    assert.equal((await client.done()).length, 1);
    assert.equal((await client.stop()).length, 1);
    for await (const { text } of client.sentences()) assert.equal(text, `${textOf('a')}。`);
    assert.throws(() => client.flush(), { code: 'closed' });
  });

  test('one connection serves one stream after the other', async () => {
    const client = connect();
    for (const c of 'abc') {
      assert.deepEqual(await textsOf(client, wav(pcmOf(textOf(c)))), [`${textOf(c)}。`]);
    }
    assert.equal(server.connections, 1);
    assert.equal(new Set(server.tasks.map(({ id }) => id)).size, 3);
  });

  test('a connection that the server closed meanwhile is replaced', async () => {
    const client = connect();
    await transcribe(client, wav(pcmOf(textOf('a'))));
    await server.stop();
    await server.start();
    assert.deepEqual(await textsOf(client, wav(pcmOf(textOf('b')))), [`${textOf('b')}。`]);
  });

  test('leaving the loop cancels the rest', async () => {
    const client = connect();
    let closeSource;
    const isClosed = new Promise((resolve) => (closeSource = resolve));
    async function* endless() {
      try {
        for (;;) {
          yield pcmOf(textOf('a') + PAUSE);
          await new Promise((resolve) => setTimeout(resolve, 2)); // lets the socket read
        }
      } finally {
        closeSource();
      }
    }
    for await (const _ of client.transcribe(endless())) break;
    assert.equal(client.state, 'idle');
    await isClosed;
  });

  test('pushing before the start or after the end is refused', async () => {
    const client = connect();
    assert.throws(() => client.push(new Int16Array(1)), { code: 'closed' });
    await client.start();
    await client.stop();
    assert.throws(() => client.push(new Int16Array(1)), { code: 'closed' });
  });

  test('a second start is refused while one runs', async () => {
    const client = connect();
    await client.start();
    await assert.rejects(client.start(), { code: 'closed' });
    await client.stop();
  });

  test('sentences() yields all finals from the first one on', async () => {
    const client = connect();
    await client.start(wav(pcmOf(textOf('a') + PAUSE + textOf('b'))));
    const done = client.done();
    const texts = [];
    for await (const { text } of client.sentences()) texts.push(text);
    assert.deepEqual(texts, [`${textOf('a')}。`, `${textOf('b')}。`]);
    assert.equal((await done).length, 2);
  });
});

describe('when the connection is lost', () => {
  const lines = ['abcde', 'fghij', 'k'].map(textOf);
  const recording = wav(pcmOf(lines.join(PAUSE)));

  for (const block of [1, 3, 5, 12, 14, 19]) {
    test(`after ${block} frames nothing is lost or doubled`, async () => {
      const whole = await transcribe(connect(), recording, { pace: 20 });
      server.dropAfter = [block * BLOCK];
      assert.deepEqual(await transcribe(connect(), recording, { pace: 20 }), whole);
      assert.equal(server.dropAfter.length, 0);
    });
  }

  test('in mid-sentence, the sentence is recognised after the restart of the server', async () => {
    const client = connect({ retry: { firstDelayMs: 30 } });
    const events = [];
    for (const name of ['started', 'reconnecting', 'failed']) {
      client.on(name, (detail) => events.push([name, detail.resumed ?? detail.attempt]));
    }
    await client.start();
    client.push(pcmOf(textOf('one') + PAUSE + textOf('tw')));
    await next(client, 'final');
    await next(client, 'interim');
    await server.stop();
    client.push(pcmOf(textOf('o') + PAUSE));
    await next(client, 'reconnecting');
    await server.start();
    const sentences = await client.stop();
    assert.deepEqual(
      sentences.map((s) => [s.text, s.beginMs, s.endMs]),
      [
        [`${textOf('one')}。`, 0, 300],
        [`${textOf('two')}。`, 1100, 1400],
      ],
    );
    assert.deepEqual(events[0], ['started', 0]);
    assert.deepEqual(events.at(-1), ['started', 1]);
    // Final audio is not sent again.
    assert.equal(server.tasks.at(-1).audio.length, 14 * BLOCK + 8 * BLOCK - 3 * BLOCK);
  });

  test('a server that stays unreachable is an error after the last attempt', async () => {
    const client = connect({ retry: { attempts: 2, firstDelayMs: 5 } });
    await client.start();
    const failed = next(client, 'failed');
    await server.stop();
    assert.equal((await failed).code, 'server-away');
    await assert.rejects(async () => client.stop());
    await server.start();
  });

  test('a timeout on silence is no failure', async () => {
    server.failAfter = Array.from({ length: 12 }, () => [
      5 * BLOCK,
      'ResponseTimeout',
      'Response timeout!',
    ]);
    const client = connect({ retry: { attempts: 12, firstDelayMs: 5 } });
    const sentences = await transcribe(client, wav(pcmOf(' '.repeat(100) + textOf('a'))), {
      pace: 50,
    });
    assert.deepEqual(
      sentences.map((s) => [s.text, s.beginMs]),
      [[`${textOf('a')}。`, 10_000]],
    );
  });

  test('an idle timeout in mid-sentence yields the final', async () => {
    const client = connect();
    await client.start();
    client.push(pcmOf(textOf('ab')));
    await next(client, 'interim');
    server.failAfter = [[0, 'CLIENT_ERROR', 'request timeout after 23 seconds.']];
    const final = next(client, 'final');
    client.push(pcmOf(' '));
    assert.equal((await final).text, `${textOf('ab')}。`);
    await client.stop();
  });
});

describe('errors', () => {
  test('an unreachable server is reported at once', async () => {
    const client = connect({ url: 'ws://127.0.0.1:9' });
    const failed = next(client, 'failed');
    await assert.rejects(client.start(), { code: 'server-away', message: /cannot reach/ });
    assert.ok((await failed) instanceof AsrError);
  });

  for (const [status, code] of [
    [401, 'unauthorized'],
    [403, 'unauthorized'],
    [503, 'busy'],
    [404, 'server-away'],
  ]) {
    test(`HTTP ${status} is ${code}`, async () => {
      server.refuseWith = status;
      const error = await connect({ apiKey: 'secret' })
        .start()
        .catch((caught) => caught);
      assert.equal(error.code, code);
      assert.ok(!error.message.includes('secret'));
    });
  }

  for (const status of [403, 404]) {
    test(`a wrong path is told from a refused key: HTTP ${status}`, async () => {
      server.refuseWith = status;
      const error = await connect({ url: `${server.url}/recognise`, apiKey: 'secret' })
        .start()
        .catch((caught) => caught);
      assert.equal(error.code, 'server-away');
      assert.match(error.message, /should end in \/api-ws\/v1\/inference/);
      assert.ok(!error.retryable);
    });
  }

  for (const [serverCode, code] of [
    ['Throttling.RateQuota', 'busy'],
    ['ModelNotFound', 'task-failed'],
    ['InvalidApiKey', 'unauthorized'],
  ]) {
    test(`${serverCode} is ${code}`, async () => {
      server.failRun = [[serverCode, 'because']];
      await assert.rejects(connect().start(), { code, serverCode, message: /because/ });
    });
  }

  test('a client error is not retried', async () => {
    server.failAfter = [[BLOCK, 'InvalidParameter', 'Failed to decode audio']];
    await assert.rejects(transcribe(connect(), wav(pcmOf('   '))), /Failed to decode audio/);
    assert.equal(server.tasks.length, 1);
  });

  test('a task that failed by a server error is retried', async () => {
    server.failAfter = [[BLOCK, 'InternalError', 'oops']];
    assert.deepEqual(await textsOf(connect(), wav(pcmOf(textOf('abc')))), [`${textOf('abc')}。`]);
  });

  test('without a WebSocket class the error names the option', async () => {
    const client = connect({ WebSocket: null });
    client.WebSocket = undefined;
    await assert.rejects(client.start(), {
      code: 'unsupported',
      message: /pass a WebSocket class/,
    });
  });
});

describe('the protocol', () => {
  test('the request equals the golden file', async () => {
    const client = connect({ apiKey: 'k', parameters: { language_hints: ['zh'] } });
    await client.start();
    await client.stop();
    const { heartbeat, ...parameters } = server.tasks[0].payload.parameters;
    assert.equal(heartbeat, true);
    const { payload } = JSON.parse(await golden('run-task'));
    assert.deepEqual({ ...server.tasks[0].payload, parameters }, payload);
    assert.equal(server.requests[0].url, '/api-ws/v1/inference');
    assert.equal(server.requests[0].headers.authorization, 'Bearer k');
  });

  test('every golden event is read', async () => {
    const names = [
      'task-started',
      'result-generated.heartbeat',
      'result-generated.begin',
      'result-generated.interim',
      'result-generated.final',
      'task-finished',
    ];
    server.replay = await Promise.all(names.map(golden));
    const client = connect();
    const interims = [];
    client.on('interim', ({ text }) => interims.push(text));
    assert.deepEqual(await textsOf(client, new Int16Array(1600)), ['你好啊。']);
    assert.deepEqual(interims, ['你', '你好啊']);
  });

  test('the golden failure is an idle timeout', async () => {
    server.replay = [await golden('task-failed')];
    const error = await connect()
      .start()
      .catch((caught) => caught);
    assert.equal(error.serverCode, 'CLIENT_ERROR');
    assert.ok(error.isIdleTimeout && error.retryable);
  });

  test('Gummy results and confidence are read', async () => {
    const read = async (name) =>
      readSentence(JSON.parse(await golden(name)).payload.output, 3, 1000);
    const final = await read('gummy.result-generated.final');
    assert.deepEqual(
      [final.index, final.isFinal, final.beginMs, final.endMs],
      [3, true, 1640, 2640],
    );
    const interim = await read('gummy.result-generated.interim');
    assert.deepEqual([interim.isFinal, interim.endMs], [false, null]);
    const { confidence } = await read('result-generated.confidence');
    assert.ok(Math.abs(confidence - (0.98 + 0.97 + 0.914) / 3) < 1e-9);
  });

  test('an address gets its scheme and path', () => {
    assert.equal(websocketUrl('ws://h:1'), 'ws://h:1/api-ws/v1/inference');
    assert.equal(websocketUrl('h:1'), 'ws://h:1/api-ws/v1/inference');
    assert.equal(websocketUrl('https://h/'), 'wss://h/api-ws/v1/inference');
    assert.equal(websocketUrl('wss://h/x/api-ws/v1/inference/'), 'wss://h/x/api-ws/v1/inference/');
    assert.equal(websocketUrl('https://h/asr/'), 'wss://h/asr/api-ws/v1/inference');
  });
});

describe('formats', () => {
  const words = [...'一二三四五六七八九十甲乙丙丁'].map((text, i) => ({
    beginMs: i * 100,
    endMs: i * 100 + 100,
    text,
    punctuation: i === 7 ? '，' : '',
    confidence: null,
  }));
  const text = words.map((word) => word.text + word.punctuation).join('');
  const long = { index: 0, beginMs: 0, endMs: 1400, text, words, isFinal: true, confidence: null };
  const short = { ...long, beginMs: 3_661_001, endMs: 3_661_601, text: '今天', words: [] };

  test('subtitles have the times and escapes of their format', () => {
    assert.equal(toSrt([short]), '1\n01:01:01,001 --> 01:01:01,601\n今天\n');
    assert.equal(toVtt([short]), 'WEBVTT\n\n01:01:01.001 --> 01:01:01.601\n今天\n');
    assert.match(toVtt([{ ...short, text: 'A<B>&C' }]), /\nA&lt;B&gt;&amp;C\n$/);
    assert.equal(toTxt([short]), '今天\n');
  });

  test('a long sentence is cut between words after a mark', () => {
    assert.deepEqual(captions([long], 12), [
      { beginMs: 0, endMs: 800, text: '一二三四五六七八，' },
      { beginMs: 800, endMs: 1400, text: '九十甲乙丙丁' },
    ]);
  });

  test('levels are in dB of full scale', () => {
    assert.deepEqual(levelOf(new Int16Array(0)), { rmsDb: -100, peakDb: -100 });
    assert.equal(Math.round(levelOf(new Int16Array([-32768, 0])).peakDb), 0);
  });
});
