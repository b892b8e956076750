// Reads a file that the user chose or dropped, and refuses one that holds no audio.

import { formatOf } from '../AsrClient.js';

const RAW = /\.(pcm|raw|s16le)$/i;
const RATE = 16_000;

/** A file that cannot be recognised; `code` names the text of the error. */
export class FileError extends Error {
  constructor(code, name) {
    super(name);
    this.code = code;
  }
}

/**
 * Return the source and the options for AsrClient.start().
 *
 * A file is raw PCM only if its name says so: any other bytes would be recognised as noise.
 * @param {File} file
 */
export async function readAudio(file) {
  const data = await file.arrayBuffer().catch(() => {
    throw new FileError('unreadable', file.name); // a folder, or deleted meanwhile
  });
  if (data.byteLength === 0) throw new FileError('empty-file', file.name);
  if (RAW.test(file.name)) return { source: data, options: { format: 'pcm' } };
  if (formatOf(new Uint8Array(data)) !== 'pcm') return { source: data, options: {} };
  return { source: await decode(data, file.name), options: {} };
}

/** Decode what only the browser may know, as one-second blocks of samples. */
async function decode(data, name) {
  try {
    const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(data);
    const samples = decoded.getChannelData(0);
    const blocks = [];
    for (let at = 0; at < samples.length; at += RATE) blocks.push(samples.slice(at, at + RATE));
    return blocks;
  } catch {
    throw new FileError('not-audio', name);
  }
}

/**
 * Take files that are dropped anywhere on the page.
 * @param {HTMLElement} target shows the hint @param {() => boolean} isIdle
 * @param {(file: File | undefined) => void} onFile
 */
export function acceptDrops(target, isIdle, onFile) {
  let depth = 0; // of the elements that the pointer has entered
  const show = (change) => {
    depth = Math.max(0, depth + change);
    target.classList.toggle('dropping', depth > 0 && isIdle());
  };
  addEventListener('dragenter', () => show(1));
  addEventListener('dragleave', () => show(-1));
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', (event) => {
    event.preventDefault();
    show(-depth);
    onFile(event.dataTransfer.files[0]);
  });
}
