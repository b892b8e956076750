// The user's settings, stored in this browser, except the API key.

import { DEFAULT_MODEL } from '../AsrClient.js';

const STORE = 'asr-demo';

const DEFAULTS = {
  language: null, // until chosen, the browser's
  theme: 'auto',
  silence: 800,
  punctuation: true,
  itn: true,
  fillers: false,
  confidence: true,
  secondPass: true,
  hotwords: '',
  device: '',
  realtime: false,
  aloud: true,
  url: '',
  key: '',
  model: DEFAULT_MODEL,
};

export class Settings {
  constructor() {
    this.values = { ...DEFAULTS, ...read() };
    this.values.key = keyInAddress();
  }

  set(name, value) {
    this.values[name] = value;
    const { key, ...kept } = this.values;
    try {
      localStorage.setItem(STORE, JSON.stringify(kept));
    } catch {
      // private windows may forbid storage: the settings then last until the page closes
    }
  }

  reset() {
    const { language, theme } = this.values;
    for (const [name, value] of Object.entries({ ...DEFAULTS, language, theme }))
      this.set(name, value);
  }

  /** The parameters of the task, without those that equal the server's default. */
  get parameters() {
    const { silence, punctuation, itn, fillers, confidence, secondPass, hotwords } = this.values;
    const words = parseHotwords(hotwords);
    return {
      ...(silence !== 800 && { max_sentence_silence: silence }),
      ...(!punctuation && { punctuation_prediction_enabled: false }),
      ...(!itn && { inverse_text_normalization_enabled: false }),
      ...(fillers && { disfluency_removal_enabled: true }),
      ...(confidence && { word_confidence_enabled: true }),
      ...(!secondPass && { second_pass_enabled: false }),
      ...(Object.keys(words).length > 0 && { vocabulary: words }),
    };
  }

  /** Show the values in a form, and take over what is changed there. */
  bind(form, onChange) {
    this.form = form;
    form.addEventListener('input', ({ target }) => {
      const value = target.type === 'checkbox' ? target.checked : target.value;
      this.set(target.name, target.type === 'range' ? Number(value) : value);
      this.show();
      onChange(target.name);
    });
    this.show();
  }

  show() {
    for (const field of this.form.elements) {
      if (!(field.name in this.values)) continue;
      if (field.type === 'checkbox') field.checked = this.values[field.name];
      else if (field !== document.activeElement || field.type === 'range') {
        field.value = this.values[field.name];
      }
      if (field.type === 'range') field.nextElementSibling.value = `${field.value} ms`;
    }
  }
}

function read() {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? '{}');
  } catch {
    return {};
  }
}

/** Return the key in the fragment of the address, `#key=...`, where the QR code puts it. */
function keyInAddress() {
  return new URLSearchParams(location.hash.slice(1)).get('key') ?? '';
}

/** @param {string} text one hotword per line, optionally with a weight */
function parseHotwords(text) {
  const words = {};
  for (const line of text.split('\n')) {
    const [, word, weight] = /^\s*(.*?)(?:[\s:：]+(\d+))?\s*$/.exec(line);
    if (word) words[word] = Math.min(5, Math.max(1, Number(weight ?? 4)));
  }
  return words;
}
