// The server's addresses, and why it does not take a task: browsers give no reason.

import { PATH, websocketUrl } from '../AsrClient.js';

const LOCAL_SERVER = 'ws://127.0.0.1:8000'; // default of the page opened as a file
const TIMEOUT_MS = 4000;

/** Return the page's own server: the folder in which the page lies, so below any path. */
export function ownServer() {
  const isServed = location.protocol.startsWith('http');
  return isServed ? new URL('.', location.href).href.replace(/\/$/, '') : LOCAL_SERVER;
}

/**
 * Return the addresses of a server; null if the text is no address.
 * @param {string} text empty for the page's own server
 * @returns {{ws: URL, http: URL} | null} `http` is the folder of `healthz`, with any prefix
 */
export function addressOf(text) {
  try {
    const ws = new URL(websocketUrl(text.trim() || ownServer()));
    if (!/^wss?:$/.test(ws.protocol)) return null;
    const prefix = ws.pathname.replace(/\/+$/, '').replace(new RegExp(`${PATH}$`), '');
    ws.pathname = prefix + PATH;
    const http = new URL(`${prefix}/`, ws.href);
    http.protocol = ws.protocol.replace('ws', 'http');
    return { ws, http };
  } catch {
    return null;
  }
}

/** Whether the browser forbids the connection: a page over https may not use plain ws. */
export function isMixedContent({ ws }) {
  const isLocal = /^(localhost|127\.|\[::1\])/.test(ws.hostname);
  return location.protocol === 'https:' && ws.protocol === 'ws:' && !isLocal;
}

/** Return what the server says of itself. Raises an error if it cannot be reached. */
export async function readHealth({ http }) {
  const response = await request(new URL('healthz', http));
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  return response.json();
}

/**
 * Return why a connection failed: a browser tells a refused handshake from a dead server to nobody,
 * but the server's HTTP routes answer with their reason.
 * @returns {Promise<'server-away' | 'unauthorized' | 'key-missing' | 'busy' | 'not-ready' | 'refused'>}
 */
export async function diagnose({ http }, key) {
  try {
    await readHealth({ http });
  } catch {
    return 'server-away';
  }
  try {
    const headers = key ? { Authorization: `Bearer ${key}` } : {};
    const tokens = new URL('api/v1/tokens?expire_in_seconds=1', http);
    const { status } = await request(tokens, { method: 'POST', headers });
    if (status === 401) return key ? 'unauthorized' : 'key-missing';
    if (status === 429) return 'busy';
    const ready = await request(new URL('readyz', http));
    return ready.status === 503 ? 'not-ready' : 'refused';
  } catch {
    return 'refused'; // another origin, whose answers the browser keeps from the page
  }
}

function request(url, options = {}) {
  return fetch(url, { cache: 'no-store', signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
}
