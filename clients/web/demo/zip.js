// Writes ZIP archives without compression (APPNOTE.TXT 4.3), for exports of many files.

const UTF8_NAMES = 0x0800; // general purpose flag

/** @param {[name: string, text: string][]} files @returns {Blob} */
export function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, text] of files) {
    const path = new TextEncoder().encode(name);
    const data = new TextEncoder().encode(text);
    const about = [20, UTF8_NAMES, 0, 0, 0x21, crc32(data), data.length, data.length, path.length];
    const local = fields([0x04034b50, 4], ...sized(about), [0, 2]);
    parts.push(local, path, data);
    directory.push(
      fields(
        [0x02014b50, 4],
        [20, 2],
        ...sized(about),
        [0, 2],
        [0, 2],
        [0, 2],
        [0, 2],
        [0, 4],
        [offset, 4],
      ),
      path,
    );
    offset += local.length + path.length + data.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const count = files.length;
  const end = fields(
    [0x06054b50, 4],
    [0, 2],
    [0, 2],
    [count, 2],
    [count, 2],
    [size, 4],
    [offset, 4],
    [0, 2],
  );
  return new Blob([...parts, ...directory, end], { type: 'application/zip' });
}

/** The fields that a file's two headers share, with their sizes. */
function sized(values) {
  const sizes = [2, 2, 2, 2, 2, 4, 4, 4, 2];
  return values.map((value, i) => [value, sizes[i]]);
}

/** @param {number[][]} values each with its size in bytes @returns {Uint8Array} little-endian */
function fields(...values) {
  const bytes = new Uint8Array(values.reduce((sum, [, size]) => sum + size, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [value, size] of values) {
    if (size === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += size;
  }
  return bytes;
}

function crc32(data) {
  let crc = -1;
  for (const byte of data) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}
