// Plays the recording of the session, and shows the position in the waveform and the transcript.

import { t } from './i18n.js';

export class Player {
  /**
   * @param {{waveform: import('./waveform.js').Waveform, transcript: import('./transcript.js').Transcript,
   *   button: HTMLElement, label: HTMLElement}} parts
   * @param {{canPlay: () => boolean, onMove: () => void}} page
   */
  constructor({ waveform, transcript, button, label }, page) {
    Object.assign(this, { waveform, transcript, button, label, page });
    button.addEventListener('click', () => this.toggle());
    waveform.element.addEventListener('keydown', (event) => this.#seek(event));
    waveform.element.addEventListener('click', ({ clientX }) => {
      this.play(waveform.timeAt(clientX), this.recording.durationMs);
    });
  }

  get recording() {
    return this.waveform.recording;
  }

  play(fromMs, toMs) {
    if (!this.page.canPlay()) return;
    this.recording.play(fromMs, toMs, () => {
      this.waveform.headMs = null;
      this.transcript.highlight(null);
      this.show();
      this.waveform.refresh();
      this.page.onMove();
    });
    this.show();
    this.#follow();
  }

  toggle() {
    if (this.recording.isPlaying) this.recording.stop();
    else this.play(0, this.recording.durationMs);
  }

  show() {
    this.label.textContent = t(this.recording.isPlaying ? 'pause' : 'play');
    this.button.classList.toggle('on', this.recording.isPlaying);
  }

  #follow() {
    const { positionMs } = this.recording;
    if (positionMs === null) return;
    this.waveform.headMs = positionMs;
    this.waveform.refresh();
    this.transcript.highlight(positionMs);
    this.page.onMove();
    requestAnimationFrame(() => this.#follow());
  }

  #seek(event) {
    const steps = { ArrowRight: 1000, ArrowLeft: -1000, Home: -Infinity };
    if (!this.page.canPlay()) return;
    const { durationMs } = this.recording;
    if (event.key in steps) {
      event.preventDefault();
      const now = this.recording.positionMs ?? this.waveform.headMs ?? 0;
      this.play(Math.max(0, Math.min(durationMs - 100, now + steps[event.key])), durationMs);
    } else if (event.key === 'Enter') {
      this.toggle();
    }
  }
}
