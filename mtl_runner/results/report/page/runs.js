// The table of runs: a filter over all that is known of a run, and the differences of any two runs.

const RUNS = JSON.parse(document.getElementById('run-options').textContent);
const runsTable = document.querySelector('table.runs');

function optionsOf(row) {
  return RUNS.rows[row.dataset.run].map((value, i) => [RUNS.names[i], value < 0 ? null : RUNS.values[i][value]]);
}

function textOf(row) {
  const options = optionsOf(row).filter(([, value]) => value !== null).map(([name, value]) => `${name}=${value}`);
  return `${[...row.cells].map((cell) => cell.textContent).join(' ')} ${options.join(' ')}`.toLowerCase();
}

// `seed>3` and `relative_loss<0.5` compare numbers; any other word has to occur somewhere.
function matcher(words) {
  const heads = [...runsTable.tHead.rows[0].cells].map((head) => head.textContent.trim().toLowerCase());
  const tests = words.map((word) => {
    const [, name, sign, number] = word.match(/^([\w.]+)(<=|>=|<|>)(-?[\d.]+(?:e-?\d+)?)$/) ?? [];
    if (!sign) return (row) => textOf(row).includes(word);
    const holds = {'<': (a, b) => a < b, '>': (a, b) => a > b, '<=': (a, b) => a <= b, '>=': (a, b) => a >= b}[sign];
    return (row) => {
      const column = heads.findIndex((head) => head.split(' ')[0] === name);
      const found = optionsOf(row).find(([option]) => option === name || option.endsWith(`.${name}`));
      const value = column >= 0 ? row.cells[column].dataset.value : found?.[1];
      return value !== undefined && value !== null && holds(Number(value), Number(number));
    };
  });
  return (row) => tests.every((test) => test(row));
}

function filterRuns(text) {
  const matches = matcher(text.toLowerCase().split(/\s+/).filter(Boolean));
  let count = 0;
  for (const row of runsTable.tBodies[0].rows) {
    const shown = matches(row);
    row.classList.toggle('filtered', !shown);
    count += shown;
  }
  document.getElementById('run-count').textContent = `${count} of ${runsTable.tBodies[0].rows.length} runs`;
}

const chosen = [];

function compareRuns() {
  const box = document.getElementById('run-differences');
  box.hidden = chosen.length === 0;
  if (chosen.length < 2) {
    box.replaceChildren(element('p', 'note', 'Tick a second run to see in what the two differ.'));
    return;
  }
  const [first, second] = chosen;
  const heads = [...runsTable.tHead.rows[0].cells];
  const pairs = optionsOf(first).map(([name, value], i) => [name, value ?? 'default', optionsOf(second)[i][1] ?? 'default']);
  heads.forEach((head, i) => {
    if (i > 1) pairs.push([head.querySelector('span').firstChild.textContent.trim(), first.cells[i].textContent.trim(), second.cells[i].textContent.trim()]);
  });
  const table = element('table', 'differences');
  const caption = element('caption');
  caption.append(element('span', '', 'Options and results in which these two runs differ.'));
  const head = table.createTHead().insertRow();
  for (const text of ['', first.cells[1].textContent, second.cells[1].textContent]) {
    const cell = element(text ? 'th' : 'td', '', text);
    if (text) cell.scope = 'col';
    head.append(cell);
  }
  table.prepend(caption);
  const body = table.createTBody();
  const known = new Set();
  for (const [name, a, b] of pairs) {
    if (a === b || known.has(name)) continue;
    known.add(name);
    const row = body.insertRow();
    const title = element('th', '', name);
    title.scope = 'row';
    row.append(title, element('td', '', a), element('td', '', b));
  }
  box.replaceChildren(known.size ? table : element('p', 'note', 'These two runs have the same options and results.'));
}

if (runsTable) {
  document.getElementById('run-filter').addEventListener('input', (event) => filterRuns(event.target.value));
  runsTable.addEventListener('change', (event) => {
    const row = event.target.closest('tr');
    if (event.target.checked) chosen.push(row);
    else chosen.splice(chosen.indexOf(row), 1);
    if (chosen.length > 2) chosen.shift().querySelector('input').checked = false;
    compareRuns();
  });
}
