// AsrClient.js in Chromium without the demo page: the sources that only a browser has.

import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { ScriptedServer, pcmOf } from '../scripted-server.js';
import { CHROMIUM, sharedBrowser, visit, wav } from '../support.js';

const TEXT = '今天天气不错';
const AUDIO = wav(pcmOf(`${TEXT}${' '.repeat(9)}`)).toString('base64');

describe('AsrClient.js in Chromium', { skip: !existsSync(CHROMIUM), timeout: 180_000 }, () => {
  let server;
  let page;

  before(async () => {
    server = new ScriptedServer();
    await server.start();
    page = await visit(await sharedBrowser(), server.url.replace('ws', 'http'));
    await page.evaluate((audio) => {
      window.wav = Uint8Array.from(atob(audio), (c) => c.charCodeAt(0));
    }, AUDIO);
  });
  after(async () => {
    await page.context().close();
    await server.stop();
  });

  beforeEach(() =>
    page.evaluate(async () => {
      const { AsrClient } = await import('/AsrClient.js');
      window.asr = new AsrClient(); // the page's own server
    }),
  );
  afterEach(async () => {
    assert.deepEqual(page.faults, []);
    await page.evaluate(() => window.asr.close());
  });

  test('a File becomes its transcript', async () => {
    const texts = await page.evaluate(async () => {
      const texts = [];
      for await (const { text } of window.asr.transcribe(new File([window.wav], 'a.wav')))
        texts.push(text);
      return texts;
    });
    assert.deepEqual(texts, [`${TEXT}。`]);
  });

  test('a compressed file is decoded by the browser', async () => {
    const state = await page.evaluate(async () => {
      // Records a tone with the browser's own encoder.
      const context = new AudioContext();
      const target = context.createMediaStreamDestination();
      const tone = new OscillatorNode(context, { frequency: 500 });
      tone.connect(target);
      tone.start();
      const recorder = new MediaRecorder(target.stream);
      const parts = [];
      const isRecorded = new Promise((resolve) => {
        recorder.ondataavailable = ({ data }) => parts.push(data) > 6 && resolve();
      });
      recorder.start(100); // a part every 100 ms
      await isRecorded;
      recorder.stop();
      await new Promise((resolve) => (recorder.onstop = resolve));
      await window.asr.start(new Blob(parts));
      await window.asr.done();
      return window.asr.state;
    });
    assert.equal(state, 'idle');
    assert.equal(server.tasks.at(-1).payload.parameters.format, 'pcm');
    assert.ok(server.tasks.at(-1).audio.length > 10_000);
  });

  test('an audio element is recognised until it ends', async () => {
    const durationMs = await page.evaluate(async () => {
      const element = new Audio(URL.createObjectURL(new Blob([window.wav])));
      const finished = new Promise((resolve) => window.asr.on('finished', resolve));
      await window.asr.start(element);
      await element.play();
      return (await finished).durationMs;
    });
    assert.ok(durationMs > 1300 && durationMs < 4000, `${durationMs} ms`);
  });

  test('a MediaStream is recognised until stop()', async () => {
    const live = await page.evaluate(async () => {
      const stream = await navigator.mediaDevices.getUserMedia({ audio: true });
      await window.asr.start(stream);
      await new Promise((resolve) => {
        window.asr.on('audio', ({ beginMs }) => beginMs >= 300 && resolve());
      });
      await window.asr.stop();
      return stream.getTracks()[0].readyState; // stop() ends only tracks that start() opened
    });
    assert.equal(live, 'live');
    assert.ok(server.tasks.at(-1).audio.length > 6000);
  });

  test('stop() ends the microphone it opened, cancel() too', async () => {
    await page.evaluate(async () => {
      window.tracks = [];
      const devices = navigator.mediaDevices;
      const real = devices.getUserMedia.bind(devices);
      devices.getUserMedia = async (wanted) => {
        const stream = await real(wanted);
        window.tracks.push(...stream.getTracks());
        return stream;
      };
      await window.asr.start('microphone');
      await window.asr.stop();
      await window.asr.start('microphone');
      window.asr.cancel();
    });
    assert.equal(await page.evaluate(() => window.tracks.length), 2);
    await page.waitForFunction(() => window.tracks.every((track) => track.readyState === 'ended'));
  });

  test('a worklet that cannot be loaded is an error that names it', async () => {
    const error = await page.evaluate(async () => {
      window.asr.workletUrl = '/no-such.js';
      return window.asr.start('microphone').catch(({ code, message }) => ({ code, message }));
    });
    assert.equal(error.code, 'unsupported');
    assert.match(error.message, /no-such\.js cannot be loaded: HTTP 404/);
    page.faults = page.faults.filter((fault) => !/404/.test(fault));
  });

  test('a worklet that cannot be loaded because the server is dead is no fault of the microphone', async () => {
    await server.stop();
    const error = await page.evaluate(() =>
      window.asr.start('microphone').catch(({ code, message }) => ({ code, message })),
    );
    assert.equal(error.code, 'server-away');
    page.faults = page.faults.filter((fault) => !/ERR_CONNECTION_REFUSED/.test(fault));
    await server.start();
  });

  test('the address of a page below a path keeps the path', async () => {
    const address = await page.evaluate(async () => {
      history.replaceState(null, '', '/asr/index.html');
      const { AsrClient } = await import('/AsrClient.js');
      return new AsrClient().url;
    });
    assert.match(address, /^ws:.*\d\/asr\/api-ws\/v1\/inference$/);
  });
});
