'use strict';
/* global Data, Filters, Messages, State, Statistics */
// Shows the samples behind a finding on the first page.

const Show = (() => {
  /** @param {string} name of a column @param {(column: Column) => void} filter */
  function samples(name, filter) {
    const { view } = State;
    const column = view.column(name);
    if (!column) {
      Messages.notify(`This view has no column “${name}”.`);
      return;
    }
    Data.when(view, [name], () => {
      if (view !== State.view) return;
      filter(column);
      State.showPage('explore');
    });
  }

  /** Those with values from low to high; of categories, codes.
   * @param {string} name @param {number} low @param {number} high */
  const range = (name, low, high) =>
    samples(name, ({ kind, categories = [] }) => {
      if (kind === 'number') return Filters.range(name, low, high);
      const values = kind === 'boolean' ? [false, true] : categories;
      return Filters.only(name, ...values.filter((_, code) => code >= low && code <= high));
    });

  /** Those with a category. @param {string} category */
  const category = (category) =>
    samples(`count_${category}`, ({ name, values }) =>
      Filters.range(name, 1, Statistics.ends(values)[1]),
    );

  /** @param {string} text of the slice */
  const slice = (text) => samples(`slice: ${text}`, ({ name }) => Filters.only(name, true));

  return { samples, range, category, slice };
})();
