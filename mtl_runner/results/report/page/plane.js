// Two tasks' plane: a large point per strategy, small ones for its seeds, a line along the front.
class Plane extends Chart {
  constructor(parent, front, colourOf) {
    super(parent, `${front.tasks[1]} over ${front.tasks[0]}`, front.metric.replace('_', ' '), front.tasks[0]);
    Object.assign(this, {front, colourOf});
    this.render();
  }

  helps() { return wantsLog(this.front.points.map((p) => p.mean[1])); }

  paint(height) {
    const all = this.front.points.flatMap((p) => [p.mean, ...p.seeds]).filter((p) => p[0] !== null && p[1] !== null);
    const xLog = wantsLog(all.map((p) => p[0]));
    const yLog = this.isLog();
    const [x, y] = [extent(all.map((p) => p[0]), xLog, 0.06), extent(all.map((p) => p[1]), yLog, 0.06)];
    const points = this.front.points.filter((p) => p.mean[0] !== null && p.mean[1] !== null && (!yLog || p.mean[1] > 0));
    this.stops = x && y ? [...points].sort((a, b) => a.mean[0] - b.mean[0]) : [];
    if (!this.stops.length) return null;
    const svg = this.frame(x, y, xLog, yLog, Math.round(height * 1.4), ticks(x[0], x[1], Math.max(2, this.width / 110), xLog));
    draw('text', {x: MARGIN.left, y: 2}, svg).textContent = this.front.tasks[1];
    const at = (p) => [this.x(p[0]), this.y(p[1])];
    const on = this.front.front.map((name) => points.find((p) => p.name === name)).filter(Boolean);
    if (on.length > 1) draw('path', {class: 'hull', d: `M${on.map((p) => at(p.mean).join()).join('L')}`}, svg);
    for (const p of points) {
      const group = draw('g', {'data-colour': this.colourOf(p.name) % 8}, svg);
      for (const mean of p.cloud) {
        if (!yLog || mean[1] > 0) draw('circle', {class: 'cloud', r: 1.5, cx: at(mean)[0], cy: at(mean)[1]}, group);
      }
      for (const seed of p.seeds) {
        if (seed[0] !== null && seed[1] !== null && (!yLog || seed[1] > 0)) draw('circle', {class: 'seed', r: 3, cx: at(seed)[0], cy: at(seed)[1]}, group);
      }
      draw('circle', {class: 'mark', r: 6.5, cx: at(p.mean)[0], cy: at(p.mean)[1]}, group);
    }
    this.label(svg, points);
    svg.append(this.cursor);
    return svg;
  }

  // Names beside the points, the front's first; one that would lie on another or leave the plot is left to the read-out.
  label(svg, points) {
    const taken = points.map((p) => [this.x(p.mean[0]) - 7, this.y(p.mean[1]) - 7, this.x(p.mean[0]) + 7, this.y(p.mean[1]) + 7]);
    const rank = (p) => (this.front.front.includes(p.name) ? 0 : 1);
    for (const p of [...points].sort((a, b) => rank(a) - rank(b))) {
      const [x, y] = [this.x(p.mean[0]), this.y(p.mean[1])];
      const text = draw('text', {x: x + 11, y: y + 4}, svg);
      text.textContent = p.name;
      const width = 6.6 * p.name.length;
      const box = [x + 9, y - 8, x + 11 + width, y + 8];
      const free = taken.every((t) => t[2] < box[0] || t[0] > box[2] || t[3] < box[1] || t[1] > box[3]);
      if (free && box[2] < this.width) taken.push(box);
      else text.remove();
    }
  }

  nearest(px, py) {
    const distance = (p) => (this.x(p.mean[0]) - px) ** 2 + (this.y(p.mean[1]) - py) ** 2;
    return this.stops.reduce((best, p, i) => (distance(p) < distance(this.stops[best]) ? i : best), 0);
  }

  tell(position) {
    const p = this.stops[position];
    const [x, y] = [this.x(p.mean[0]), this.y(p.mean[1])];
    draw('circle', {class: 'cursor', r: 10, cx: x, cy: y, fill: 'none'}, this.cursor);
    return {title: p.name, x, marks: [], rows: this.front.tasks.map((task, i) => ({name: task, text: format(p.mean[i])}))};
  }
}
