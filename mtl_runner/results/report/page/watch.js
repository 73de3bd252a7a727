// A page that is written anew while a sweep runs loads itself again, and shows what its reader had chosen.

const refresh = Number(document.body.dataset.refresh ?? 0);
const PLACE = `mtl-runner ${location.pathname}`;

function stateOf() {
  return {
    open: [...document.querySelectorAll('details')].map((part) => part.open),
    filter: document.getElementById('run-filter').value,
    drawn: SECTIONS.map((section) => section.strategies.filter((s) => s.drawn).map((s) => s.name)),
    views: views.map(({range, smoothing}) => ({range, smoothing})),
    scroll: window.scrollY,
  };
}

function restore(state) {
  document.querySelectorAll('details').forEach((part, i) => { part.open = state.open[i] ?? part.open; });
  const filter = document.getElementById('run-filter');
  filter.value = state.filter;
  if (state.filter) filterRuns(state.filter);
  SECTIONS.forEach((section, number) => {
    const names = state.drawn[number];
    if (names) for (const strategy of section.strategies) strategy.drawn = names.includes(strategy.name);
    document.querySelectorAll(`.strategies input[data-section="${number}"]`).forEach((box) => { box.checked = names ? names.includes(box.dataset.strategy) : box.checked; });
    Object.assign(views[number], state.views[number] ?? {});
    document.querySelectorAll(`.tools[data-section="${number}"] .smooth`).forEach((slider) => { slider.value = views[number].smoothing; });
    fillLegends(number);
    views[number].draw();
  });
  window.scrollTo(0, state.scroll);
}

if (refresh) {
  try {
    const kept = sessionStorage.getItem(PLACE);
    if (kept) restore(JSON.parse(kept));
  } catch {
    // A browser that keeps nothing, or a page that has changed: it is shown as it is.
  }
  setInterval(() => {
    // Not under the hands of somebody who types.
    if (document.hidden || document.activeElement?.type === 'search') return;
    try {
      sessionStorage.setItem(PLACE, JSON.stringify(stateOf()));
    } catch {
      // As above.
    }
    location.reload();
  }, 1000 * refresh);
}
