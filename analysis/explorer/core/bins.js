'use strict';
/* global d3, Filters, Format, Statistics */
// Bins of columns, with counts and means of the samples that pass.

const Bins = (() => {
  const WANTED = 20; // bins of a number

  /** @param {View} view @param {string} name @returns {Binned} */
  function of(view, name) {
    const column = /** @type {Column} */ (view.column(name));
    column.cache.bins ??= column.kind === 'number' ? numberBins(column) : categoryBins(column);
    return column.cache.bins;
  }

  /** @param {Column} column */
  function categoryBins(column) {
    /** @type {Value[]} */
    const names = column.kind === 'boolean' ? [false, true] : (column.categories ?? []);
    const missing = names.length;
    const { values } = column;
    const counts = new Int32Array(missing + 1);
    for (let row = 0; row < values.length; row++) counts[Math.min(values[row], missing)]++;
    const order = d3
      .range(missing + 1)
      .filter((code) => counts[code] > 0)
      .sort((a, b) => Number(a === missing) - Number(b === missing) || counts[b] - counts[a]);
    const rank = new Uint16Array(missing + 1);
    order.forEach((code, i) => (rank[code] = i));
    const codes = new (order.length > 255 ? Uint16Array : Uint8Array)(values.length);
    for (let row = 0; row < codes.length; row++) codes[row] = rank[Math.min(values[row], missing)];
    return {
      codes,
      size: order.length,
      values: order.map((code) => {
        const value = names[code] ?? null;
        const label = value === null ? 'none' : Format.value(column, value);
        return { value, label, count: counts[code] };
      }),
    };
  }

  /** @param {Column} column */
  function numberBins(column) {
    const { values } = column;
    const [low, high] = Statistics.ends(values);
    const whole = Format.isWhole(column);
    const [, most] = Statistics.percentiles(values, [0, 0.99]);
    const open = high - low > 3 * (most - low) && most > low;
    const top = open ? most : high;
    let edges = [low - 0.5, low + 0.5];
    if (whole) {
      const step = Math.ceil((top - low + 1) / WANTED) || 1;
      edges = d3.range(low - 0.5, top + 0.5 + step - 1e-9, step);
    } else if (top > low) {
      const step = d3.tickStep(low, top, WANTED);
      const first = Math.floor(low / step);
      // As the values are, so that the value at an edge is above it for all comparisons.
      edges = d3.range(first, Math.ceil(top / step - 1e-9) + 1).map((i) => Math.fround(i * step));
    }
    const size = edges.length - 1;
    const factor = size / (edges[size] - edges[0]);
    const codes = new Uint8Array(values.length);
    for (let row = 0; row < values.length; row++) {
      let bin = Math.floor((values[row] - edges[0]) * factor);
      if (values[row] >= edges[bin + 1]) bin++;
      else if (values[row] < edges[bin]) bin--;
      codes[row] = bin >= size ? size - 1 : bin >= 0 ? bin : values[row] < edges[0] ? 0 : size;
    }
    return { codes, size, edges, low, high, whole, open };
  }

  /** Whether a column has at least two values. @param {View} view @param {string} name */
  function varies(view, name) {
    const { high, low, size, edges } = of(view, name);
    return edges ? high > low : size > 1;
  }

  /** The rows of each bin, ascending. @param {View} view @param {string} name */
  function members(view, name) {
    const { codes, size } = of(view, name);
    const { cache } = /** @type {Column} */ (view.column(name));
    if (!cache.members) {
      const places = new Int32Array(size + 2); // where the next row of each bin comes, from the second on
      for (let row = 0; row < codes.length; row++) places[codes[row] + 2]++;
      for (let bin = 2; bin < places.length; bin++) places[bin] += places[bin - 1];
      const rows = new Int32Array(codes.length);
      for (let row = 0; row < codes.length; row++) rows[places[codes[row] + 1]++] = row;
      cache.members = d3.range(size).map((bin) => rows.subarray(places[bin], places[bin + 1]));
    }
    return /** @type {Int32Array[]} */ (cache.members);
  }

  /** Per bin of a column, over the rows that pass all filters but the column's own: counts, and of
   * a metric the sums, sums of squares and numbers of known values.
   * @param {View} view @param {string} name @param {string | null} [metric]
   * @returns {Summary} kept until another filter changes, as while the column's own is dragged */
  function summarize(view, name, metric = null) {
    const { cache } = /** @type {Column} */ (view.column(name));
    const version = Filters.versionOfOthers(name);
    if (cache.summary?.metric !== metric || cache.summary.version !== version) {
      cache.summary = { metric, version, found: count(view, name, metric, false) };
    }
    return cache.summary.found;
  }

  /** The same over all rows. @param {View} view @param {string} name
   * @param {string | null} [metric] */
  const summarizeAll = (view, name, metric = null) => count(view, name, metric, true);

  /** @typedef {{ counts: Float64Array, sums: Float64Array, squares: Float64Array,
   *   known: Float64Array }} Summary */

  /** @param {View} view @param {string} name @param {string | null} metric
   * @param {boolean} all whether filters are ignored @returns {Summary} */
  function count(view, name, metric, all) {
    const { codes, size } = of(view, name);
    const [counts, sums, squares, known] = [0, 0, 0, 0].map(() => new Float64Array(size + 1));
    const own = Filters.bit(name);
    // Without a filter of its own, those that pass all filters.
    const rows = all || own ? null : Filters.rows();
    const others = all ? 0 : ~own;
    const { mask } = Filters;
    const values = metric && view.values(metric);
    const n = rows ? rows.length : codes.length;
    for (let i = 0; i < n; i++) {
      const row = rows ? rows[i] : i;
      if (!rows && mask[row] & others) continue;
      const bin = codes[row];
      counts[bin]++;
      if (!values) continue;
      const value = values[row];
      if (value !== value) continue;
      sums[bin] += value;
      squares[bin] += value * value;
      known[bin]++;
    }
    return { counts, sums, squares, known };
  }

  /** The share of a metric's variance that a column's bins explain, in [0, 1], adjusted for chance
   * (ε², Kelley 1935); 0 if there is no variance.
   * @param {View} view @param {string} name @param {string} metric */
  function explained(view, name, metric) {
    const { sums, squares, known } = summarizeAll(view, name, metric);
    const n = d3.sum(known);
    const groups = known.filter((count) => count > 0).length;
    const total = d3.sum(squares) - d3.sum(sums) ** 2 / n;
    if (n <= groups || !(total > 0)) return 0;
    const within = d3.sum(squares, (square, bin) =>
      known[bin] ? square - sums[bin] ** 2 / known[bin] : 0,
    );
    return Math.max(0, 1 - within / (n - groups) / (total / (n - 1)));
  }

  return { of, varies, members, summarize, summarizeAll, explained };
})();
