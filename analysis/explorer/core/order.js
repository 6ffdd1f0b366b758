'use strict';
/* global Filters, State */
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
    const result = new Int32Array(Filters.passing());
    let count = 0;
    const take = (/** @type {number} */ row) => {
      if (mask[row] === 0) result[count++] = row;
    };
    if (sort.descending) for (let i = present - 1; i >= 0; i--) take(sorted[i]);
    else for (let i = 0; i < present; i++) take(sorted[i]);
    for (let i = present; i < sorted.length; i++) take(sorted[i]);
    last = { view, sort, version, rows: result };
    return result;
  }

  /** All rows in ascending order, and how many have a value.
   * @param {View} view @param {Column} column */
  function ascending(view, { name, kind, values }) {
    const missing = Int32Array.from({ length: view.n }, (_, row) => row);
    const there = missing.filter((row) => view.value(name, row) !== null);
    const { compare } = new Intl.Collator(undefined, { numeric: true });
    if (kind === 'text') there.sort((a, b) => compare(values[a], values[b]) || a - b);
    else there.sort((a, b) => values[a] - values[b] || a - b);
    const sorted = new Int32Array(view.n);
    sorted.set(there);
    sorted.set(missing.filter((row) => view.value(name, row) === null), there.length);
    return { sorted, present: there.length };
  }

  return { rows };
})();
