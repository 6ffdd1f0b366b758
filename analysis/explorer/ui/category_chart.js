'use strict';
/* global d3, Bins, Dom, Filters, Format, State */
// The chart of a column of categories: a bar for each, which filters.

const CategoryChart = (() => {
  const { h } = Dom;
  const ROWS = 8; // shown at first

  /** Draws the chart; returns a function that updates it.
   * @param {HTMLElement} body @param {Column} column @param {string} metric */
  function create(body, { name }, metric) {
    const { view } = State;
    const metricColumn = /** @type {Column} */ (view.column(metric));
    /** @type {Binned | null} */
    let binned = null; // decisions have other bins after each of them
    let tallest = 1;
    const width = (/** @type {number} */ count) => `${(100 * count) / tallest}%`;
    /** @type {ReturnType<typeof makeRow>[]} */
    let rows = [];

    /** @param {Binned['values'][0]} bin */
    function makeRow({ value, label, count }) {
      const part = h('i.part');
      const number = h('span.number');
      const mean = h('span.row-mean.number', { title: `Mean ${metricColumn.label}` });
      const button = h(
        'button.row',
        { title: label, 'data-value': String(value), onclick: () => Filters.toggle(name, value) },
        h('span.row-name.cut', label),
        h('span.row-bar', h('i.whole', { style: { width: width(count) } }), part),
        number,
        mean,
      );
      return { value, part, number, mean, button };
    }
    let everything = false;
    const more = Dom.link('', () => {
      everything = !everything;
      show();
    });
    function show() {
      rows.forEach(({ button }, i) => (button.hidden = !everything && i >= ROWS));
      more.hidden = rows.length <= ROWS;
      more.textContent = everything ? 'Fewer' : `All ${rows.length}`;
    }

    return function update() {
      if (binned !== Bins.of(view, name)) {
        binned = Bins.of(view, name);
        tallest = d3.max(binned.values, ({ count }) => count) || 1;
        rows = binned.values.map(makeRow);
        show();
        body.replaceChildren(h('div.rows', rows.map(({ button }) => button)), more);
      }
      const { counts, sums, known } = Bins.summarize(view, name, metric);
      const chosen = Filters.all.get(name)?.values;
      rows.forEach(({ value, part, number, mean, button }, i) => {
        part.style.width = width(counts[i]);
        number.textContent = Format.count(counts[i]);
        mean.textContent = Format.value(metricColumn, known[i] ? sums[i] / known[i] : null);
        Dom.press(button, !chosen || chosen.includes(value));
      });
    };
  }

  return { create };
})();
