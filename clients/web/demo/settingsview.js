// The dialog of the settings, and the switches of language and appearance.

import { language, t, translate } from './i18n.js';
import { ownServer } from './server.js';

const THEMES = ['auto', 'light', 'dark'];

export class SettingsView {
  /**
   * @param {{dialog: HTMLDialogElement, form: HTMLFormElement, reset: HTMLElement,
   *   language: HTMLElement, theme: HTMLElement}} parts
   * @param {import('./settings.js').Settings} settings
   * @param {{onServer: () => void, onLanguage: () => void, onTheme: () => void}} page
   */
  constructor(parts, settings, page) {
    Object.assign(this, parts);
    this.settings = settings;
    this.page = page;
    this.form.elements.url.placeholder = ownServer();
    settings.bind(this.form, (name) => name === 'url' && page.onServer());
    // Typed letter by letter: each would be a wrong key.
    this.form.elements.key.addEventListener('change', () => page.onServer());
    this.reset.addEventListener('click', () => {
      settings.reset();
      settings.show();
      page.onServer();
    });
    this.language.addEventListener('click', () => {
      settings.set('language', language() === 'zh' ? 'en' : 'zh');
      this.showLanguage();
    });
    this.theme.addEventListener('click', () => {
      settings.set('theme', THEMES[(THEMES.indexOf(settings.values.theme) + 1) % THEMES.length]);
      this.showTheme();
    });
  }

  open() {
    this.#listDevices();
    this.dialog.showModal();
  }

  showLanguage() {
    const browser = navigator.language.startsWith('zh') ? 'zh' : 'en';
    translate(this.settings.values.language ?? browser);
    this.language.textContent = language() === 'zh' ? 'EN' : '中文';
    this.language.lang = language() === 'zh' ? 'en' : 'zh-CN';
    this.form.elements.device.options[0]?.replaceChildren(t('device.default'));
    this.showTheme();
    this.page.onLanguage();
  }

  showTheme() {
    const { theme } = this.settings.values;
    if (theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    const label = t('theme', t(`theme.${theme}`));
    this.theme.setAttribute('aria-label', label);
    this.theme.title = label;
    this.page.onTheme();
  }

  async #listDevices() {
    const select = this.form.elements.device;
    const devices = (await navigator.mediaDevices?.enumerateDevices().catch(() => [])) ?? [];
    const options = devices
      .filter(({ kind, deviceId, label }) => kind === 'audioinput' && deviceId && label)
      .map(({ deviceId, label }) => new Option(label, deviceId));
    select.replaceChildren(new Option(t('device.default'), ''), ...options);
    select.value = this.settings.values.device;
  }
}
