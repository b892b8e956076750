// The transcript: an open sentence that each interim replaces, and finals with playable words, which
// can be edited.

import { t } from './i18n.js';
import { replaced } from './revisions.js';
import { plain } from './truth.js';

const LOW_CONFIDENCE = 0.6; // words below are marked
const FAIR_CONFIDENCE = 0.85; // words below are marked more faintly
export const PENCIL =
  'm4 20 .9-4.2L15.6 5.1a1.9 1.9 0 0 1 2.7 0l.6.6a1.9 1.9 0 0 1 0 2.7L8.2 19.1z';

export class Transcript {
  /**
   * @param {{list: HTMLElement, scroller: HTMLElement, empty: HTMLElement, toEnd: HTMLElement}} parts
   * @param {{onPlay: (fromMs: number, toMs: number) => void,
   *   onEdit: (sentence: import('../AsrClient.js').Sentence, text: string) => void}} page
   */
  constructor(parts, page) {
    Object.assign(this, parts);
    this.page = page;
    this.sentences = [];
    this.isPlayable = true;
    this.follow = true;
    this.list.addEventListener('click', (event) => this.#click(event));
    this.list.addEventListener('keydown', (event) => this.#key(event));
    this.scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.toEnd.addEventListener('click', () => this.#scrollToEnd());
  }

  /**
   * Show the sentences of a session, and add its finals to them.
   * @param {import('../AsrClient.js').Sentence[]} sentences
   * @param {boolean} isPlayable whether there is a recording
   */
  load(sentences, isPlayable) {
    this.sentences = sentences;
    this.isPlayable = isPlayable;
    this.list.replaceChildren();
    this.open = null;
    this.follow = true;
    for (const sentence of sentences) this.#fill(this.#append('', sentence.beginMs), sentence);
    this.empty.hidden = sentences.length > 0;
  }

  /** Replace the open sentence; only the text after the common prefix is animated. */
  showInterim({ text, beginMs }) {
    this.empty.hidden = true;
    this.open ??= this.#append('open', beginMs);
    const body = this.open.querySelector('p');
    const before = body.textContent;
    let common = 0;
    while (common < text.length && text[common] === before[common]) common += 1;
    const stable = document.createElement('span');
    const fresh = document.createElement('span');
    stable.textContent = text.slice(0, common);
    fresh.textContent = text.slice(common);
    fresh.className = 'fresh';
    body.replaceChildren(stable, fresh);
    this.#followEnd();
  }

  showFinal(sentence) {
    const item = this.open ?? this.#append('', sentence.beginMs);
    const interim = item.querySelector('p').textContent;
    this.open = null;
    if (!sentence.text) {
      item.remove();
      this.empty.hidden = this.sentences.length > 0;
      return;
    }
    this.empty.hidden = true;
    this.sentences.push(sentence);
    this.#fill(item, sentence);
    if (interim) markCorrections(item, interim, sentence.text);
    this.#followEnd();
  }

  /** Remove the open sentence: the stream failed and sends no final. */
  dropOpen() {
    this.open?.remove();
    this.open = null;
    this.empty.hidden = this.sentences.length > 0;
  }

  /** Mark the word under the playback position; null marks none. */
  highlight(ms) {
    const word = ms === null ? null : this.#wordAt(ms);
    if (word === this.lit) return;
    this.lit?.classList.remove('lit');
    word?.classList.add('lit');
    this.lit = word;
  }

  #fill(item, sentence) {
    item.className = 'final';
    item.dataset.index = String(sentence.index);
    const [stamp] = item.children;
    stamp.textContent = clock(sentence.beginMs);
    stamp.disabled = !this.isPlayable;
    item.querySelector('p').replaceChildren(...this.#words(sentence));
    item.querySelector('.edit').hidden = false;
  }

  #append(className, beginMs) {
    const item = document.createElement('li');
    item.className = className;
    const time = document.createElement('button');
    time.type = 'button';
    time.className = 'stamp';
    time.textContent = clock(beginMs);
    const body = document.createElement('p');
    body.lang = 'zh-CN';
    const edit = document.createElement('button');
    Object.assign(edit, { type: 'button', className: 'tool edit', hidden: true, title: t('edit') });
    edit.setAttribute('aria-label', t('edit'));
    edit.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${PENCIL}" /></svg>`;
    item.append(time, body, edit);
    this.list.append(item);
    return item;
  }

  #words(sentence) {
    if (sentence.words.length === 0 || !this.isPlayable)
      return [document.createTextNode(sentence.text)];
    return sentence.words.map((word, i) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'word';
      button.textContent = word.text;
      button.dataset.beginMs = word.beginMs;
      button.dataset.endMs = word.endMs;
      // One tab stop per sentence; the arrow keys move between words.
      button.tabIndex = i === 0 ? 0 : -1;
      if (word.confidence !== null) {
        button.title = t('confidence', Math.round(100 * word.confidence));
        button.classList.toggle('doubt', word.confidence < LOW_CONFIDENCE);
        button.classList.toggle('fair', isFair(word.confidence));
      }
      const unit = document.createElement('span');
      unit.className = 'unit'; // keeps punctuation on the line of its word
      unit.append(button, word.punctuation);
      return unit;
    });
  }

  #wordAt(ms) {
    const words = this.list.querySelectorAll('.word');
    return [...words].find(({ dataset }) => ms >= dataset.beginMs && ms < dataset.endMs) ?? null;
  }

  #click({ target }) {
    const item = target.closest('.final');
    const sentence = this.sentences.find(({ index }) => String(index) === item?.dataset.index);
    if (!sentence) return;
    if (target.classList.contains('word')) {
      this.page.onPlay(Number(target.dataset.beginMs), Number(target.dataset.endMs));
    } else if (target.classList.contains('stamp')) {
      this.page.onPlay(sentence.beginMs, sentence.endMs);
    } else if (target.closest('.edit')) {
      this.#edit(item, sentence);
    }
  }

  /** Replace the sentence by a field: Enter or leaving it keeps the text, Escape does not. */
  #edit(item, sentence) {
    const body = item.querySelector('p');
    const field = document.createElement('textarea');
    Object.assign(field, { value: sentence.text, rows: 1, lang: 'zh-CN', spellcheck: false });
    field.setAttribute('aria-label', t('edit'));
    const fit = () => {
      field.style.height = 'auto';
      field.style.height = `${field.scrollHeight}px`;
    };
    let isDone = false;
    const finish = (isWanted) => {
      if (isDone) return;
      isDone = true;
      field.replaceWith(body);
      const text = field.value.replace(/\s*\n\s*/g, '').trim();
      if (isWanted && text !== sentence.text) this.page.onEdit(sentence, text);
      this.list.querySelector(`[data-index="${sentence.index}"] .edit`)?.focus();
    };
    field.addEventListener('input', fit);
    field.addEventListener('blur', () => finish(true));
    field.addEventListener('keydown', (event) => {
      event.stopPropagation();
      const isEnd = (event.key === 'Enter' && !event.isComposing) || event.key === 'Escape';
      if (!isEnd) return;
      event.preventDefault();
      finish(event.key === 'Enter');
    });
    body.replaceWith(field);
    fit();
    field.focus();
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step || !event.target.classList.contains('word')) return;
    const words = [...this.list.querySelectorAll('.word')];
    const next = words[words.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.follow = scrollHeight - scrollTop - clientHeight < 48;
    this.toEnd.hidden = this.follow;
  }

  #followEnd() {
    if (this.follow) this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  #scrollToEnd() {
    this.follow = true;
    this.toEnd.hidden = true;
    this.scroller.scrollTo({ top: this.scroller.scrollHeight, behavior: 'smooth' });
  }
}

function isFair(confidence) {
  return confidence >= LOW_CONFIDENCE && confidence < FAIR_CONFIDENCE;
}

/** Mark the words of a final that differ from what the last interim showed. */
function markCorrections(item, interim, text) {
  const before = replaced(interim, text);
  for (const word of item.querySelectorAll('.word')) {
    const own = before.splice(0, plain(word.textContent).length);
    const was = own.filter((each) => each !== null);
    if (was.length === 0) continue;
    const about = was.join('') ? t('corrected', was.join('')) : t('corrected.added');
    word.classList.add('corrected');
    word.title = [about, word.title].filter(Boolean).join(' · ');
  }
}

/** @param {number} ms @returns {string} mm:ss */
export function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`;
}
