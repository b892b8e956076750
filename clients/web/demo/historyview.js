// The dialog of all kept transcripts: open, rename, delete, export.

import { t } from './i18n.js';
import { downloadAll } from './output.js';
import { PENCIL, clock } from './transcript.js';

export class HistoryView {
  /**
   * @param {HTMLDialogElement} dialog
   * @param {import('./archive.js').Archive} archive
   * @param {import('./undo.js').Undo} undo
   * @param {{onOpen: (id: string) => void, onRemoved: (id: string) => void, isBusy: () => boolean}} page
   */
  constructor(dialog, archive, undo, page) {
    Object.assign(this, { dialog, archive, history: archive.history, undo, page });
    this.list = dialog.querySelector('ol');
    dialog.querySelector('.exports').addEventListener('click', ({ target }) => {
      if (target.dataset.all) this.#exportAll(target.dataset.all);
    });
  }

  async show() {
    await this.refresh();
    if (!this.dialog.open) this.dialog.showModal();
  }

  async refresh() {
    const entries = await this.history.list();
    this.list.replaceChildren(...entries.map((entry) => this.#row(entry)));
    this.dialog.querySelector('.none').hidden = entries.length > 0;
    this.dialog.querySelector('.note').textContent = t(
      this.history.isKept ? 'history.about' : 'history.forbidden',
    );
    for (const button of this.dialog.querySelectorAll('[data-all]')) {
      button.disabled = entries.length === 0;
    }
  }

  #row(entry) {
    const row = document.createElement('li');
    const open = document.createElement('button');
    Object.assign(open, { type: 'button', className: 'entry', disabled: this.page.isBusy() });
    const title = document.createElement('strong');
    title.textContent = titleOf(entry);
    const about = document.createElement('small');
    about.textContent = [
      new Date(entry.createdAt).toLocaleString(document.documentElement.lang, {
        dateStyle: innerWidth < 600 ? 'short' : 'medium',
        timeStyle: 'short',
      }),
      clock(entry.durationMs),
      t('history.characters', entry.characters),
    ].join(' · ');
    open.append(title, about);
    open.addEventListener('click', () => {
      this.dialog.close();
      this.page.onOpen(entry.id);
    });
    row.append(
      open,
      button('rename', PENCIL, () => this.#rename(row, entry)),
      button('delete', BIN, () => this.#remove(entry)),
    );
    row.lastElementChild.disabled = this.page.isBusy();
    return row;
  }

  #rename(row, entry) {
    const field = document.createElement('input');
    Object.assign(field, { type: 'text', value: titleOf(entry), maxLength: 120 });
    field.setAttribute('aria-label', t('history.rename'));
    row.firstElementChild.replaceWith(field);
    field.select();
    let isDone = false;
    const finish = async (isWanted) => {
      if (isDone) return;
      isDone = true;
      const title = field.value.trim();
      if (isWanted && title && title !== titleOf(entry)) {
        await this.archive.rename(entry, title);
        this.undo.offer(t('undo.renamed'), async () => {
          await this.archive.rename(entry, entry.title);
          await this.refresh();
        });
      }
      await this.refresh();
    };
    field.addEventListener('blur', () => finish(true));
    field.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' && event.key !== 'Escape') return;
      event.preventDefault(); // neither closes the dialog
      finish(event.key === 'Enter');
    });
  }

  async #remove(entry) {
    const sentences = await this.history.sentences(entry.id);
    await this.history.remove(entry.id, sentences);
    this.page.onRemoved(entry.id);
    await this.refresh();
    this.undo.offer(t('undo.deleted', titleOf(entry)), async () => {
      await this.history.save(entry, sentences);
      await this.refresh();
    });
  }

  async #exportAll(kind) {
    const entries = await this.history.list();
    const all = await Promise.all(
      entries.map(async (entry) => ({
        title: titleOf(entry),
        createdAt: entry.createdAt,
        durationMs: entry.durationMs,
        sentences: await this.history.sentences(entry.id),
      })),
    );
    downloadAll(kind, all);
  }
}

/** @param {import('./history.js').Entry} entry */
function titleOf({ title, source, preview }) {
  return title || source || preview || t('history.untitled');
}

const BIN = 'M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7';

function button(name, path, onClick) {
  const made = document.createElement('button');
  Object.assign(made, { type: 'button', className: `tool ${name}`, title: t(`history.${name}`) });
  made.setAttribute('aria-label', t(`history.${name}`));
  made.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true"><path d="${path}" /></svg>`;
  made.addEventListener('click', onClick);
  return made;
}
