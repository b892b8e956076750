// The alert above the transcript, which says what is wrong and what helps.

import { t } from './i18n.js';
import { addressOf, diagnose, ownServer } from './server.js';

const SETTINGS_HELP = new Set(['server-away', 'unauthorized', 'key-missing', 'refused']);

export class Alert {
  /** @param {{element: HTMLElement, text: HTMLElement, remedy: HTMLElement, close: HTMLElement}} parts */
  constructor(parts) {
    Object.assign(this, parts);
    this.close.addEventListener('click', () => this.hide());
  }

  get isShown() {
    return !this.element.hidden;
  }

  /** @param {string} text @param {boolean} [isForSettings] whether the settings may be the remedy */
  show(text, isForSettings = false) {
    this.text.textContent = text;
    this.remedy.hidden = !isForSettings;
    this.element.hidden = false;
  }

  hide() {
    this.element.hidden = true;
  }

  /**
   * Show why a stream failed.
   * @param {{code: string, message: string, serverCode?: string}} error
   * @param {{url: string, key: string}} settings
   */
  async showError({ code, message, serverCode }, { url, key }) {
    const address = addressOf(url);
    let reason = code;
    if (code === 'server-away' && address) reason = await diagnose(address, key);
    if (code === 'unsupported' && !isSecureContext) reason = 'insecure';
    if (serverCode === 'NO_VALID_AUDIO_ERROR') reason = 'no-audio';
    const values = {
      insecure: [location.origin, location.origin.replace(location.hostname, 'localhost')],
      'task-failed': [message],
      'bad-audio': [message],
    };
    const shown = values[reason] ?? [url || ownServer()];
    this.show(t(`error.${reason}`, ...shown), SETTINGS_HELP.has(reason));
  }
}
