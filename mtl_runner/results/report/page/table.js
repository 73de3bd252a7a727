// Tables that are sorted by their column buttons; what has no number stays at the end.

function sortBy(button) {
  const head = button.closest('th');
  const table = button.closest('table');
  const column = [...head.parentNode.children].indexOf(head);
  const kind = button.dataset.sort;
  const now = head.getAttribute('aria-sort');
  const first = kind === 'high' ? 'descending' : 'ascending';
  const next = now === null ? first : now === 'ascending' ? 'descending' : 'ascending';
  const sign = next === 'ascending' ? 1 : -1;
  const body = table.tBodies[0];
  const value = (row) => {
    const cell = row.cells[column];
    return kind === 'text' ? cell.textContent.trim() : cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
  };
  const rows = [...body.rows].map((row) => [value(row), row]);
  rows.sort(([a], [b]) => {
    if (kind === 'text') return sign * a.localeCompare(b, undefined, {numeric: true});
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return sign * (a - b);
  });
  const optional = rows.map(([, row]) => row).filter((row) => row.classList.contains('optional'));
  const hidden = optional.filter((row) => row.classList.contains('more')).length;
  optional.forEach((row, i) => row.classList.toggle('more', i >= optional.length - hidden));
  body.append(...rows.map(([, row]) => row));
  for (const other of head.parentNode.children) other.removeAttribute('aria-sort');
  head.setAttribute('aria-sort', next);
  document.getElementById('announce').textContent = `sorted by ${button.textContent.trim()}, ${next}`;
}

document.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (button?.classList.contains('sort')) sortBy(button);
  if (button?.classList.contains('show-all')) {
    button.previousElementSibling.querySelector('table').classList.add('all');
    button.remove();
  }
});
