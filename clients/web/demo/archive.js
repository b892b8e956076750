// Keeps sessions in the history while they run, and brings them back.

import { edited, summary } from './history.js';
import { labelOf } from './samples.js';
import { Session } from './session.js';

const SHOWN_SESSION = 'asr-demo.shown'; // in sessionStorage: what a reload shows again

/** @typedef {import('../AsrClient.js').Sentence} Sentence */

export class Archive {
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
   * @param {Session} session @param {Sentence[]} changed
   */
  async keep(session, changed) {
    const { createdAt, sentences, recording, source, sample } = session;
    const id = (session.id ??= newId());
    try {
      const entry = (await this.history.entry(id)) ?? {
        title: '',
        source: sample ? labelOf(sample) : source === 'microphone' ? '' : source,
      };
      const durationMs = Math.round(recording.durationMs) || entry.durationMs;
      await this.history.save(
        { ...entry, id, createdAt, durationMs, ...summary(sentences) },
        changed,
      );
    } catch (error) {
      this.onFailure(error);
    }
  }

  /** @param {string} id @returns {Promise<Session | null>} without its audio, which is not kept */
  async read(id) {
    const [entry, sentences] = await Promise.all([
      this.history.entry(id),
      this.history.sentences(id),
    ]);
    if (!entry) return null;
    const session = new Session({ source: entry.source });
    return Object.assign(session, { id, sentences, createdAt: entry.createdAt });
  }

  /**
   * Give a sentence another text; an empty one removes it.
   * @param {Session} session @param {Sentence} sentence @param {string} text
   */
  edit(session, sentence, text) {
    this.#replace(session, sentence.index, text ? edited(sentence, text) : null);
  }

  /** Put a sentence back as it was. @param {Session} session @param {Sentence} sentence */
  revert(session, sentence) {
    this.#replace(session, sentence.index, sentence);
  }

  #replace(session, index, next) {
    const { sentences } = session;
    const at = sentences.findIndex((each) => each.index >= index);
    const place = at < 0 ? sentences.length : at;
    sentences.splice(place, sentences[place]?.index === index ? 1 : 0, ...(next ? [next] : []));
    if (!next) this.history.removeSentence(session.id, index).catch(this.onFailure);
    this.keep(session, next ? [next] : []);
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
