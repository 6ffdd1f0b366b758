'use strict';
// State: which rows pass the filters, how they are sorted, which is open, what colours and sizes
// mean, and all of that in the URL's fragment, so that a link shows the same again.
//
// Events: 'view' (another view is shown), 'filters', 'sort', 'sample' (opened or closed), 'hover',
// 'appearance' (colour, size, overlay, theme), 'decisions', 'page'.
//
// Filters (id -> filter):
//   {kind: 'range', column, low, high}        low <= value <= high; missing values do not pass
//   {kind: 'set', column, values}             values as View.value gives them (null: missing)
//   {kind: 'rows', rows, label}
//   {kind: 'polygon', points, label, turn}    points [[x, y], …] on the map; turn: [yaw, pitch] of
//                                             the 3-D map that it was drawn on
//   {kind: 'search', text}                    in texts and names of categories, or an image id
// Those of a column have its name as id.

(function () {
  const explorer = window.explorer;
  const MAX_FILTERS = 32; // bits of a mask

  // ---------------------------------------------------------------- events

  const handlers = new Map();
  const pending = new Set();

  explorer.on = function (name, handler) {
    if (!handlers.has(name)) handlers.set(name, []);
    handlers.get(name).push(handler);
  };

  // Handlers run in the next frame, each once however many of its events were emitted, with a Set
  // of all events of the frame.
  explorer.emit = function (name) {
    if (!pending.size) requestAnimationFrame(flush);
    pending.add(name);
  };

  function flush() {
    const events = new Set(pending);
    pending.clear();
    const wanted = [...events].flatMap((name) => handlers.get(name) ?? []);
    for (const handler of new Set(wanted)) handler(events);
  }

  // ---------------------------------------------------------------- filters

  explorer.filters = new Map();
  explorer.mask = new Uint32Array(0); // bit i is set where filter i rejects the row
  const bits = new Map(); // id -> bit

  explorer.passing = function () {
    let count = 0;
    for (let row = 0; row < explorer.mask.length; row++) if (explorer.mask[row] === 0) count++;
    return count;
  };

  // The bit of a filter as a mask, 0 if there is none: a chart shows what all others let pass.
  explorer.filterBit = (id) => (bits.has(id) ? (1 << bits.get(id)) >>> 0 : 0);

  // Sets or replaces a filter. Raises an Error if its column is unknown or there are too many.
  explorer.setFilter = function (id, filter) {
    const test = compile(filter);
    if (!bits.has(id)) {
      const used = new Set(bits.values());
      const free = d3.range(MAX_FILTERS).find((bit) => !used.has(bit));
      if (free === undefined) throw new Error(`More than ${MAX_FILTERS} filters at once.`);
      bits.set(id, free);
    }
    explorer.filters.set(id, filter);
    apply(explorer.filterBit(id), test);
  };

  explorer.removeFilter = function (id) {
    if (!explorer.filters.delete(id)) return;
    apply(explorer.filterBit(id), () => true);
    bits.delete(id);
  };

  explorer.clearFilters = function () {
    explorer.filters.clear();
    bits.clear();
    explorer.mask.fill(0);
    filtersChanged();
  };

  // Values of a column were replaced: what depends on them is made anew.
  explorer.columnChanged = function (name) {
    for (const [id, filter] of explorer.filters) {
      if (filter.column === name || filter.kind === 'search') explorer.setFilter(id, filter);
    }
    filtersChanged();
  };

  // Chooses a category alone, or adds it to those that are chosen, or takes it out again.
  explorer.toggleValue = function (name, value) {
    const chosen = new Set(explorer.filters.get(name)?.values ?? []);
    if (!chosen.delete(value)) chosen.add(value);
    if (chosen.size) explorer.setFilter(name, { kind: 'set', column: name, values: [...chosen] });
    else explorer.removeFilter(name);
  };

  function apply(bit, test) {
    const mask = explorer.mask;
    for (let row = 0; row < mask.length; row++) {
      if (test(row)) mask[row] &= ~bit;
      else mask[row] |= bit;
    }
    filtersChanged();
  }

  function filtersChanged() {
    passingOrder = null;
    explorer.emit('filters');
    saveSoon();
  }

  // Links come from anywhere: a filter has what its kind needs, or it is refused.
  const complete = {
    range: ({ low, high }) => Number.isFinite(low) && Number.isFinite(high),
    set: ({ values }) => Array.isArray(values),
    rows: ({ rows }) => Array.isArray(rows) && rows.every(Number.isInteger),
    polygon: ({ points }) =>
      Array.isArray(points) && points.length > 2 && points.flat().every(Number.isFinite),
    search: ({ text }) => typeof text === 'string',
  };

  // A function of the row that says whether it passes.
  function compile(filter) {
    const view = explorer.view;
    if (!complete[filter?.kind]?.(filter))
      throw new Error(`${JSON.stringify(filter)} is no filter.`);
    if (filter.kind === 'rows') {
      const rows = new Set(filter.rows);
      return (row) => rows.has(row);
    }
    if (filter.kind === 'polygon') return insidePolygon(view, filter);
    if (filter.kind === 'search') return contains(view, filter.text);
    const column = view.column(filter.column);
    if (!column) throw new Error(`There is no column ${JSON.stringify(filter.column)}.`);
    const values = column.values;
    if (filter.kind === 'range') {
      const { low, high } = filter;
      return (row) => values[row] >= low && values[row] <= high;
    }
    const chosen = new Set(filter.values);
    if (column.kind === 'category') {
      const passes = column.categories.map((name) => chosen.has(name));
      return (row) => passes[values[row]] ?? chosen.has(null);
    }
    return (row) => chosen.has(view.value(column.name, row));
  }

  function insidePolygon(view, { points, turn }) {
    const [xs, ys] = [0, 1].map((axis) => d3.extent(points, (point) => point[axis]));
    const position = explorer.projection(view, turn);
    return (row) => {
      const point = position(row);
      if (point[0] < xs[0] || point[0] > xs[1] || point[1] < ys[0] || point[1] > ys[1])
        return false;
      return d3.polygonContains(points, point);
    };
  }

  // Where a row lies on the map, [x, y]; with a turn, on the 3-D map turned by it.
  explorer.projection = function (view, turn) {
    if (!turn) return (row) => [view.map_2d[2 * row], view.map_2d[2 * row + 1]];
    const [a, b] = explorer.turned(turn);
    const points = view.map_3d;
    return (row) => {
      const [x, y, z] = [points[3 * row], points[3 * row + 1], points[3 * row + 2]];
      return [a[0] * x + a[1] * y + a[2] * z, b[0] * x + b[1] * y + b[2] * z];
    };
  };

  // Rows of the rotation by yaw about the vertical axis, then pitch about the horizontal one:
  // right, up and towards the viewer.
  explorer.turned = function ([yaw, pitch]) {
    const [cy, sy, cp, sp] = [Math.cos(yaw), Math.sin(yaw), Math.cos(pitch), Math.sin(pitch)];
    return [
      [cy, 0, sy],
      [sy * sp, cp, -cy * sp],
      [-sy * cp, sp, cy * cp],
    ];
  };

  function contains(view, text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return () => true;
    const tests = [];
    for (const column of view.columns) {
      if (column.kind === 'text') {
        column.cache.lower ??= column.values.map((value) => (value ?? '').toLowerCase());
        tests.push((row) => column.cache.lower[row].includes(wanted));
      } else if (column.kind === 'category') {
        const found = column.categories.map((name) => name.toLowerCase().includes(wanted));
        if (found.includes(true)) tests.push((row) => found[column.values[row]] === true);
      }
    }
    const id = view.rowOf(wanted);
    if (/^\d+$/.test(wanted)) tests.push((row) => row === id);
    return (row) => tests.some((test) => test(row));
  }

  // ---------------------------------------------------------------- order

  explorer.sort = { column: 'loss', descending: true };
  let passingOrder = null;

  explorer.setSort = function (column, descending) {
    explorer.sort = { column, descending };
    passingOrder = null;
    explorer.emit('sort');
    saveSoon();
  };

  // Int32Array of the rows that pass, sorted as chosen; missing values last.
  explorer.order = function () {
    if (passingOrder) return passingOrder;
    const column = explorer.view.column(explorer.sort.column);
    const { descending } = explorer.sort;
    column.cache.order ??= ascending(explorer.view, column);
    const { rows, present } = column.cache.order;
    passingOrder = new Int32Array(explorer.passing());
    let count = 0;
    const take = (row) => {
      if (explorer.mask[row] === 0) passingOrder[count++] = row;
    };
    if (descending) for (let i = present - 1; i >= 0; i--) take(rows[i]);
    else for (let i = 0; i < present; i++) take(rows[i]);
    for (let i = present; i < rows.length; i++) take(rows[i]);
    return passingOrder;
  };

  // All rows in ascending order, and how many of them have a value.
  function ascending(view, column) {
    const { name, values } = column;
    const [there, missing] = [[], []];
    for (let row = 0; row < view.n; row++) {
      (view.value(name, row) === null ? missing : there).push(row);
    }
    let compare = (a, b) => values[a] - values[b];
    if (column.kind === 'text') {
      const collator = new Intl.Collator(undefined, { numeric: true });
      compare = (a, b) => collator.compare(values[a], values[b]);
    }
    there.sort((a, b) => compare(a, b) || a - b);
    return { rows: Int32Array.from(there.concat(missing)), present: there.length };
  }

  // ---------------------------------------------------------------- one sample

  explorer.selected = null; // row, or null
  explorer.hovered = null;

  explorer.openSample = function (row) {
    if (row === explorer.selected) return;
    explorer.selected = row;
    explorer.emit('sample');
    saveSoon(true);
  };

  explorer.closeSample = () => explorer.openSample(null);

  explorer.hoverSample = function (row) {
    if (row === explorer.hovered) return;
    explorer.hovered = row;
    explorer.emit('hover');
  };

  // ---------------------------------------------------------------- appearance

  explorer.appearance = {
    color: null,
    size: null,
    overlay: 'prediction',
    opacity: 0.5,
    theme: 'auto',
  };

  explorer.setAppearance = function (changes) {
    Object.assign(explorer.appearance, changes);
    document.documentElement.dataset.theme = explorer.isDark() ? 'dark' : 'light';
    explorer.emit('appearance');
    saveSoon();
  };

  const prefersDark = matchMedia('(prefers-color-scheme: dark)');
  prefersDark.addEventListener('change', () => explorer.setAppearance({}));

  explorer.isDark = function () {
    const { theme } = explorer.appearance;
    return theme === 'auto' ? prefersDark.matches : theme === 'dark';
  };

  // ---------------------------------------------------------------- view

  // Shows a view. Filters of columns that it has are kept; those of rows and places on the map are
  // of the view before.
  explorer.showView = async function (name) {
    const view = await explorer.load(name);
    const before = explorer.view;
    if (view === before) return view;
    const imageId =
      before && explorer.selected !== null && before.value('image_id', explorer.selected);
    const filters = [...explorer.filters];
    explorer.view = view;
    delete document.body.dataset.loaded;
    explorer.prepareDecisions();
    const kept = filters.filter(
      ([, filter]) => filter.kind === 'search' || view.column(filter.column),
    );
    explorer.mask = new Uint32Array(view.n);
    explorer.hovered = null;
    explorer.clearFilters();
    for (const [id, filter] of kept) explorer.setFilter(id, filter);
    if (before) {
      explorer.selected = imageId === false || view.rowOf(imageId) < 0 ? null : view.rowOf(imageId);
    }
    if (!view.column(explorer.sort.column)) explorer.setSort('image_id', false);
    const { color, size } = explorer.appearance;
    explorer.setAppearance({
      color: view.column(color) ? color : view.column('cluster') ? 'cluster' : 'loss',
      size: view.column(size) ? size : null,
    });
    for (const event of ['view', 'sort', 'sample']) explorer.emit(event);
    saveSoon();
    // After the first picture.
    setTimeout(() => explorer.whole(view).then(() => whenWhole(view), explorer.fail), 50);
    return view;
  };

  function whenWhole(view) {
    if (view !== explorer.view) return;
    explorer.emit('view');
    document.body.dataset.loaded = view.name;
  }

  // ---------------------------------------------------------------- URL fragment

  explorer.page = null; // id
  const own = new Map(); // key -> text, state of pages

  explorer.readState = (key) => own.get(key) ?? null;

  // null removes it.
  explorer.saveState = function (key, value) {
    if (value === null) own.delete(key);
    else own.set(key, String(value));
    saveSoon();
  };

  const KNOWN = [
    'view',
    'page',
    'color',
    'size',
    'overlay',
    'opacity',
    'theme',
    'sort',
    'filters',
    'sample',
  ];
  let saving = null;
  let pushing = false;

  // With `step`, the browser's back button returns to the state before.
  function saveSoon(step = false) {
    pushing ||= step;
    saving ??= setTimeout(save, 150);
  }
  explorer.saveSoon = saveSoon;

  function save() {
    saving = null;
    if (!explorer.view) return;
    const { appearance, sort, selected, view, filters } = explorer;
    const state = new URLSearchParams();
    state.set('view', view.name);
    if (explorer.page) state.set('page', explorer.page);
    for (const key of ['color', 'size']) if (appearance[key]) state.set(key, appearance[key]);
    if (appearance.overlay !== 'prediction') state.set('overlay', appearance.overlay);
    if (appearance.opacity !== 0.5) state.set('opacity', appearance.opacity);
    if (appearance.theme !== 'auto') state.set('theme', appearance.theme);
    state.set('sort', (sort.descending ? '-' : '') + sort.column);
    if (filters.size) state.set('filters', JSON.stringify([...filters].map(shorten)));
    if (selected !== null) state.set('sample', view.value('image_id', selected));
    for (const [key, value] of own) state.set(key, value);
    const hash = `#${state}`;
    if (hash !== location.hash) history[pushing ? 'pushState' : 'replaceState'](null, '', hash);
    pushing = false;
  }

  // Rows as the distances between them in base 36.
  function shorten([id, filter]) {
    if (filter.kind !== 'rows') return [id, filter];
    let before = 0;
    const steps = [...filter.rows].sort(d3.ascending).map((row) => {
      const step = row - before;
      before = row;
      return step.toString(36);
    });
    return [id, { ...filter, rows: steps.join('.') }];
  }

  function lengthen([id, filter]) {
    if (filter.kind !== 'rows') return [id, filter];
    let row = 0;
    const steps = filter.rows ? filter.rows.split('.') : [];
    return [id, { ...filter, rows: steps.map((step) => (row += parseInt(step, 36))) }];
  }

  // Brings everything into the state that the fragment describes. What it names and is not there is
  // left out: a link may be older than the report.
  explorer.restore = async function () {
    const state = new URLSearchParams(location.hash.slice(1));
    const { views, default: first } = explorer.manifest;
    const name = views.some((view) => view.name === state.get('view')) ? state.get('view') : first;
    own.clear();
    for (const [key, value] of state) if (!KNOWN.includes(key)) own.set(key, value);
    const view = await explorer.showView(name);
    explorer.clearFilters();
    for (const [id, filter] of parseFilters(state.get('filters'))) {
      try {
        explorer.setFilter(id, filter);
      } catch (error) {
        explorer.notify(`A filter of this link was left out: ${error.message}`);
      }
    }
    const known = (key) => (view.column(state.get(key)) ? state.get(key) : null);
    explorer.setAppearance({
      color: known('color') ?? explorer.appearance.color,
      size: known('size'),
      overlay: state.get('overlay') ?? 'prediction',
      opacity: Number(state.get('opacity')) || 0.5,
      theme: state.get('theme') ?? 'auto',
    });
    const sort = state.get('sort') ?? '-loss';
    const column = sort.replace(/^-/, '');
    if (view.column(column)) explorer.setSort(column, sort.startsWith('-'));
    const row = state.has('sample') ? view.rowOf(state.get('sample')) : -1;
    explorer.selected = row < 0 ? null : row;
    explorer.page = state.get('page');
    for (const event of ['sample', 'page']) explorer.emit(event);
  };

  function parseFilters(text) {
    try {
      return JSON.parse(text ?? '[]').map(lengthen);
    } catch {
      return [];
    }
  }
})();
