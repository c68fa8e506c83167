'use strict';
/* Line charts as SVG, with a cursor that all charts of a page share. */

const tidy = (v) => (v === 0 ? '0' : Math.abs(v) >= 1e5 || Math.abs(v) < 1e-3 ? v.toExponential(2).replace(/\.?0*e/, 'e') : String(Number(v.toPrecision(3))));

/* Round numbers from low to high, about `count` of them; powers of ten and their parts if `log`. */
function ticks(low, high, count, log) {
  if (log && high > 2.5 * low) {
    const parts = high / low > 300 ? [1] : high / low > 8 ? [1, 3] : [1, 1.5, 2, 3, 5, 7], found = [];
    for (let e = Math.floor(Math.log10(low)); e <= Math.log10(high); e++)
      for (const part of parts) if (part * 10 ** e >= low && part * 10 ** e <= high) found.push(part * 10 ** e);
    return found.filter((_, i) => i % Math.ceil(found.length / 5) === 0);
  }
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= raw * 0.999), found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) found.push(k * step);
  return found;
}

/* Running mean that weighs what is near, as TensorBoard's; gaps stay gaps. */
function smoothed(y, weight) {
  let sum = 0, total = 0;
  return y.map((v) => (v === null ? null : (sum = weight * sum + (1 - weight) * v) / (total = weight * total + 1 - weight)));
}

class Chart {
  /* options: {title, series: [{name, x, y, hue}], unit, showX, bands: [[from, to]], marks: [x], pick(x), hover(x)};
     y may hold nulls. */
  constructor(place, options) {
    Object.assign(this, { bands: [], marks: [], unit: '', log: false, weight: 0, showX: String, hover: (x) => this.point(x) }, options);
    const add = (kind, name, within) => Object.assign(within.appendChild(document.createElement(kind)), { className: name });
    this.figure = add('figure', 'chart', place);
    const head = add('figcaption', '', this.figure);
    add('b', '', head).textContent = this.title;
    this.values = this.series.map((line) => {
      const label = add('span', 'key', head);
      label.style.setProperty('--hue', `var(--line-${line.hue})`);
      if (line.name) add('span', '', label).textContent = line.name;
      return add('output', '', label);
    });
    this.svg = this.figure.appendChild(document.createElementNS('http://www.w3.org/2000/svg', 'svg'));
    for (const [name, value] of Object.entries({ tabindex: 0, role: 'img', 'aria-label': this.spoken() })) this.svg.setAttribute(name, value);
    const at = (e) => this.atPixel(e.clientX - this.svg.getBoundingClientRect().left);
    this.svg.addEventListener('pointermove', (e) => { this.hover(at(e)); if (e.buttons) this.pick?.(at(e)); });
    this.svg.addEventListener('pointerdown', (e) => this.pick?.(at(e)));
    this.svg.addEventListener('pointerleave', () => this.hover(null));
    this.svg.addEventListener('keydown', (e) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[e.key], x = this.series[0].x;
      if (!step) return;
      e.preventDefault();
      const to = x[Math.max(0, Math.min(x.length - 1, this.nearest(x, this.x ?? x[0]) + step))];
      this.hover(to);
      this.pick?.(to);
    });
    this.draw();
    new ResizeObserver(() => this.draw()).observe(this.svg);
  }

  spoken() {
    const last = this.series.map((s) => `${s.name} ${tidy(s.y.findLast((v) => v !== null) ?? 0)}`).join(', ');
    return `${this.title} as a curve; at its end ${last} ${this.unit}`;
  }

  nearest(x, wanted) {
    let low = 0, high = x.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (x[middle] < wanted) low = middle; else high = middle; }
    return wanted - x[low] < x[high] - wanted ? low : high;
  }

  set(changes) { Object.assign(this, changes); this.draw(); }

  draw() {
    const width = this.svg.clientWidth, height = this.svg.clientHeight;
    if (!width) return;
    const left = 46, right = width - 8, top = 8, bottom = height - 22;
    const shown = this.series.map((s) => (this.weight && !s.steady ? smoothed(s.y, this.weight) : s.y));
    const every = this.series.flatMap((s) => s.y.filter((v) => v !== null && (!this.log || v > 0)));
    const xs = this.series.flatMap((s) => [s.x[0], s.x[s.x.length - 1]]).filter((v) => v !== undefined);
    let low = every.reduce((a, b) => Math.min(a, b), Infinity), high = every.reduce((a, b) => Math.max(a, b), -Infinity);
    if (!every.length) [low, high] = [0.1, 1];
    const x0 = Math.min(...xs), x1 = Math.max(...xs, x0 + 1e-9);
    const scale = this.log ? Math.log : (v) => v;
    if (this.log) [low, high] = [low / 1.1, high * 1.1];
    else { const room = 0.06 * (high - low) || 0.1 * Math.abs(high) || 1; [low, high] = [low >= 0 && low < room ? 0 : low - room, high + room]; }
    this.toX = (x) => left + ((x - x0) / (x1 - x0)) * (right - left);
    this.atPixel = (px) => Math.max(x0, Math.min(x1, x0 + ((px - left) / (right - left)) * (x1 - x0)));
    const toY = (y) => bottom - ((scale(y) - scale(low)) / (scale(high) - scale(low))) * (bottom - top);
    const isGap = (v) => v === null || v === undefined || (this.log && v <= 0);
    const path = (x, y) => {
      let text = '', pen = 'M';
      y.forEach((v, i) => {
        if (isGap(v)) { pen = 'M'; return; }
        text += `${pen}${this.toX(x[i]).toFixed(1)} ${toY(v).toFixed(1)}${pen === 'M' && isGap(y[i + 1]) ? 'h.1' : ''}`;
        pen = 'L';
      });
      return text;
    };
    let made = '';
    for (const [from, to] of this.bands) made += `<rect class="gap" x="${this.toX(from)}" y="${top}" width="${Math.max(2, this.toX(to) - this.toX(from))}" height="${bottom - top}"/>`;
    for (const v of ticks(low, high, 4, this.log)) made += `<path class="grid" d="M${left} ${toY(v)}H${right}"/><text x="${left - 6}" y="${toY(v) + 4}" text-anchor="end">${tidy(v)}</text>`;
    for (const v of ticks(x0, x1, Math.max(4, width / 100))) made += `<text x="${this.toX(v)}" y="${height - 4}" text-anchor="middle">${this.showX(v)}</text>`;
    for (const x of this.marks) made += `<path class="mark" d="M${this.toX(x)} ${top}V${bottom}"/>`;
    this.series.forEach((s, k) => {
      const hue = `style="stroke:var(--line-${s.hue})"`, sole = s.y.every((v, i) => isGap(v) || isGap(s.y[i + 1])) ? ' sole' : '';
      if (this.weight && !s.steady) made += `<path class="raw" ${hue} d="${path(s.x, s.y)}"/>`;
      made += `<path class="line${sole}" ${hue} d="${path(s.x, shown[k])}"/>`;
    });
    this.svg.innerHTML = `${made}<path class="cursor" d="M0 ${top}V${bottom}" visibility="hidden"/>`;
    this.shown = shown;
    this.point(this.x ?? null);
  }

  /* The cursor to x, and the values there; null: no cursor, and the last values. */
  point(x) {
    this.x = x ?? undefined;
    const cursor = this.svg.querySelector('.cursor');
    if (!cursor) return;
    cursor.setAttribute('visibility', x === null ? 'hidden' : 'visible');
    if (x !== null) cursor.setAttribute('transform', `translate(${this.toX(x)} 0)`);
    this.series.forEach((s, k) => {
      const v = this.shown[k][x === null ? s.y.length - 1 : this.nearest(s.x, x)];
      this.values[k].textContent = v === null || v === undefined ? '–' : tidy(v) + this.unit;
    });
  }
}
