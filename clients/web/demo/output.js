// What leaves the page: the clipboard, and files of one transcript or of all.

import { toSrt, toTxt, toVtt } from '../AsrClient.js';
import { zip } from './zip.js';

const TYPES = {
  txt: 'text/plain',
  srt: 'application/x-subrip',
  vtt: 'text/vtt',
  json: 'application/json',
};
const WRITERS = {
  txt: toTxt,
  srt: toSrt,
  vtt: toVtt,
  json: (sentences) => JSON.stringify(sentences, null, 2),
};

/** @param {string} kind @param {import('../AsrClient.js').Sentence[]} sentences */
export function downloadTranscript(kind, sentences) {
  download(new Blob([WRITERS[kind](sentences)], { type: TYPES[kind] }), kind);
}

/**
 * Download all transcripts: one file, or for subtitles an archive, as each has times of its own.
 * @param {'txt' | 'srt' | 'json'} kind
 * @param {{title: string, createdAt: number, sentences: import('../AsrClient.js').Sentence[]}[]} all
 */
export function downloadAll(kind, all) {
  if (kind === 'srt') {
    const files = all.map(({ title, createdAt, sentences }) => [
      `${stamp(createdAt)} ${title
        .replace(/[\\/:*?"<>|\s]+/g, ' ')
        .slice(0, 40)
        .trim()}.srt`,
      toSrt(sentences),
    ]);
    return download(zip(files), 'zip');
  }
  const text =
    kind === 'json'
      ? JSON.stringify(all, null, 2)
      : all
          .map(
            ({ title, createdAt, sentences }) =>
              `${stamp(createdAt)} ${title}\n\n${toTxt(sentences)}`,
          )
          .join('\n\n');
  return download(new Blob([text], { type: TYPES[kind] }), kind);
}

/** @param {Blob} blob @param {string} extension */
export function download(blob, extension) {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = `asr-${stamp(Date.now())}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Copy a text; return whether it is on the clipboard. Pages over plain http have the old way only. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const field = document.createElement('textarea');
    field.value = text;
    field.className = 'hidden';
    document.body.append(field);
    field.select();
    const isCopied = document.execCommand('copy');
    field.remove();
    focused?.focus?.();
    return isCopied;
  }
}

/** @param {number} ms since 1970 @returns {string} local date and time for names of files */
function stamp(ms) {
  const local = new Date(ms - new Date(ms).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace(/[T:]/g, '-');
}
