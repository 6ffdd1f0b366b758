'use strict';
/* global d3, Data, Events, Format, Geometry, State */
// Filters by id, and which rows they let pass. Filters of a column have its name as id.
//
//   {kind: 'range', column, low, high}        low <= value <= high; missing values do not pass
//   {kind: 'set', column, values}             one of these values; null: missing
//   {kind: 'rows', rows, label}
//   {kind: 'polygon', points, label, turn}    on the map; `turn`: rotation of a 3-D map
//   {kind: 'search', text}                    in texts and category names, or an image id

const Filters = (() => {
  const MAX_FILTERS = 16; // bits of a mask

  /** Sets bits of the mask where a filter rejects the row, and clears them elsewhere. */
  /** @typedef {(mask: Uint16Array, bit: number) => void} Test */

  /** @type {Map<string, Filter>} */
  const all = new Map();
  /** @type {Map<string, number>} */
  const bits = new Map(); // by id
  /** @type {Map<string, number>} version of its last change, by id; '' changes all */
  const changes = new Map();
  const filters = {
    all,
    mask: new Uint16Array(0), // bit i is set where filter i rejects the row
    version: 0, // grows with every change
  };

  /** @type {{ version: number, rows: Int32Array }} */
  let passed = { version: -1, rows: new Int32Array(0) };

  /** The rows that pass all filters, ascending. */
  function rows() {
    const { mask, version } = filters;
    if (passed.version !== version) {
      const found = new Int32Array(mask.length);
      let count = 0;
      for (let row = 0; row < mask.length; row++) if (mask[row] === 0) found[count++] = row;
      passed = { version, rows: found.subarray(0, count) };
    }
    return passed.rows;
  }

  /** Grows with every change of another filter than this one. @param {string} id */
  const versionOfOthers = (id) =>
    d3.max(changes, ([key, version]) => (key === id ? 0 : version)) ?? 0;

  /** How many rows pass all filters. */
  const passing = () => rows().length;

  /** The bit of a filter as a mask, 0 if it is not set. @param {string} id */
  const bit = (id) => (bits.has(id) ? (1 << Number(bits.get(id))) >>> 0 : 0);

  /** Sets or replaces a filter; it takes effect once the columns that it needs are loaded.
   * @param {string} id @param {Filter} filter
   * @throws {Error} if it is incomplete, the view lacks its column or map, or there are too many */
  function set(id, filter) {
    const { view } = State;
    const needed = needs(view, filter);
    if (!bits.has(id)) {
      const used = new Set(bits.values());
      const free = d3.range(MAX_FILTERS).find((place) => !used.has(place));
      if (free === undefined) throw new Error(`At most ${MAX_FILTERS} filters can be active.`);
      bits.set(id, free);
    }
    all.set(id, filter);
    Data.when(view, needed, () => {
      if (State.view === view && all.get(id) === filter) apply(id, compile(filter));
    });
  }

  /** @param {string} id */
  function remove(id) {
    if (!all.delete(id)) return;
    apply(id, byRow(() => true));
    bits.delete(id);
  }

  function clear() {
    all.clear();
    bits.clear();
    filters.mask.fill(0);
    changed('');
  }

  /** Removes all filters and shows another view. @param {View} view */
  function reset(view) {
    filters.mask = new Uint16Array(view.n);
    clear();
  }

  /** Applies filters again after the values of a column have changed. @param {string} name */
  function refresh(name) {
    for (const [id, filter] of all) {
      if (filter.column === name || filter.kind === 'search') set(id, filter);
    }
    changed('');
  }

  /** Shows only these values of a column. @param {string} column @param {...Value} values */
  const only = (column, ...values) => set(column, { kind: 'set', column, values });

  /** @param {string} column @param {number} low @param {number} high */
  const range = (column, low, high) => set(column, { kind: 'range', column, low, high });

  /** Adds a value to those shown, or takes it out again.
   * @param {string} column @param {Value} value */
  function toggle(column, value) {
    const chosen = new Set(all.get(column)?.values ?? []);
    if (!chosen.delete(value)) chosen.add(value);
    if (chosen.size) only(column, ...chosen);
    else remove(column);
  }

  /** @param {string} id @param {Test} test */
  function apply(id, test) {
    test(filters.mask, bit(id));
    changed(id);
  }

  /** @param {(row: number) => unknown} passes @returns {Test} */
  const byRow = (passes) => (mask, bit) => {
    for (let row = 0; row < mask.length; row++) {
      if (passes(row)) mask[row] &= ~bit;
      else mask[row] |= bit;
    }
  };

  /** A loop of its own, as a range changes with every step of a brush.
   * @param {any} values @param {number} low @param {number} high @returns {Test} */
  const inRange = (values, low, high) => (mask, bit) => {
    for (let row = 0; row < mask.length; row++) {
      const value = values[row];
      if (value >= low && value <= high) mask[row] &= ~bit;
      else mask[row] |= bit;
    }
  };

  /** @param {string} id */
  function changed(id) {
    changes.set(id, ++filters.version);
    Events.emit('filters');
  }

  const isPair = (/** @type {any} */ pair) =>
    Array.isArray(pair) && pair.length === 2 && pair.every(Number.isFinite);

  // A link may contain anything, so check that a filter has the properties of its kind.
  /** @type {Record<string, (filter: Filter) => boolean>} */
  const complete = {
    range: ({ low, high }) => Number.isFinite(low) && Number.isFinite(high),
    set: ({ values }) => Array.isArray(values),
    rows: ({ rows }) => Array.isArray(rows) && rows.every(Number.isInteger),
    polygon: ({ points, turn = null }) =>
      Array.isArray(points) && points.length > 2 && points.every(isPair) &&
      (turn === null || isPair(turn)),
    search: ({ text }) => typeof text === 'string',
  };

  /** The columns that a filter reads. @param {View} view @param {Filter} filter
   * @throws {Error} if it is incomplete, or the view lacks its column or map */
  function needs(view, filter) {
    if (!complete[filter?.kind]?.(filter)) {
      throw new Error(`${JSON.stringify(filter)} is not a filter.`);
    }
    const { kind, column = null, text = '' } = filter;
    if (kind === 'search') {
      const found = view.columns.filter((entry) => entry.kind === 'text' || named(entry, text));
      return ['image_id', ...found.map(({ name }) => name)];
    }
    if (kind === 'polygon' && !(filter.turn ? view.map_3d : view.map_2d)) {
      throw new Error(`This view has no map in ${filter.turn ? 'three' : 'two'} dimensions.`);
    }
    if (kind === 'rows' || kind === 'polygon') return [];
    if (!view.column(column)) throw new Error(`There is no column ${JSON.stringify(column)}.`);
    return [column];
  }

  /** Which categories contain a text; null if none does. @param {Column} column
   * @param {string} text */
  function named({ categories = [] }, text) {
    const wanted = text.trim().toLowerCase();
    const found = categories.map((name) => name.toLowerCase().includes(wanted));
    return found.includes(true) ? found : null;
  }

  /** @param {Filter} filter @returns {Test} */
  function compile(filter) {
    const { view } = State;
    const { kind, low = 0, high = 0, text = '' } = filter;
    if (kind === 'rows') {
      const passes = new Uint8Array(view.n);
      for (const row of filter.rows ?? []) passes[row] = 1;
      return byRow((row) => passes[row]);
    }
    if (kind === 'polygon') return insidePolygon(view, filter);
    if (kind === 'search') return contains(view, text);
    const column = /** @type {Column} */ (view.column(filter.column ?? null));
    const { values, categories = [] } = column;
    if (kind === 'range') return inRange(values, low, high);
    const chosen = new Set(filter.values);
    if (column.kind !== 'category') return byRow((row) => chosen.has(view.value(column.name, row)));
    const passes = categories.map((name) => chosen.has(name));
    return byRow((row) => passes[values[row]] ?? chosen.has(null));
  }

  /** @param {View} view @param {Filter} filter @returns {Test} */
  function insidePolygon(view, { points = [], turn }) {
    const [left, right] = /** @type {Point} */ (d3.extent(points, ([x]) => x));
    const [low, high] = /** @type {Point} */ (d3.extent(points, ([, y]) => y));
    const position = Geometry.projection(view, turn);
    return byRow((row) => {
      const [x, y] = position(row);
      const isNear = x >= left && x <= right && y >= low && y <= high;
      return isNear && d3.polygonContains(points, [x, y]);
    });
  }

  /** @param {View} view @param {string} text @returns {Test} */
  function contains(view, text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return byRow(() => true);
    const passes = new Uint8Array(view.n);
    for (const column of view.columns) {
      const found = column.kind === 'text' ? column.values.containing(wanted) : named(column, text);
      if (!found) continue;
      const codes = column.kind === 'text' ? null : column.values;
      for (let row = 0; row < passes.length; row++) {
        if (found[codes ? codes[row] : row]) passes[row] = 1;
      }
    }
    const ids = view.values('image_id');
    const id = /^\d+$/.test(wanted) ? Number(wanted) : NaN;
    return byRow((row) => passes[row] || ids[row] === id);
  }

  /** @param {Filter} filter */
  function describe({ kind, column: name, low = 0, high = 0, values = [], rows, label, text }) {
    if (kind === 'search') return `“${text}”`;
    if (kind === 'rows') return label ?? `${rows?.length} samples`;
    if (kind === 'polygon') return label ?? 'Lasso';
    const column = /** @type {Column} */ (State.view.column(name ?? null));
    const format = (/** @type {Value} */ value) =>
      value === null ? 'none' : Format.value(column, value);
    if (kind === 'range') {
      return `${column.label} ${low === high ? '= ' : ''}${Format.range(low, high, format)}`;
    }
    const more = values.length > 3 ? ` and ${values.length - 3} more` : '';
    return `${column.label}: ${values.slice(0, 3).map(format).join(', ')}${more}`;
  }

  return Object.assign(filters, {
    rows, passing, bit, versionOfOthers, needs, set, remove, clear, reset, refresh, only, range,
    toggle, describe,
  });
})();
