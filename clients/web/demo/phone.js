// The QR code with which a phone opens this page, where the server speaks HTTPS to its network.

const ROUTE = 'page/phone'; // answers {url, qr: an image}

export class Phone {
  /**
   * @param {HTMLElement} button
   * @param {HTMLDialogElement} dialog with an image and a link
   * @param {() => string} key returns the API key, which the code carries to the phone
   */
  constructor(button, dialog, key) {
    Object.assign(this, { button, dialog, key });
    button.addEventListener('click', () => dialog.showModal());
  }

  /** Ask the server for the code, and show the button if it has one: only pages over https do. */
  async find() {
    if (location.protocol !== 'https:') return;
    const key = this.key();
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const answer = await fetch(new URL(ROUTE, location.href), { headers }).catch(() => null);
    this.button.hidden = !answer?.ok;
    if (!answer?.ok) return;
    const { url, qr } = await answer.json();
    this.dialog.querySelector('img').src = qr;
    const link = this.dialog.querySelector('a');
    Object.assign(link, { href: url, textContent: new URL(url).origin });
  }
}
