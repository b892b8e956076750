// Keeps all transcripts in this browser: in IndexedDB, or until the page closes where that is forbidden.

const NAME = 'asr-demo';
const ENTRIES = 'transcripts'; // by id
const SENTENCES = 'sentences'; // by [id of the transcript, index]

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {string} title given by the user, or ''
 * @property {string} source name of the file, or ''
 * @property {number} createdAt ms since 1970
 * @property {number} durationMs
 * @property {string} preview the first sentence
 * @property {number} sentences their number
 * @property {number} characters their number
 * @property {import('./session.js').Measures} [measures]
 */

/** @typedef {import('../AsrClient.js').Sentence} Sentence */

export class History {
  /** Whether the transcripts outlive the page. */
  isKept = true;
  #memory = { [ENTRIES]: new Map(), [SENTENCES]: new Map() };
  /** @type {Promise<IDBDatabase | null>} */
  #database = open().catch(() => {
    this.isKept = false;
    return null;
  });

  /** @returns {Promise<Entry[]>} the newest first */
  async list() {
    const entries = await this.#all(ENTRIES);
    return entries.sort((a, b) => b.createdAt - a.createdAt);
  }

  /** @returns {Promise<Entry | undefined>} */
  async entry(id) {
    return (await this.#all(ENTRIES)).find((entry) => entry.id === id);
  }

  /** @param {string} id @returns {Promise<Sentence[]>} */
  async sentences(id) {
    const records = await this.#all(SENTENCES, id);
    return records.map(({ sentence }) => sentence).sort((a, b) => a.index - b.index);
  }

  /**
   * Write an entry, and those of its sentences that are new, changed, or removed.
   * @param {Entry} entry @param {Sentence[]} [changed] @param {Sentence[]} [removed]
   */
  save(entry, changed = [], removed = []) {
    const { id } = entry;
    return this.#write([
      [ENTRIES, id, entry],
      ...changed.map((sentence) => [
        SENTENCES,
        [id, sentence.index],
        { transcript: id, index: sentence.index, sentence },
      ]),
      ...removed.map(({ index }) => [SENTENCES, [id, index], null]),
    ]);
  }

  /** @param {string} id @param {Sentence[]} sentences all that it has */
  remove(id, sentences) {
    return this.#write([
      [ENTRIES, id, null],
      ...sentences.map(({ index }) => [SENTENCES, [id, index], null]),
    ]);
  }

  async #all(store, id) {
    const database = await this.#database;
    if (!database) {
      const all = [...this.#memory[store].values()];
      return structuredClone(id === undefined ? all : all.filter((r) => r.transcript === id));
    }
    const range = id === undefined ? undefined : IDBKeyRange.bound([id], [id, []]);
    return result(database.transaction(store).objectStore(store).getAll(range));
  }

  /** @param {any[][]} changes [store, key, value], null to delete; all of them or none */
  async #write(changes) {
    const database = await this.#database;
    if (!database) {
      for (const [store, key, value] of changes) {
        if (value) this.#memory[store].set(String(key), structuredClone(value));
        else this.#memory[store].delete(String(key));
      }
      return;
    }
    const transaction = database.transaction([ENTRIES, SENTENCES], 'readwrite');
    for (const [store, key, value] of changes) {
      if (value) transaction.objectStore(store).put(value);
      else transaction.objectStore(store).delete(key);
    }
    await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(undefined);
      transaction.onabort = () => reject(transaction.error);
      transaction.commit?.(); // a page that closes now does not wait for it
    });
  }
}

async function open() {
  const request = indexedDB.open(NAME, 1);
  request.onupgradeneeded = () => {
    request.result.createObjectStore(ENTRIES, { keyPath: 'id' });
    request.result.createObjectStore(SENTENCES, { keyPath: ['transcript', 'index'] });
  };
  return result(request);
}

/** @template T @param {IDBRequest<T>} request @returns {Promise<T>} */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/** @param {Sentence[]} sentences @returns the figures of an entry */
export function summary(sentences) {
  return {
    preview: sentences[0]?.text ?? '',
    sentences: sentences.length,
    characters: sentences.reduce((sum, { text }) => sum + text.length, 0),
  };
}

/**
 * Return a sentence with another text. Words before and after the change keep their times.
 * @param {Sentence} sentence @param {string} text @returns {Sentence}
 */
export function edited(sentence, text) {
  const parts = sentence.words.map((word) => word.text + word.punctuation);
  if (parts.join('') !== sentence.text) return { ...sentence, text, words: [] };
  let head = 0;
  let at = 0;
  while (head < parts.length && text.startsWith(parts[head], at)) at += parts[head++].length;
  let tail = parts.length;
  let end = text.length;
  while (tail > head && end - parts[tail - 1].length >= at) {
    if (!text.slice(at, end).endsWith(parts[tail - 1])) break;
    end -= parts[--tail].length;
  }
  const changed = text.slice(at, end);
  const beginMs = sentence.words[head - 1]?.endMs ?? sentence.beginMs;
  const endMs = sentence.words[tail]?.beginMs ?? sentence.endMs ?? beginMs;
  const word = { beginMs, endMs, text: changed, punctuation: '', confidence: null };
  const words = [
    ...sentence.words.slice(0, head),
    ...(changed ? [word] : []),
    ...sentence.words.slice(tail),
  ];
  return { ...sentence, text, words };
}
