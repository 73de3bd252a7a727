// Charts as hand-written SVG: axes, lines with bands, points, and a cursor that pointer, touch and arrow keys move alike.

const SVG = (() => {
  const box = document.createElement('div');
  box.innerHTML = '<svg></svg>';
  return box.firstChild.namespaceURI;
})();
const DASHES = ['', '6 4', '2 4', '9 3 2 3'];
const MARGIN = {top: 10, right: 14, bottom: 38, left: 56};

function draw(name, attributes, parent) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (parent) parent.append(node);
  return node;
}

function element(name, className, text) {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
}

function format(value) {
  if (value === null || value === undefined) return '–';
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(2).replace(/\.?0+e/, 'e').replace('e+', 'e');
  return String(Number(value.toPrecision(4)));
}

// Round numbers between two ends: multiples of 1, 2 or 5 times a power of ten, or for a log axis these themselves.
function ticks(low, high, count, log) {
  const found = [];
  if (log) {
    const decades = Math.log10(high / low);
    const steps = decades < 1.3 ? [1, 2, 3, 5, 7] : decades < 3 ? [1, 2, 5] : decades < 5 ? [1, 3] : [1];
    const stride = Math.max(1, Math.ceil(decades / count));
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power += 1) {
      if (power % stride) continue;
      for (const step of steps) {
        const value = Number(`${step}e${power}`);
        if (value >= low * 0.9999 && value <= high * 1.0001) found.push(value);
      }
    }
    if (found.length > 1) return found;
    found.length = 0;
  }
  const rough = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((each) => each * power >= rough * 0.999);
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(Number((i * step).toPrecision(12)));
  return found;
}

function scale(low, high, from, to, log) {
  const f = log ? Math.log : (v) => v;
  const [a, b] = [f(low), f(high)];
  return (value) => (a === b ? (from + to) / 2 : from + ((f(value) - a) / (b - a)) * (to - from));
}

function extent(values, log, pad) {
  const known = values.filter((v) => v !== null && v !== undefined && Number.isFinite(v) && (!log || v > 0));
  if (!known.length) return null;
  let low = known.reduce((a, b) => Math.min(a, b));
  let high = known.reduce((a, b) => Math.max(a, b));
  if (low === high) return log ? [low / 1.5, high * 1.5] : [low - (Math.abs(low) * 0.1 || 1), high + (Math.abs(high) * 0.1 || 1)];
  if (log) {
    const factor = (high / low) ** pad;
    return [low / factor, high * factor];
  }
  const extra = (high - low) * pad;
  return [low >= 0 && low < extra ? 0 : low - extra, high + extra];
}

// A log axis helps where positive values span more than a factor of 20, as in the PNGs.
function wantsLog(values) {
  const known = values.filter((v) => v !== null && Number.isFinite(v));
  if (!known.length) return false;
  const low = known.reduce((a, b) => Math.min(a, b));
  return low > 0 && known.reduce((a, b) => Math.max(a, b)) / low > 20;
}

// A figure with a title, a switch of its vertical scale, and a plot that is drawn anew when its width or its content changes.
class Chart {
  constructor(parent, title, unit, xLabel) {
    this.title = title;
    this.xLabel = xLabel;
    this.figure = element('figure');
    const caption = element('figcaption');
    const name = element('span', '', title);
    if (unit) name.append(element('span', 'unit', unit));
    this.switch = element('button', 'scale', 'log');
    this.switch.type = 'button';
    this.switch.setAttribute('aria-label', `log scale: ${title}`);
    this.switch.addEventListener('click', () => { this.log = !this.isLog(); this.render(); });
    this.name = unit ? `${title}, ${unit}` : title;
    const picture = element('button', 'scale', 'SVG');
    picture.type = 'button';
    picture.setAttribute('aria-label', `SVG of ${title}`);
    picture.addEventListener('click', () => save(`${this.name}.svg`, 'image/svg+xml', svgOf(this)));
    const buttons = element('span');
    buttons.append(this.switch, picture);
    caption.append(name, buttons);
    this.plot = element('div', 'plot');
    this.plot.tabIndex = 0;
    this.plot.setAttribute('role', 'slider');
    this.plot.setAttribute('aria-label', `${title}: move along ${xLabel} with the arrow keys`);
    this.readout = element('div', 'readout');
    this.readout.hidden = true;
    this.figure.append(caption, this.plot);
    parent.append(this.figure);
    this.position = null;
    this.plot.addEventListener('pointermove', (event) => this.point(event));
    this.plot.addEventListener('pointerdown', (event) => { this.point(event); this.press(event); });
    this.plot.addEventListener('pointerup', (event) => this.release(event));
    this.plot.addEventListener('pointerleave', (event) => { if (event.pointerType !== 'touch') this.move(null); });
    this.plot.addEventListener('blur', () => this.move(null));
    this.plot.addEventListener('keydown', (event) => this.key(event));
    new ResizeObserver(() => { if (this.plot.clientWidth !== this.width) this.render(); }).observe(this.plot);
  }

  // A chart that can be zoomed takes these over.
  press() {}

  release() {}

  isLog() { return this.log ?? this.helps(); }

  frame(x, y, xLog, yLog, height, xTicks) {
    const svg = draw('svg', {viewBox: `0 0 ${this.width} ${height}`, height, 'aria-hidden': 'true'});
    const [right, bottom] = [this.width - MARGIN.right, height - MARGIN.bottom];
    this.x = scale(x[0], x[1], MARGIN.left, right, xLog);
    this.y = scale(y[0], y[1], bottom, MARGIN.top, yLog);
    for (const value of ticks(y[0], y[1], 6, yLog)) {
      draw('line', {class: 'grid', x1: MARGIN.left, x2: right, y1: this.y(value), y2: this.y(value)}, svg);
      draw('text', {x: MARGIN.left - 8, y: this.y(value) + 4, 'text-anchor': 'end'}, svg).textContent = format(value);
    }
    for (const value of xTicks) {
      draw('text', {x: this.x(value), y: bottom + 18, 'text-anchor': 'middle'}, svg).textContent = format(value);
      draw('line', {class: 'axis', x1: this.x(value), x2: this.x(value), y1: bottom, y2: bottom + 4}, svg);
    }
    draw('line', {class: 'axis', x1: MARGIN.left, x2: right, y1: bottom, y2: bottom}, svg);
    draw('text', {x: right, y: bottom + 34, 'text-anchor': 'end'}, svg).textContent = this.xLabel;
    this.cursor = draw('g', {}, svg);
    this.bottom = bottom;
    return svg;
  }

  render() {
    this.width = this.plot.clientWidth;
    if (!this.width) return;
    this.switch.setAttribute('aria-pressed', this.isLog());
    const svg = this.paint(this.width < 420 ? 220 : 260);
    this.plot.replaceChildren(svg ?? element('p', 'empty', 'Nothing to show: no strategy that is ticked has values here.'), this.readout);
    this.move(null);
  }

  point(event) {
    const box = this.plot.getBoundingClientRect();
    if (this.stops?.length) this.move(this.nearest(event.clientX - box.left, event.clientY - box.top));
  }

  key(event) {
    const last = (this.stops?.length ?? 0) - 1;
    if (last < 0) return;
    const at = this.position;
    const steps = {ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 10, PageDown: -10};
    let next;
    if (event.key in steps) next = at === null ? (steps[event.key] > 0 ? 0 : last) : at + steps[event.key];
    else if (event.key === 'Home') next = 0;
    else if (event.key === 'End') next = last;
    else if (event.key === 'Escape') next = null;
    else return;
    event.preventDefault();
    this.move(next === null ? null : Math.max(0, Math.min(last, next)));
  }

  // The cursor stands at a stop (an epoch, a rate, a point) and the read-out says what is there.
  move(position) {
    this.position = position;
    this.readout.hidden = position === null;
    const count = this.stops?.length ?? 0;
    this.plot.setAttribute('aria-valuemin', 0);
    this.plot.setAttribute('aria-valuemax', Math.max(0, count - 1));
    this.plot.setAttribute('aria-valuenow', position ?? 0);
    this.cursor?.replaceChildren();
    if (position === null || !count) {
      this.plot.setAttribute('aria-valuetext', count ? 'arrow keys read values' : 'nothing to show');
      return;
    }
    const {title, rows, x, marks} = this.tell(position);
    for (const mark of marks) draw('circle', {class: 'mark', r: 4.5, cx: mark.x, cy: mark.y, 'data-colour': mark.colour % 8}, this.cursor);
    this.readout.replaceChildren(element('b', '', title), ...rows.slice(0, 12).map((row) => {
      const line = element('div');
      const swatch = element('span', 'swatch');
      if (row.colour === undefined) swatch.style.background = 'none';
      else swatch.dataset.colour = row.colour % 8;
      line.append(swatch, element('span', 'name', row.name), element('span', '', row.text));
      if (row.range) line.append(element('span', 'range', row.range));
      return line;
    }));
    if (rows.length > 12) this.readout.append(element('div', 'range', `and ${rows.length - 12} more`));
    const left = x < this.width / 2;
    this.readout.classList.toggle('narrow', this.width < 480);
    this.readout.style.left = left ? `${x + 14}px` : 'auto';
    this.readout.style.right = left ? 'auto' : `${this.width - x + 14}px`;
    this.plot.setAttribute('aria-valuetext', `${title}: ${rows.map((row) => `${row.name} ${row.text}`).join(', ')}`);
  }
}
