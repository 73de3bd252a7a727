// Tables as CSV and LaTeX, figures as SVG: files that the browser saves, without a network.

function save(name, type, text) {
  const link = element('a');
  link.download = name.replace(/[^\w.-]+/g, '_');
  link.href = URL.createObjectURL(new Blob([text], {type}));
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

// What a cell says: its text without marks for screen readers, its number in full, and half its interval.
function contentOf(cell) {
  const copy = cell.cloneNode(true);
  copy.querySelectorAll('.hidden, .half, .whisker, .unit, input').forEach((node) => node.remove());
  return {
    text: copy.textContent.trim().replace(/\s+/g, ' '),
    unit: cell.querySelector('.unit')?.textContent.trim() ?? '',
    half: cell.querySelector('.half')?.textContent.replace('±', '').trim() ?? '',
    value: cell.dataset.value,
    best: cell.classList.contains('best'),
  };
}

// The rows that a filter leaves, those behind a button included.
function rowsOf(table) {
  const body = [...table.tBodies[0].rows].filter((row) => !row.classList.contains('filtered'));
  return [table.tHead.rows[0], ...body].map((row) => [...row.cells].filter((cell) => !cell.classList.contains('choose')).map(contentOf));
}

function csvOf(table) {
  const [heads, ...rows] = rowsOf(table);
  const halves = heads.map((_, i) => rows.some((row) => row[i].half));
  // No cell may act as a formula of a spreadsheet.
  const quote = (text) => {
    const safe = /^[=+\-@\t\r]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const line = (cells) => cells.flatMap(([text, half], i) => (halves[i] ? [quote(text), quote(half)] : [quote(text)])).join(',');
  const names = heads.map((head) => `${head.text} ${head.unit}`.trim());
  return [line(names.map((name) => [name, `${name} ± 95 %`])), ...rows.map((row) => line(row.map((cell) => [cell.value ?? cell.text.replace('–', ''), cell.half])))].join('\n') + '\n';
}

function latexOf(table) {
  const special = {'\\': '\\textbackslash{}', '~': '\\textasciitilde{}', '^': '\\textasciicircum{}', '–': '--', '−': '$-$', '×': '$\\times$', '±': '$\\pm$', '<': '$<$', '>': '$>$'};
  const escape = (text) => text.replace(/[\\~^–−×±<>]|[&%$#_{}]/g, (sign) => special[sign] ?? `\\${sign}`);
  const [heads, ...rows] = rowsOf(table);
  const cell = (content) => {
    if (content.value === undefined || /[a-z]{2}/i.test(content.text)) return escape(content.text);
    const number = content.best ? `\\mathbf{${content.text}}` : content.text;
    return content.text ? `$${number}${content.half ? ` \\pm ${content.half}` : ''}$` : '';
  };
  return [
    '% \\usepackage{booktabs} \\usepackage{graphicx}',
    // One that is wider than the text is scaled down, as in the tables of mtl-compare.
    '\\noindent\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%',
    `\\begin{tabular}{l${'r'.repeat(heads.length - 1)}}`,
    '\\toprule',
    `${heads.map((head) => escape(`${head.text} ${head.unit}`.trim())).join(' & ')} \\\\`,
    '\\midrule',
    ...rows.map((row) => `${row.map(cell).join(' & ')} \\\\`),
    '\\bottomrule',
    '\\end{tabular}}',
    '',
  ].join('\n');
}

const SHOWN = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'stroke-linecap', 'stroke-linejoin', 'opacity', 'font-size', 'font-family', 'text-anchor'];

// The picture with its title and legend, and with the styles that the page gives it.
function svgOf(chart) {
  const shown = chart.plot.querySelector('svg');
  const picture = shown.cloneNode(true);
  const originals = [...shown.querySelectorAll('*')];
  [...picture.querySelectorAll('*')].forEach((node, i) => {
    const style = getComputedStyle(originals[i]);
    for (const name of SHOWN) if (style.getPropertyValue(name)) node.setAttribute(name, style.getPropertyValue(name));
    node.removeAttribute('class');
  });
  const lines = chart.drawn ?? [];
  const height = Number(shown.getAttribute('height'));
  const full = height + 30 + 18 * lines.length;
  const {color, backgroundColor, fontFamily} = getComputedStyle(document.body);
  const file = draw('svg', {xmlns: SVG, viewBox: `0 -26 ${chart.width} ${full}`, width: chart.width, height: full, 'font-family': fontFamily});
  draw('rect', {x: 0, y: -26, width: chart.width, height: full, fill: backgroundColor}, file);
  draw('text', {x: MARGIN.left, y: -8, 'font-size': 14, 'font-weight': 600, fill: color}, file).textContent = chart.name;
  file.append(...picture.childNodes);
  lines.forEach((line, i) => {
    const y = height + 12 + 18 * i;
    const sample = chart.plot.querySelector(`[data-colour="${line.colour % 8}"]`);
    const stroke = sample ? getComputedStyle(sample).getPropertyValue('--series') : color;
    draw('line', {x1: MARGIN.left, x2: MARGIN.left + 22, y1: y - 4, y2: y - 4, stroke, 'stroke-width': 2, 'stroke-dasharray': DASHES[line.dash % 4]}, file);
    draw('text', {x: MARGIN.left + 30, y, 'font-size': 12, fill: color}, file).textContent = line.name;
  });
  return new XMLSerializer().serializeToString(file);
}

// The forest plot, which the page draws as a table, as a picture.
function forestOf(table) {
  const style = (node, name) => Number(getComputedStyle(node).getPropertyValue(name));
  const {color, backgroundColor, fontFamily} = getComputedStyle(document.body);
  const rows = [...table.tBodies[0].rows];
  const heads = [...table.tHead.rows[0].cells].slice(1, -1).map((head) => head.textContent);
  const [left, wide, high] = [230, 250, 22];
  const [width, height] = [left + wide * heads.length + 130, 60 + high * rows.length];
  const file = draw('svg', {xmlns: SVG, viewBox: `0 0 ${width} ${height}`, width, height, 'font-family': fontFamily, 'font-size': 12, fill: color});
  draw('rect', {width, height, fill: backgroundColor}, file);
  const write = (x, y, text, more = {}) => { draw('text', {x, y, ...more}, file).textContent = text; };
  heads.forEach((head, i) => {
    const [x, bottom] = [left + wide * i, 26 + high * rows.length];
    const at = (percent) => x + (percent / 100) * (wide - 60);
    write(x, 16, head);
    draw('rect', {x: at(style(table, '--a')), y: 24, width: at(style(table, '--b')) - at(style(table, '--a')), height: bottom - 24, fill: color, opacity: 0.08}, file);
    draw('line', {x1: at(style(table, '--z')), x2: at(style(table, '--z')), y1: 24, y2: bottom, stroke: color, 'stroke-width': 1}, file);
    table.querySelector('tfoot').querySelectorAll('.axis')[i].querySelectorAll('.ticks span').forEach((tick) => {
      write(at(style(tick, '--m')), bottom + 16, tick.textContent, {'text-anchor': 'middle'});
    });
  });
  rows.forEach((row, r) => {
    const y = 40 + high * r;
    write(8, y, row.cells[0].textContent.trim());
    write(left + wide * heads.length + 6, y, row.querySelector('.kind').textContent.trim());
    const note = row.querySelector('.noted');
    if (note) write(left, y, note.textContent.length > 70 ? `${note.textContent.slice(0, 69)}…` : note.textContent);
    row.querySelectorAll('.interval').forEach((cell, i) => {
      const bar = cell.querySelector('.bar:not(.empty)');
      if (!bar) return;
      const tone = getComputedStyle(bar, '::before').backgroundColor;
      const at = (name) => left + wide * i + (style(bar, name) / 100) * (wide - 60);
      draw('line', {x1: at('--l'), x2: at('--h'), y1: y - 4, y2: y - 4, stroke: tone, 'stroke-width': 2}, file);
      draw('circle', {cx: at('--m'), cy: y - 4, r: 3.5, stroke: tone, 'stroke-width': 2, fill: bar.classList.contains('settled') ? tone : backgroundColor}, file);
      write(left + wide * (i + 1) - 12, y, cell.querySelector('.value').textContent, {'text-anchor': 'end'});
    });
  });
  return new XMLSerializer().serializeToString(file);
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-save]');
  if (!button) return;
  const table = button.closest('[data-table]')?.querySelector('table');
  const name = button.closest('[data-table]')?.dataset.table;
  if (button.dataset.save === 'csv') save(`${name}.csv`, 'text/csv', csvOf(table));
  if (button.dataset.save === 'tex') save(`${name}.tex`, 'application/x-tex', latexOf(table));
  if (button.dataset.save === 'svg') save(`${name}.svg`, 'image/svg+xml', forestOf(table));
});

// On paper everything is unfolded that a reader could unfold.
const unfolded = [];
window.addEventListener('beforeprint', () => {
  document.querySelectorAll('details:not([open])').forEach((part) => { part.open = true; unfolded.push(part); });
});
window.addEventListener('afterprint', () => { for (const part of unfolded.splice(0)) part.open = false; });
