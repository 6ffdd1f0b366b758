'use strict';
/* global Columns, Dom, Filters, Format, SavedViews, State, Statistics */
// The line below the header: how many samples pass the filters, their means, and the filters.

const Summary = (() => {
  const { h } = Dom;
  const MEANS = 5;

  /** The mean of a column over some samples, and over all.
   * @param {Column} column @param {ArrayLike<number> | null} rows null: all samples
   * @param {string} title */
  const mean = (column, rows, title) =>
    h('span.stat.inline-flex', { title }, [
      h('span.muted', column.label),
      h('b', { 'data-mean': column.name }, Format.value(column, Statistics.mean(column, rows))),
      rows && h('span.muted.stat-all', Format.value(column, Statistics.mean(column))),
    ]);

  /** @param {HTMLElement} container */
  function draw(container) {
    const { view } = State;
    const passing = Filters.passing();
    const rows = passing === view.n ? null : Filters.rows();
    const whose = rows ? 'the samples that pass the filters, and of all' : 'all samples';
    const chips = [...Filters.all].map(([id, filter]) => {
      const text = Filters.describe(filter);
      return h('span.chip.inline-flex', [
        h('span.chip-text.cut', { title: text }, text),
        Dom.iconButton('close', `Remove the filter: ${text}`, () => Filters.remove(id)),
      ]);
    });
    container.replaceChildren(
      h('span.count.soft', { role: 'status' }, [
        h('b', { id: 'passing' }, Format.count(passing)),
        ` of ${Format.count(view.n)} samples`,
      ]),
      h(
        'span.stats.flex',
        Columns.headline(view)
          .slice(0, MEANS)
          .map((column) => mean(column, rows, `Mean ${column.label} of ${whose}`)),
      ),
      h('span.chips.flex', chips, chips.length > 1 && Dom.link('Clear all', Filters.clear)),
      SavedViews.link(),
    );
  }

  return { mean, draw };
})();
