'use strict';
/* global Columns, Dom, Format, Plots */
// The section on grayscale copies: the effect of removing color alone.

/** @type {Section} */
const Grayscale = (() => {
  const MOST_Q = 0.05;

  return {
    title: 'Without color',
    command: 'associations',
    of: (view) => view.grayscale_copies,
    draw(view) {
      const copies = view.grayscale_copies ?? [];
      if (!copies.length) {
        return [
          Dom.note(
            'There is nothing to compare: fewer than 2 images have color, or the model of this ' +
              'analysis cannot be run on copies.',
          ),
        ];
      }
      return [
        Dom.note(
          'Metrics on a grayscale copy of each color image, against those on the image itself.',
        ),
        Plots.intervalTable(copies, {
          columns: [
            { head: 'metric', cell: ({ metric }) => Columns.label(view, metric) },
            Plots.numbers('images', ({ n }) => Format.count(n)),
            Plots.numbers('in color', ({ color }) => Format.short(color)),
            Plots.numbers('grayscale', ({ gray }) => Format.short(gray)),
            Plots.numbers('worse', ({ worse }) => Format.percent(worse), 'share of the images'),
            Plots.numbers('q', ({ q }) => Format.probability(q)),
          ],
          head: 'grayscale minus color, 95 % CI',
          value: ({ difference }) => difference,
          faint: ({ q }) => !(q <= MOST_Q),
        }),
      ];
    },
  };
})();
