'use strict';
/* global Columns, Dom, Format, Plots */
// The section on grayscale copies: what the loss of colour alone changes.

/** @type {Section} */
const Grayscale = (() => {
  const MOST_Q = 0.05;

  return {
    title: 'Without colour',
    command: 'associations',
    of: (view) => view.grayscale_copies,
    draw: (view) => [
      Dom.note(
        'Metrics on a grayscale copy of each colour image, against those on the image itself.',
      ),
      Plots.intervalTable(view.grayscale_copies ?? [], {
        columns: [
          { head: 'metric', cell: ({ metric }) => Columns.label(view, metric) },
          Plots.numbers('images', ({ n }) => Format.count(n)),
          Plots.numbers('in colour', ({ colour }) => Format.short(colour)),
          Plots.numbers('grayscale', ({ gray }) => Format.short(gray)),
          Plots.numbers('worse', ({ worse }) => Format.percent(worse), 'share of the images'),
          Plots.numbers('q', ({ q }) => Format.probability(q)),
        ],
        head: 'grayscale minus colour, 95 % CI',
        value: ({ difference }) => difference,
        faint: ({ q }) => !(q <= MOST_Q),
      }),
    ],
  };
})();
