// Which figures there are, and which strategies they show: those that are ticked in the table.

const SECTIONS = JSON.parse(document.getElementById('figures').textContent);
const charts = SECTIONS.map(() => []);

// A colour that comes twice among the drawn strategies is told apart by its dashes.
function drawnOf(section) {
  const seen = {};
  return section.strategies.filter((s) => s.drawn).map((s) => {
    const slot = s.colour % 8;
    seen[slot] = (seen[slot] ?? -1) + 1;
    return {...s, dash: seen[slot]};
  });
}

function nameOf(strategy) {
  return strategy.unfinished ? `${strategy.name} (not finished)` : strategy.name;
}

function lineOf(strategy, quantity, task) {
  const curve = strategy[quantity]?.[task];
  if (!curve) return [];
  const [x, mean, low, high] = curve;
  return [{name: nameOf(strategy), colour: strategy.colour, dash: strategy.dash, x, mean, low, high}];
}

function linesOf(section, quantity, task) {
  return () => drawnOf(section).flatMap((strategy) => lineOf(strategy, quantity, task));
}

document.querySelectorAll('.figures').forEach((box) => {
  const number = Number(box.dataset.section);
  const section = SECTIONS[number];
  const {kind} = box.dataset;
  const has = (quantity, task) => section.strategies.some((s) => s[quantity]?.[task]);
  const add = (chart) => charts[number].push(chart);
  if (kind === 'rates') {
    add(new LineChart(box, 'Monitor', 'lower is better', 'learning rate', () => keysOf(number, 'rates'), {xLog: true, marks: true}));
  } else if (kind === 'front') {
    const colours = Object.fromEntries(section.strategies.map((s) => [s.name, s.colour]));
    add(new Plane(box, section.front, (name) => colours[name] ?? 7));
  } else {
    if (kind === 'loss' && section.tasks.length > 1 && has('relative', section.overall)) {
      add(new LineChart(box, 'All tasks', 'mean relative loss', 'epoch', linesOf(section, 'relative', section.overall)));
    }
    for (const task of section.tasks) {
      if (has(kind, task)) add(new LineChart(box, task, kind, 'epoch', linesOf(section, kind, task)));
    }
  }
});

// The learning-rate curves have names of their own: where nobody is called so, nothing fades.
function emphasise(number, name) {
  for (const chart of charts[number]) chart.emphasise?.(chart.lines?.().some((line) => line.name === name) ? name : null);
}

function keysOf(number, kind) {
  if (kind === 'rates') return SECTIONS[number].rates.map((r) => ({...r, dash: Math.floor(r.colour / 8)}));
  return drawnOf(SECTIONS[number]).filter((s) => s[kind]);
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

document.addEventListener('change', (event) => {
  const {section, strategy} = event.target.dataset ?? {};
  if (section === undefined || strategy === undefined) return;
  SECTIONS[section].strategies.find((s) => s.name === strategy).drawn = event.target.checked;
  fillLegends(Number(section));
  for (const chart of charts[section]) if (chart instanceof LineChart) chart.render();
});
