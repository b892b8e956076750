// Draws latencies over time, with their distribution at the right edge.

const SPAN_MS = 24_000; // of the time axis, at least
const STEPS_MS = [50, 100, 200, 500, 1000, 2000, 5000]; // between two lines of the grid
const LEFT = 44;
const BOTTOM = 20;
const TOP = 10;
const GAP = 12; // beside the distribution
const COLOURS = { first: '--seal', final: '--ok' };

/**
 * @param {HTMLCanvasElement} canvas
 * @param {import('./load.js').Point[]} points
 * @param {number} elapsedMs
 */
export function drawScatter(canvas, points, elapsedMs) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext('2d');
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(canvas);
  const paint = (name) => style.getPropertyValue(name);
  const margin = Math.min(90, width * 0.16); // of the distribution
  const top = Math.max(400, ...points.map(({ ms }) => ms)) * 1.05;
  const span = Math.max(SPAN_MS, elapsedMs);
  const right = width - margin - 2 * GAP;
  const view = {
    x: (ms) => LEFT + (ms / span) * (right - LEFT),
    y: (ms) => height - BOTTOM - (ms / top) * (height - BOTTOM - TOP),
  };
  context.font = `11px ${style.fontFamily}`;
  drawGrid(context, view, { width, height, right, top, span }, paint);
  for (const kind of ['first', 'final']) {
    const own = points.filter((point) => point.kind === kind);
    context.fillStyle = paint(COLOURS[kind]);
    context.globalAlpha = 0.7;
    for (const { atMs, ms } of own) {
      context.beginPath();
      context.arc(view.x(atMs), view.y(ms), 2.4, 0, 2 * Math.PI);
      context.fill();
    }
    const left = right + GAP + (kind === 'final' ? margin / 2 : 0);
    drawDistribution(context, view, own, { left, width: margin / 2 - 4, top });
    context.globalAlpha = 1;
  }
}

function drawGrid(context, { x, y }, { width, height, right, top, span }, paint) {
  const lines = Math.max(2, Math.floor(height / 52));
  const step = STEPS_MS.find((each) => top / each <= lines) ?? top;
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (let ms = 0; ms <= top; ms += step) {
    context.fillStyle = paint('--line');
    context.fillRect(LEFT, Math.round(y(ms)), width - LEFT, 1);
    context.fillStyle = paint('--faint');
    context.fillText(ms === 0 ? '0 ms' : String(ms), LEFT - 8, y(ms));
  }
  context.textBaseline = 'bottom';
  context.textAlign = 'center';
  const seconds = right - LEFT < 300 ? 10 : 5;
  for (let s = seconds; s * 1000 < span; s += seconds) {
    context.fillText(`${s} s`, x(s * 1000), height);
  }
}

/** Draw a histogram on its side: its axis is that of the latencies. */
function drawDistribution(context, { y }, points, { left, width, top }) {
  const bins = new Array(40).fill(0);
  for (const { ms } of points) bins[Math.min(39, Math.floor((ms / top) * 40))] += 1;
  const most = Math.max(1, ...bins);
  const thickness = (y(0) - y(top)) / 40;
  for (const [i, count] of bins.entries()) {
    const length = (count / most) * width;
    context.fillRect(left, y((top * (i + 1)) / 40), length, Math.max(1, thickness - 1));
  }
}
