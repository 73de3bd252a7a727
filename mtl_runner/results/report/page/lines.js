// Lines over epochs or rates. `lines()` gives {name, colour, dash, x, mean, low, high, failed} for what is to be drawn; `panels` are
// those of all figures of the quantity.
class LineChart extends Chart {
  constructor(parent, title, unit, xLabel, lines, {xLog = false, marks = false, view = null, panels = [lines]} = {}) {
    super(parent, title, unit, xLabel);
    Object.assign(this, {lines, xLog, marks, view, panels});
    if (view) this.plot.addEventListener('dblclick', () => view.show(null));
    this.render();
  }

  // A mouse that is drawn across the curves chooses the epochs to be shown.
  press(event) {
    if (!this.view || event.pointerType === 'touch') return;
    this.from = event.clientX - this.plot.getBoundingClientRect().left;
  }

  release(event) {
    const from = this.from;
    this.from = undefined;
    if (from === undefined || !this.stops.length) return;
    const to = event.clientX - this.plot.getBoundingClientRect().left;
    if (Math.abs(to - from) < 8) return;
    const ends = [from, to].map((px) => this.at(px)).sort((a, b) => a - b);
    this.view.show(ends);
  }

  point(event) {
    super.point(event);
    if (this.from === undefined || event.buttons !== 1) return;
    const x = event.clientX - this.plot.getBoundingClientRect().left;
    draw('rect', {class: 'chosen', x: Math.min(x, this.from), y: MARGIN.top, width: Math.abs(x - this.from), height: this.bottom - MARGIN.top}, this.cursor);
  }

  // The epoch at a place of the plot.
  at(px) {
    const [a, b] = this.domain;
    const share = (px - MARGIN.left) / (this.width - MARGIN.right - MARGIN.left);
    return a + Math.max(0, Math.min(1, share)) * (b - a);
  }

  key(event) {
    const zoom = {'+': 'in', '-': 'out', 0: 'all'}[event.key];
    if (!zoom || !this.view) return super.key(event);
    event.preventDefault();
    return this.view.zoom(zoom, this.position === null ? null : this.stops[this.position]);
  }

  // One kind of axis, so that figures beside each other are read alike, as in the PNGs.
  helps() {
    const panels = this.panels.map((lines) => lines().flatMap((line) => line.mean));
    return panels.some(wantsLog) && panels.flat().every((v) => v === null || v > 0);
  }

  paint(height) {
    const lines = this.lines();
    const yLog = this.isLog();
    const shown = this.view?.range ?? null;
    const inside = (at) => !shown || (at >= shown[0] && at <= shown[1]);
    const xs = [...new Set(lines.flatMap((line) => line.x))].filter(inside).sort((a, b) => a - b);
    const y = extent(lines.flatMap((line) => [line.mean, line.raw, line.low, line.high].flatMap((values) => (values ?? []).filter((_, i) => inside(line.x[i])))), yLog, 0.04);
    this.stops = y ? xs : [];
    if (!y) return null;
    const x = shown ?? this.wholeOf(xs);
    this.domain = x;
    const marked = this.xLog ? (xs.length <= 9 ? xs : ticks(x[0], x[1], 6, true)) : ticks(x[0], x[1], Math.max(2, this.width / 90), false);
    const svg = this.frame(x, y, this.xLog, yLog, height, marked.filter((v) => this.xLog || Number.isInteger(v)));
    const inner = this.clipped(svg, height);
    const ok = (v) => v !== null && v !== undefined && (!yLog || v > 0);
    this.shapes = [];
    for (const line of lines) {
      const group = draw('g', {'data-colour': line.colour % 8}, inner);
      const keep = (shape) => { this.shapes.push([line.name, shape]); };
      const pieces = [[]];
      line.x.forEach((at, i) => { if (ok(line.mean[i])) pieces[pieces.length - 1].push(i); else pieces.push([]); });
      for (const piece of pieces.filter((each) => each.length)) {
        const path = (values, order) => order.map((i) => `${this.x(line.x[i]).toFixed(1)},${this.y(ok(values[i]) ? values[i] : y[0]).toFixed(1)}`);
        if (line.low) keep(draw('path', {class: 'band', d: `M${[...path(line.high, piece), ...path(line.low, [...piece].reverse())].join('L')}Z`}, group));
        if (line.raw) keep(draw('path', {class: 'raw', d: `M${path(line.raw, piece).join('L')}`}, group));
        keep(draw('path', {class: 'line', d: `M${path(line.mean, piece).join('L')}`, 'stroke-dasharray': DASHES[line.dash % 4]}, group));
        if (this.marks || piece.length === 1) {
          for (const i of piece) keep(draw('circle', {class: 'mark', r: 4, cx: this.x(line.x[i]), cy: this.y(line.mean[i])}, group));
        }
      }
      (line.failed ?? []).forEach((count, i) => {
        if (!count) return;
        const [cx, cy] = [this.x(line.x[i]) + 9 * (line.colour % 3) - 9, MARGIN.top + 6];
        keep(draw('path', {class: 'cross', d: `M${cx - 4},${cy - 4}l8,8m0,-8l-8,8`}, group));
      });
    }
    svg.append(this.cursor);
    this.drawn = lines;
    return svg;
  }

  wholeOf(xs) {
    if (this.xLog) return extent(xs, true, 0.02);
    return xs.length > 1 ? [xs[0], xs[xs.length - 1]] : [xs[0] - 1, xs[0] + 1];
  }

  // A group whose shapes end at the axes when only a part of the run is shown.
  clipped(svg, height) {
    if (!this.view?.range) return svg;
    LineChart.clips = (LineChart.clips ?? 0) + 1;
    const clip = draw('clipPath', {id: `clip-${LineChart.clips}`}, svg);
    draw('rect', {x: MARGIN.left - 2, y: 0, width: this.width - MARGIN.left - MARGIN.right + 4, height: height - MARGIN.bottom + 2}, clip);
    return draw('g', {'clip-path': `url(#clip-${LineChart.clips})`}, svg);
  }

  nearest(px) {
    return this.stops.reduce((best, at, i) => (Math.abs(this.x(at) - px) < Math.abs(this.x(this.stops[best]) - px) ? i : best), 0);
  }

  tell(position) {
    const at = this.stops[position];
    const x = this.x(at);
    draw('line', {class: 'cursor', x1: x, x2: x, y1: MARGIN.top, y2: this.bottom}, this.cursor);
    const found = this.drawn.flatMap((line) => {
      // Thinned curves of unequal length do not share all epochs: the nearest one of the line speaks, if it is near.
      const i = line.x.reduce((best, v, j) => (Math.abs(v - at) < Math.abs(line.x[best] - at) ? j : best), 0);
      const reach = line.x.length > 1 && !this.xLog ? (line.x[line.x.length - 1] - line.x[0]) / (line.x.length - 1) : 0;
      return Math.abs(line.x[i] - at) <= reach ? [{line, value: line.mean[i], i}] : [];
    });
    found.sort((a, b) => (a.value ?? Infinity) - (b.value ?? Infinity));
    return {
      title: `${this.xLabel} ${format(at)}`,
      x,
      marks: found.filter((f) => f.value !== null && (!this.isLog() || f.value > 0)).map((f) => ({x, y: this.y(f.value), colour: f.line.colour})),
      rows: found.map(({line, value, i}) => ({
        name: line.name, colour: line.colour, text: format(value),
        range: [line.low && line.low[i] !== null && line.low[i] !== line.high[i] ? `${format(line.low[i])} to ${format(line.high[i])}` : '',
          line.failed?.[i] ? `${line.failed[i]} failed` : ''].filter(Boolean).join(', '),
      })),
    };
  }

  // One line stands out: the others fade, and it lies on top of those that hide it.
  emphasise(name) {
    for (const [owner, shape] of this.shapes ?? []) {
      shape.classList.toggle('faded', name !== null && owner !== name);
      if (owner !== name) continue;
      const group = shape.parentNode;
      if (group.parentNode === this.cursor.parentNode) this.cursor.before(group);
      else group.parentNode.append(group);
    }
  }
}
