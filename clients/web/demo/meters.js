// The figures beside and below the transcript: level, time, latencies, characters.

import { t } from './i18n.js';
import { clock } from './transcript.js';

const QUIETEST_DB = -60;

export class Meters {
  /** @param {(id: string) => HTMLElement} element returns an element of the page by its id */
  constructor(element) {
    this.element = element;
  }

  showLevel({ rmsDb, peakDb }) {
    const share = (db) => Math.max(0, Math.min(1, 1 - db / QUIETEST_DB));
    const level = this.element('level');
    level.style.setProperty('--level', share(rmsDb));
    level.style.setProperty('--peak', share(peakDb));
    this.element('record').style.setProperty('--level', share(rmsDb));
    level.setAttribute('aria-valuenow', String(Math.round(Math.max(QUIETEST_DB, rmsDb))));
  }

  showSilence() {
    this.showLevel({ rmsDb: -100, peakDb: -100 });
  }

  /** @param {import('./recording.js').Recording} recording @param {number | null} headMs */
  showTime({ durationMs, positionMs }, headMs) {
    const ms = positionMs ?? headMs ?? durationMs;
    this.element('time').textContent = `${clock(ms)}.${Math.floor((ms % 1000) / 100)}`;
    const wave = this.element('wave');
    wave.setAttribute('aria-valuemax', String(Math.round(durationMs / 1000)));
    wave.setAttribute('aria-valuenow', String(Math.round(ms / 1000)));
    wave.setAttribute('aria-valuetext', clock(ms));
  }

  /** @param {import('./session.js').Session} session @param {number} [open] characters not final */
  showFigures(session, open = 0) {
    const shown = (ms, key) => (ms === null ? '–' : t(key, Math.round(ms)));
    const { first, final, revised } = session.measures;
    this.element('first-text').textContent = shown(first, 'ms');
    this.element('final-text').textContent = shown(final, 'ms.beyond');
    this.element('revised').textContent =
      revised === null ? '–' : t('revised.share', (100 * revised).toFixed(1));
    this.element('latency-about').textContent = t('latency.about', session.silenceMs);
    this.element('characters').textContent = String(session.text.length + open);
  }
}
