'use strict';
/* global Data, Events */
// What is shown: the view, the page, the open sample, the sort order, colors and sizes.

const State = (() => {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  /** @type {Map<string, string>} */
  const saved = new Map(); // state of pages, by key

  const state = {
    manifest: /** @type {Manifest} */ (/** @type {unknown} */ (null)),
    view: /** @type {View} */ (/** @type {unknown} */ (null)),
    page: /** @type {string | null} */ (null), // id
    selected: /** @type {number | null} */ (null), // row of the open sample
    hovered: /** @type {number | null} */ (null), // row
    sort: { column: 'loss', descending: true },
    appearance: {
      color: /** @type {string | null} */ (null), // column
      size: /** @type {string | null} */ (null), // column
      overlay: 'prediction',
      opacity: 0.5,
      theme: 'auto',
    },
  };

  let wantedSort = state.sort;
  /** @type {Partial<typeof state.appearance>} changes that wait for their columns */
  let wanted = {};

  /** @param {string} column @param {boolean} descending */
  function setSort(column, descending) {
    const sort = (wantedSort = { column, descending });
    const { view } = state;
    Data.when(view, [column], () => {
      if (sort !== wantedSort || view !== state.view) return; // another was chosen meanwhile
      state.sort = sort;
      Events.emit('sort');
    });
  }

  /** @param {number | null} row */
  function openSample(row) {
    if (row === state.selected) return;
    state.selected = row;
    Events.emit('sample', 'step');
  }

  const closeSample = () => openSample(null);

  /** @param {number | null} row */
  function hoverSample(row) {
    if (row === state.hovered) return;
    state.hovered = row;
    Events.emit('hover');
  }

  /** @param {string} id */
  function showPage(id) {
    state.page = id;
    Events.emit('page', 'step');
  }

  /** @param {Partial<typeof state.appearance>} changes */
  function setAppearance(changes) {
    const all = (wanted = { ...wanted, ...changes });
    const apply = () => {
      if (all !== wanted) return; // there were more changes meanwhile
      wanted = {};
      Object.assign(state.appearance, all);
      document.documentElement.dataset.theme = isDark() ? 'dark' : 'light';
      Events.emit('appearance');
    };
    if (state.view) Data.when(state.view, [all.color, all.size], apply);
    else apply();
  }

  function isDark() {
    const { theme } = state.appearance;
    return theme === 'auto' ? dark.matches : theme === 'dark';
  }

  dark.addEventListener('change', () => setAppearance({}));

  /** What a page has saved. @param {string} key */
  const read = (key) => saved.get(key) ?? null;

  /** @param {string} key @param {string | number | null} value null removes it */
  function save(key, value) {
    if (value === null) saved.delete(key);
    else saved.set(key, String(value));
    Events.emit('saved');
  }

  return Object.assign(state, {
    saved, setSort, openSample, closeSample, hoverSample, showPage, setAppearance, isDark, read,
    save,
  });
})();
