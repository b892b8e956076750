// Keeps sessions in the history while they run, and brings them back.

import { edited, summary } from './history.js';
import { labelOf } from './samples.js';
import { Session } from './session.js';

const SHOWN_SESSION = 'asr-demo.shown'; // in sessionStorage: what a reload shows again

/** @typedef {import('../AsrClient.js').Sentence} Sentence */
/** @typedef {import('./history.js').Entry} Entry */

export class Archive {
  /**
   * Entries that this page has written: known without a read, so that a change is on its way to the
   * disk before the page can be closed.
   * @type {Map<string, Entry>}
   */
  #entries = new Map();

  /**
   * @param {import('./history.js').History} history
   * @param {(error: Error) => void} onFailure called if the browser stores nothing
   */
  constructor(history, onFailure) {
    this.history = history;
    this.onFailure = onFailure;
  }

  /**
   * Write a session with those of its sentences that are new or have changed.
   * @param {Session} session @param {Sentence[]} changed @param {Sentence[]} [removed]
   */
  keep(session, changed, removed = []) {
    const { createdAt, sentences, recording, source, sample } = session;
    const id = (session.id ??= newId());
    const entry = this.#entries.get(id) ?? {
      id,
      title: '',
      source: sample ? labelOf(sample) : source === 'microphone' ? '' : source,
      createdAt,
      durationMs: 0,
    };
    const durationMs = Math.round(recording.durationMs) || entry.durationMs;
    const { measures } = session;
    return this.#save({ ...entry, durationMs, measures, ...summary(sentences) }, changed, removed);
  }

  /** @param {Entry} entry @param {string} title */
  rename(entry, title) {
    return this.#save({ ...entry, ...this.#entries.get(entry.id), title });
  }

  /** @param {string} id @returns {Promise<Session | null>} without its audio, which is not kept */
  async read(id) {
    const [entry, sentences] = await Promise.all([
      this.history.entry(id),
      this.history.sentences(id),
    ]);
    if (!entry) return null;
    this.#entries.set(id, entry);
    const session = new Session({ source: entry.source });
    const past = entry.measures ?? { first: null, final: null, revised: null };
    return Object.assign(session, { id, sentences, createdAt: entry.createdAt, past });
  }

  /**
   * Give a sentence another text; an empty one removes it.
   * @param {Session} session @param {Sentence} sentence @param {string} text
   */
  edit(session, sentence, text) {
    this.#replace(session, sentence, text ? edited(sentence, text) : null);
  }

  /** Put a sentence back as it was. @param {Session} session @param {Sentence} sentence */
  revert(session, sentence) {
    this.#replace(session, sentence, sentence);
  }

  #replace(session, sentence, next) {
    const { sentences } = session;
    const at = sentences.findIndex(({ index }) => index >= sentence.index);
    const place = at < 0 ? sentences.length : at;
    const isThere = sentences[place]?.index === sentence.index;
    sentences.splice(place, Number(isThere), ...(next ? [next] : []));
    this.keep(session, next ? [next] : [], next ? [] : [sentence]);
  }

  async #save(entry, changed = [], removed = []) {
    this.#entries.set(entry.id, entry);
    await this.history.save(entry, changed, removed).catch(this.onFailure);
  }
}

function newId() {
  // crypto.randomUUID exists only in secure contexts, not in a page over plain http.
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 10)}`;
}

/** Note in this tab which entry is shown, for a reload. @param {string | null} id */
export function rememberShown(id) {
  try {
    if (id) sessionStorage.setItem(SHOWN_SESSION, id);
    else sessionStorage.removeItem(SHOWN_SESSION);
  } catch {
    // storage may be forbidden: a reload then shows an empty page
  }
}

/** @returns {string | null} */
export function lastShown() {
  try {
    return sessionStorage.getItem(SHOWN_SESSION);
  } catch {
    return null;
  }
}
