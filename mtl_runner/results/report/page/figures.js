// Which figures there are, and which strategies they show: those that are ticked in the table.

const SECTIONS = JSON.parse(document.getElementById('figures').textContent);
const charts = SECTIONS.map(() => []);

// A colour that comes twice among the drawn strategies is told apart by its dashes.
// Where none of them has what a figure shows, a few that have it stand in.
function drawnOf(section, quantity) {
  const seen = {};
  const drawn = section.strategies.filter((s) => s.drawn);
  const able = section.strategies.filter((s) => s[quantity]);
  const shown = drawn.some((s) => s[quantity]) ? drawn : able.slice(0, 4);
  return shown.map((s) => {
    const slot = s.colour % 8;
    seen[slot] = (seen[slot] ?? -1) + 1;
    return {...s, dash: seen[slot]};
  });
}

function nameOf(strategy) {
  return strategy.unfinished ? `${strategy.name} (not finished)` : strategy.name;
}

// What all curves of a data set share: the epochs that are shown, and how much they are smoothed.
const views = SECTIONS.map((_, number) => ({
  range: null,
  smoothing: 0,
  draw() { for (const chart of charts[number]) if (chart.view) chart.render(); },
  show(range) {
    this.range = range;
    this.draw();
    document.getElementById('announce').textContent = range ? `epochs ${format(range[0])} to ${format(range[1])}` : 'the whole run';
  },
  // In by half, out to twice as much, around a place or the middle; never beyond the run.
  zoom(step, place) {
    const whole = charts[number].find((chart) => chart.view)?.wholeOf(epochsOf(number));
    const [a, b] = this.range ?? whole;
    const half = ((b - a) / 2) * {in: 0.5, out: 2, all: Infinity}[step];
    const middle = place ?? (a + b) / 2;
    const range = [Math.max(whole[0], middle - half), Math.min(whole[1], middle + half)];
    const some = epochsOf(number).filter((epoch) => epoch >= range[0] && epoch <= range[1]).length;
    if (step === 'in' && some < 2) return;
    this.show(range[0] <= whole[0] && range[1] >= whole[1] ? null : range);
  },
}));

function epochsOf(number) {
  const curves = SECTIONS[number].strategies.flatMap((s) => ['relative', 'loss', 'weight', 'sigma'].flatMap((kind) => Object.values(s[kind] ?? {})));
  return [...new Set(curves.flatMap(([epochs]) => epochs))].sort((a, b) => a - b);
}

// An exponential average that starts without bias, as TensorBoard's.
function smooth(values, weight) {
  let [sum, mass] = [0, 0];
  return values?.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    mass = weight * mass + 1 - weight;
    return sum / mass;
  });
}

function lineOf(strategy, quantity, task, smoothing) {
  const curve = strategy[quantity]?.[task];
  if (!curve) return [];
  const [x, mean, low, high] = curve;
  const line = {name: nameOf(strategy), colour: strategy.colour, dash: strategy.dash, x, mean, low, high};
  if (!smoothing) return [line];
  return [{...line, raw: mean, mean: smooth(mean, smoothing), low: smooth(low, smoothing), high: smooth(high, smoothing)}];
}

function linesOf(number, quantity, task) {
  return () => drawnOf(SECTIONS[number], quantity).flatMap((strategy) => lineOf(strategy, quantity, task, views[number].smoothing));
}

document.querySelectorAll('.figures').forEach((box) => {
  const number = Number(box.dataset.section);
  const section = SECTIONS[number];
  const {kind} = box.dataset;
  const has = (quantity, task) => section.strategies.some((s) => s[quantity]?.[task]);
  const add = (chart) => charts[number].push(chart);
  if (kind === 'rates') {
    add(new LineChart(box, section.monitor, 'lower is better', 'learning rate', () => keysOf(number, 'rates'), {xLog: true, marks: true}));
  } else if (kind === 'front') {
    const colours = Object.fromEntries(section.strategies.map((s) => [s.name, s.colour]));
    add(new Plane(box, section.front, (name) => colours[name] ?? 7));
  } else {
    const figures = section.tasks.filter((task) => has(kind, task)).map((task) => [task, kind, linesOf(number, kind, task)]);
    if (kind === 'loss' && section.tasks.length > 1 && has('relative', section.overall)) {
      figures.unshift(['All tasks', 'relative_loss', linesOf(number, 'relative', section.overall)]);
    }
    const panels = figures.map(([, , lines]) => lines);
    for (const [title, unit, lines] of figures) add(new LineChart(box, title, unit, 'epoch', lines, {view: views[number], panels}));
  }
});

// The learning-rate curves have names of their own: where nobody is called so, nothing fades.
function emphasise(number, name) {
  for (const chart of charts[number]) chart.emphasise?.(chart.lines?.().some((line) => line.name === name) ? name : null);
}

function keysOf(number, kind) {
  if (kind === 'rates') return SECTIONS[number].rates.map((r) => ({...r, dash: Math.floor(r.colour / 8)}));
  return drawnOf(SECTIONS[number], kind).filter((s) => s[kind]);
}

function fillLegends(number) {
  document.querySelectorAll(`.legend[data-section="${number}"]`).forEach((list) => {
    list.replaceChildren(...keysOf(number, list.dataset.kind).map((strategy) => {
      const item = element('li');
      const button = element('button');
      button.type = 'button';
      button.dataset.colour = strategy.colour % 8;
      button.setAttribute('aria-pressed', 'false');
      const key = draw('svg', {viewBox: '0 0 22 8', 'aria-hidden': 'true'}, button);
      draw('path', {class: 'line', d: 'M1,4H21', 'stroke-dasharray': DASHES[strategy.dash % 4]}, key);
      const line = nameOf(strategy);
      button.append(element('span', '', line));
      const held = () => list.querySelector('[aria-pressed="true"]')?.textContent ?? null;
      button.addEventListener('pointerenter', () => { if (held() === null) emphasise(number, line); });
      button.addEventListener('pointerleave', () => { if (held() === null) emphasise(number, null); });
      button.addEventListener('click', () => {
        const on = button.getAttribute('aria-pressed') !== 'true';
        document.querySelectorAll(`.legend[data-section="${number}"] button`).forEach((other) => {
          other.setAttribute('aria-pressed', String(on && other.textContent === line));
        });
        emphasise(number, on ? line : null);
      });
      item.append(button);
      return item;
    }));
  });
}
SECTIONS.forEach((_, number) => fillLegends(number));

document.addEventListener('input', (event) => {
  if (!event.target.classList.contains('smooth')) return;
  const {section} = event.target.closest('.tools').dataset;
  views[section].smoothing = Number(event.target.value);
  document.querySelectorAll(`.tools[data-section="${section}"] .smooth`).forEach((other) => { other.value = event.target.value; });
  views[section].draw();
});

document.addEventListener('click', (event) => {
  const step = event.target.dataset?.zoom;
  if (step) views[event.target.closest('.tools').dataset.section].zoom(step, null);
});

document.addEventListener('change', (event) => {
  const {section, strategy} = event.target.dataset ?? {};
  if (section === undefined || strategy === undefined) return;
  SECTIONS[section].strategies.find((s) => s.name === strategy).drawn = event.target.checked;
  fillLegends(Number(section));
  for (const chart of charts[section]) if (chart instanceof LineChart) chart.render();
});
