// Shows which server and model answer, and what the demo model recognises.

import { t } from './i18n.js';

/** The command as it is typed where the server runs; the notice of the demo model ends in it. */
const COMMAND = /: (.+) models download$/;

/**
 * @param {(id: string) => any} $ returns an element of the page by its id
 * @param {any} health what the server says of itself; undefined before the answer, null without one
 * @param {{http: URL} | null} address
 */
export function showServer($, health, address) {
  const link = $('model-name');
  if (health === undefined) {
    link.textContent = t('model.checking');
    return;
  }
  const isDemo = Boolean(health?.notice); // only the demo model has one
  $('model').dataset.state = health ? (isDemo ? 'demo' : 'ok') : 'away';
  const device = document.createElement('span');
  device.className = 'device';
  device.textContent = health?.device ? ` · ${health.device}` : '';
  const name = isDemo ? t('model.demo') : health?.model;
  link.replaceChildren(health ? name : t('model.away'), device);
  link.title = health ? t('model.status') : '';
  if (health) link.href = String(new URL('status', address.http));
  else link.removeAttribute('href');
  $('demo-notice').hidden = !isDemo;
  const command = COMMAND.exec(health?.notice)?.[1] ?? 'asr-server';
  $('demo-commands').textContent = `${command} models download\n${command} serve`;
  $('second-pass').hidden = health?.second_pass !== 'on';
  fillList($('demo-can'), t('demo.can'));
  fillList($('demo-cannot'), t('demo.cannot'));
}

function fillList(list, lines) {
  list.replaceChildren(
    ...lines.map((line) => {
      const item = document.createElement('li');
      item.textContent = line;
      return item;
    }),
  );
}
