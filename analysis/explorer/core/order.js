'use strict';
/* global d3, Filters, State */
// The order of samples, as the table is sorted.

const Order = (() => {
  /** @type {{ view: View, sort: typeof State.sort, version: number, rows: Int32Array } | null} */
  let last = null;

  /** The rows that pass, sorted; missing values last. @returns {Int32Array} */
  function rows() {
    const { view, sort } = State;
    const { mask, version } = Filters;
    if (last?.view === view && last.sort === sort && last.version === version) return last.rows;
    const column = /** @type {Column} */ (view.column(sort.column));
    const { sorted, present } = (column.cache.order ??= ascending(view, column));
    const all = Int32Array.from(sorted);
    if (sort.descending) all.subarray(0, present).reverse();
    last = { view, sort, version, rows: all.filter((row) => mask[row] === 0) };
    return last.rows;
  }

  /** All rows in ascending order, and how many have a value.
   * @param {View} view @param {Column} column */
  function ascending(view, { name, kind, values }) {
    const isMissing = (/** @type {number} */ row) => view.value(name, row) === null;
    const rows = d3.range(view.n);
    const there = rows.filter((row) => !isMissing(row));
    const { compare } = new Intl.Collator(undefined, { numeric: true });
    if (kind === 'text') there.sort((a, b) => compare(values[a], values[b]));
    else there.sort((a, b) => values[a] - values[b]);
    return { sorted: [...there, ...rows.filter(isMissing)], present: there.length };
  }

  return { rows };
})();
