// The waveform of the recording, with the spans of the sentences and the playback position.

const WINDOW_MS = 12_000; // shown during recording; afterwards the whole recording is shown
const BAR = 3; // CSS pixels from one bar to the next

export class Waveform {
  /** @param {HTMLElement} element @param {import('./recording.js').Recording} recording */
  constructor(element, recording) {
    this.element = element;
    this.recording = recording;
    this.canvas = element.querySelector('canvas');
    this.context = this.canvas.getContext('2d');
    this.sentences = [];
    this.open = null;
    this.isLive = false;
    this.headMs = null;
    new ResizeObserver(() => this.#resize()).observe(element);
  }

  /** Draw once at the next animation frame. */
  refresh() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      this.#draw();
    });
  }

  /** Return the time at a horizontal position of the screen. */
  timeAt(clientX) {
    const { left, width } = this.canvas.getBoundingClientRect();
    const [fromMs, toMs] = this.#view();
    return Math.min(
      this.recording.durationMs,
      fromMs + ((clientX - left) / width) * (toMs - fromMs),
    );
  }

  #view() {
    const { durationMs } = this.recording;
    if (this.isLive) {
      const toMs = Math.max(WINDOW_MS, durationMs + 300);
      return [toMs - WINDOW_MS, toMs];
    }
    return [0, Math.max(durationMs, WINDOW_MS / 3)];
  }

  #resize() {
    const ratio = devicePixelRatio || 1;
    this.canvas.width = Math.round(this.element.clientWidth * ratio);
    this.canvas.height = Math.round(this.element.clientHeight * ratio);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.#draw();
  }

  #draw() {
    const { clientWidth: width, clientHeight: height } = this.element;
    const [fromMs, toMs] = this.#view();
    const view = { width, height, x: (ms) => ((ms - fromMs) / (toMs - fromMs)) * width };
    const colours = getComputedStyle(this.element);
    const paint = (name) => colours.getPropertyValue(name);
    this.context.clearRect(0, 0, width, height);
    this.#drawAxis(view, paint);
    this.#drawSpans(view, paint);
    this.#drawBars(view, paint, (toMs - fromMs) / width, fromMs);
    this.#drawHead(view, paint);
  }

  /** Draw the time axis, a dot per second, so that silence shows a scale too. */
  #drawAxis({ x, width, height }, paint) {
    this.context.fillStyle = paint('--line');
    const stepMs = x(1000) - x(0) > 14 ? 1000 : 10_000;
    const [fromMs] = this.#view();
    for (let ms = Math.ceil(fromMs / stepMs) * stepMs; x(ms) < width; ms += stepMs) {
      this.context.fillRect(x(ms) - 1, height / 2 - 1, 2, 2);
    }
  }

  #drawSpans({ x, width, height }, paint) {
    const spans = this.open ? [...this.sentences, this.open] : this.sentences;
    for (const { beginMs, endMs, isFinal } of spans) {
      const left = x(beginMs);
      const right = x(isFinal ? endMs : this.recording.durationMs);
      if (right < 0 || left > width) continue;
      this.context.fillStyle = paint(isFinal ? '--span' : '--span-open');
      this.context.beginPath();
      this.context.roundRect(left, 6, Math.max(2, right - left), height - 12, 6);
      this.context.fill();
    }
  }

  #drawBars({ x, width, height }, paint, msPerPixel, fromMs) {
    const bars = Math.ceil(width / BAR) + 1;
    // Bars are aligned to multiples of stepMs, so that scrolling does not change their heights.
    const stepMs = BAR * msPerPixel;
    const first = Math.floor(fromMs / stepMs);
    this.context.fillStyle = paint('--bar');
    this.context.beginPath();
    for (let i = first; i < first + bars; i += 1) {
      const peak = this.recording.peakBetween(i * stepMs, (i + 1) * stepMs);
      if (i * stepMs >= this.recording.durationMs || i < 0) continue;
      const size = Math.max(2, Math.sqrt(peak) * (height - 24));
      this.context.roundRect(x(i * stepMs), (height - size) / 2, BAR - 1, size, 1);
    }
    this.context.fill();
  }

  #drawHead({ x, height }, paint) {
    if (this.headMs === null) return;
    this.context.fillStyle = paint('--head');
    this.context.fillRect(x(this.headMs) - 1, 0, 2, height);
  }
}
