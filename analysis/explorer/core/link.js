'use strict';
/* global d3, Data, Events, Filters, Messages, State, Views */
// The state in the URL's fragment, so that a link restores it.

const Link = (() => {
  const KNOWN = 'view page color size overlay opacity theme sort filters sample'.split(' ');
  const LASTING = ['range', 'set']; // kinds of filters that other views of images may have
  /** @type {number | undefined} */
  let saving;
  let pushing = false;

  Events.on('view filters sort sample appearance page saved step', (events) => {
    pushing ||= events.has('step');
    saving ??= window.setTimeout(save, 150);
  });

  function save() {
    saving = undefined;
    if (!State.view) return;
    const { appearance, page, sort, selected, view } = State;
    const { color, size, overlay, opacity, theme } = appearance;
    const filters = [...Filters.all].map(shorten);
    /** @type {[string, unknown][]} */
    const entries = [
      ['view', view.name],
      ['page', page],
      ['color', color],
      ['size', size],
      ['overlay', overlay === 'prediction' ? null : overlay],
      ['opacity', opacity === 0.5 ? null : opacity],
      ['theme', theme === 'auto' ? null : theme],
      ['sort', (sort.descending ? '-' : '') + sort.column],
      ['filters', filters.length ? JSON.stringify(filters) : null],
      ['sample', selected === null ? null : view.value(view.key, selected)],
      ...State.saved,
    ];
    const state = new URLSearchParams();
    for (const [key, value] of entries) if (value !== null) state.set(key, String(value));
    const hash = `#${state}`;
    if (hash !== location.hash) history[pushing ? 'pushState' : 'replaceState'](null, '', hash);
    pushing = false;
  }

  /** Writes rows as the distances between them in base 36. @param {[string, Filter]} entry */
  function shorten([id, filter]) {
    if (filter.kind !== 'rows') return [id, filter];
    const rows = [0, ...(filter.rows ?? [])].sort(d3.ascending);
    const steps = d3.pairs(rows, (before, row) => (row - before).toString(36));
    return [id, { ...filter, rows: steps.join('.') }];
  }

  /** @param {[string, any]} entry @returns {[string, Filter]} */
  function lengthen([id, filter]) {
    if (filter.kind !== 'rows') return [id, filter];
    const steps = filter.rows ? filter.rows.split('.') : [];
    const rows = d3.cumsum(steps, (/** @type {string} */ step) => parseInt(step, 36));
    return [id, { ...filter, rows: [...rows] }];
  }

  /** @param {string | null} text @returns {[string, Filter][]} */
  function parseFilters(text) {
    try {
      return JSON.parse(text ?? '[]').map(lengthen);
    } catch {
      return [];
    }
  }

  /** The columns that a filter of a link needs. @param {View} view @param {Filter} filter */
  function columnsOf(view, filter) {
    try {
      return Filters.needs(view, filter);
    } catch {
      return []; // Filters.set says what is wrong with it
    }
  }

  let restores = 0; // calls of restore

  /** Restores the state in the fragment. Names that do not exist are ignored, since a link may be
   * older than the report. */
  async function restore() {
    const call = ++restores;
    const state = new URLSearchParams(location.hash.slice(1));
    const { views, default: first } = State.manifest;
    const name = views.find((view) => view.name === state.get('view'))?.name ?? first;
    State.saved.clear();
    for (const [key, value] of state) if (!KNOWN.includes(key)) State.saved.set(key, value);
    const view = await Views.show(name);
    const isOver = () => call !== restores || view !== State.view || view.name !== name;
    if (isOver()) return; // another link or view was chosen meanwhile
    const asked = state.get('view') ?? name;
    const given = parseFilters(state.get('filters'));
    // Rows and places on the map are of the view that the link was made in, and of objects a column
    // and an id mean something else than of images.
    const ofImages = view.rows_are === 'images' && !asked.endsWith('-objects');
    const filters = given.filter(
      ([, { kind }]) => asked === name || kind === 'search' || (ofImages && LASTING.includes(kind)),
    );
    if (filters.length < given.length) {
      const text = 'the samples that this link selects are left out.';
      Messages.notify(`There is no view “${asked.slice(0, 80)}”: ${text}`);
    }
    const sort = state.get('sort') ?? '-loss';
    const column = sort.replace(/^-/, '');
    const needed = [...Views.wanted(view), state.get('color'), state.get('size'), column];
    await Data.columns(view, [...needed, ...filters.flatMap(([, filter]) => columnsOf(view, filter))]);
    if (isOver()) return;
    Filters.clear();
    for (const [id, filter] of filters) {
      try {
        Filters.set(id, filter);
      } catch (error) {
        Messages.fail(error, 'A filter in this link was ignored: ');
      }
    }
    const known = (/** @type {string} */ key) => view.column(state.get(key))?.name ?? null;
    const opacity = parseFloat(state.get('opacity') ?? '');
    State.setAppearance({
      color: known('color') ?? State.appearance.color,
      size: known('size'),
      overlay: state.get('overlay') ?? 'prediction',
      opacity: opacity >= 0 && opacity <= 1 ? opacity : 0.5,
      theme: state.get('theme') ?? 'auto',
    });
    if (view.column(column)) State.setSort(column, sort.startsWith('-'));
    const isKnown = state.has('sample') && (asked === name || ofImages);
    const row = isKnown ? view.rowOf(state.get('sample'), view.key) : -1;
    State.selected = row < 0 ? null : row;
    State.page = state.get('page');
    Events.emit('sample', 'page');
  }

  return { restore };
})();
