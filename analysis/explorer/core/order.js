'use strict';
/* global Filters, Sorting, State */
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
    const { sorted, present } = (column.cache.order ??= ascending(column));
    const found = new Int32Array(Filters.passing());
    let count = 0;
    for (let i = 0; i < sorted.length; i++) {
      const row = sorted[sort.descending && i < present ? present - 1 - i : i];
      if (mask[row] === 0) found[count++] = row;
    }
    last = { view, sort, version, rows: found };
    return found;
  }

  /** All rows in ascending order, and how many have a value. @param {Column} column */
  function ascending({ cache, kind, values, categories = [] }) {
    if (kind === 'text') return byText(values);
    const end = kind === 'number' ? Infinity : kind === 'boolean' ? 2 : categories.length;
    let present = 0;
    for (let row = 0; row < values.length; row++) {
      if (kind === 'number' ? values[row] === values[row] : values[row] < end) present++;
    }
    return { sorted: (cache.rows ??= Sorting.rowsBy(values)), present };
  }

  /** @param {Texts} texts */
  function byText(texts) {
    const { compare } = new Intl.Collator(undefined, { numeric: true });
    const all = Array.from({ length: texts.length }, (_, row) => texts.at(row));
    const rows = [...all.keys()];
    const there = rows.filter((row) => all[row] !== null);
    there.sort((a, b) => compare(all[a] ?? '', all[b] ?? ''));
    const missing = rows.filter((row) => all[row] === null);
    return { sorted: Int32Array.from([...there, ...missing]), present: there.length };
  }

  return { rows };
})();
