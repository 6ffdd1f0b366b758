'use strict';
/* global Columns, Dom, Filters, Format, Plots, Show */
// The section of drift: in which columns the parts of a view differ from the reference.

/** @type {Section} */
const Drift = (() => {
  const { h } = Dom;
  const MOST_P = 0.05;
  const FIRST = 12; // columns

  /** @param {View} view @param {DriftedPart['columns']} rows */
  const table = (view, rows) =>
    Plots.intervalTable(rows, {
      columns: [
        { head: 'column', cell: ({ column }) => Columns.label(view, column) },
        Plots.numbers('images', ({ images }) => Format.count(images)),
        Plots.numbers('median', ({ median }) => Format.short(median)),
        Plots.numbers('of the reference', (row) => Format.short(row.median_reference)),
        Plots.numbers('p', ({ p }) => Format.probability(p), 'adjusted for all columns (max-T)'),
      ],
      head: 'Kolmogorov-Smirnov distance',
      value: ({ distance }) => distance,
      interval: () => null,
      faint: ({ p }) => p > MOST_P,
    });

  return {
    title: 'Drift',
    command: 'drift',
    of: (view) => view.drift,
    draw(view) {
      const { reference = '', num_reference: total = 0, parts = [] } = view.drift ?? {};
      return [
        Dom.note(
          `Each part is compared with ${Format.count(total)} images of ${reference}. Novelty is ` +
            'the mean distance to the nearest of them; 1 is typical. Columns with p > 0.05 are ' +
            'faint. Of parts that do not differ, at most 5 % have a column with p ≤ 0.05. At most ' +
            '5,000 images of each part are compared; medians of columns of 0 and 1 are means.',
        ),
        ...parts.map((part) => {
          const place = h('div', table(view, part.columns.slice(0, FIRST)));
          const showAll = () => place.replaceChildren(table(view, part.columns));
          const act = () => Show.samples('split', ({ name }) => Filters.only(name, part.part));
          const words = part.differs ? 'differs' : 'no column differs';
          return h('section', [
            h('h3', Dom.link(part.part, act, { title: 'Show these images' }), `: ${words}`),
            Dom.note(
              `${Format.count(part.images)} images, median novelty ` +
                `${Format.short(part.median_novelty)}.`,
            ),
            place,
            Dom.more(part.columns.length - FIRST, showAll),
          ]);
        }),
      ];
    },
  };
})();
