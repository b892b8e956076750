// The transcript: an open sentence that each interim replaces, and finals with playable words.

const LOW_CONFIDENCE = 0.6; // words below are marked

export class Transcript {
  /**
   * @param {{list: HTMLElement, scroller: HTMLElement, empty: HTMLElement, toEnd: HTMLElement}} parts
   * @param {(fromMs: number, toMs: number) => void} onPlay
   */
  constructor(parts, onPlay) {
    Object.assign(this, parts);
    this.onPlay = onPlay;
    this.sentences = [];
    this.follow = true;
    this.list.addEventListener('click', (event) => this.#click(event));
    this.list.addEventListener('keydown', (event) => this.#key(event));
    this.scroller.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.toEnd.addEventListener('click', () => this.#scrollToEnd());
  }

  clear() {
    this.sentences = [];
    this.list.replaceChildren();
    this.open = null;
    this.empty.hidden = false;
    this.follow = true;
  }

  /** Replace the open sentence; only the text after the common prefix is animated. */
  showInterim({ text, beginMs }) {
    this.empty.hidden = true;
    this.open ??= this.#append('open', beginMs);
    const body = this.open.lastElementChild;
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
    this.open = null;
    if (!sentence.text) {
      item.remove();
      this.empty.hidden = this.sentences.length > 0;
      return;
    }
    this.empty.hidden = true;
    this.sentences.push(sentence);
    item.className = 'final';
    item.firstElementChild.textContent = clock(sentence.beginMs);
    item.firstElementChild.dataset.index = String(this.sentences.length - 1);
    item.lastElementChild.replaceChildren(...this.#words(sentence));
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

  #append(className, beginMs) {
    const item = document.createElement('li');
    item.className = className;
    const time = document.createElement('button');
    time.type = 'button';
    time.className = 'stamp';
    time.textContent = clock(beginMs);
    const body = document.createElement('p');
    body.lang = 'zh-CN';
    item.append(time, body);
    this.list.append(item);
    return item;
  }

  #words(sentence) {
    if (sentence.words.length === 0) return [document.createTextNode(sentence.text)];
    return sentence.words.map((word, i) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.className = 'word';
      button.textContent = word.text;
      button.dataset.beginMs = word.beginMs;
      button.dataset.endMs = word.endMs;
      // One tab stop per sentence; the arrow keys move between words.
      button.tabIndex = i === 0 ? 0 : -1;
      if (word.confidence !== null && word.confidence < LOW_CONFIDENCE)
        button.classList.add('doubt');
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
    if (target.classList.contains('word')) {
      this.onPlay(Number(target.dataset.beginMs), Number(target.dataset.endMs));
    } else if (target.classList.contains('stamp') && target.dataset.index) {
      const { beginMs, endMs } = this.sentences[target.dataset.index];
      this.onPlay(beginMs, endMs);
    }
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

/** @param {number} ms @returns {string} mm:ss */
export function clock(ms) {
  const seconds = Math.floor(ms / 1000);
  return `${String(Math.floor(seconds / 60)).padStart(2, '0')}:${String(seconds % 60).padStart(2, '0')}`;
}
