'use strict';
/* global Dom, Format, Plots, Show */
// The section of confusion: as which class the pixels of each category are predicted.

/** @type {Section} */
const Confusion = (() => {
  const { h } = Dom;
  const FEW = 10; // effective sample size below which intervals are too narrow
  const FIRST = 15; // categories shown at first

  /** @param {Confused[]} rows @param {string} called @param {number} share of the background */
  const table = (rows, called, share) =>
    Plots.intervalTable(rows, {
      columns: [
        Plots.texts('category', ({ category }) => category),
        { head: 'labeled as', cell: ({ label }) => label },
        Plots.numbers(
          'images (effective)',
          (row) => `${Format.count(row.images)} (${Format.short(row.effective_images)})`,
          'images, and the effective sample size',
        ),
        Plots.numbers('instances', ({ instances }) => Format.count(instances)),
        Plots.numbers(
          'confused',
          (row) => Format.percent(row.instance_share),
          'share of the instances, by the majority of their pixels',
        ),
        Plots.numbers(
          'of all errors',
          (row) => Format.percent(row.wrong_share),
          `share of all pixels that are wrongly predicted as ${called}`,
        ),
      ],
      head: `pixels predicted as ${called}, 95 % CI`,
      value: (row) => row.share ?? NaN,
      reference: share,
      format: (value) => `${Math.round(100 * value)} %`,
      faint: (row) => row.effective_images < FEW,
      label: ({ category }) => `Show the images with ${category}`,
      act: ({ category }) => Show.category(category),
    });

  return {
    title: 'Confusion',
    command: 'confusion',
    of: (view) => view.confusion?.rows,
    draw(view) {
      const { base = {}, rows = [] } = view.confusion ?? {};
      return [
        Dom.note(
          'Pixels of other categories that are predicted as a class, over images in which the ' +
            'category is completely annotated. Dashed: the rate on background without any ' +
            `annotation. Faint: effective sample size below ${FEW}, so that the interval is too ` +
            'narrow. Click a category to show its images.',
        ),
        ...Object.entries(base).map(([called, { share, interval }]) => {
          const mine = rows.filter((row) => row.called === called && row.share !== null);
          if (!mine.length) return null;
          const place = h('div', table(mine.slice(0, FIRST), called, share));
          const showAll = () => place.replaceChildren(table(mine, called, share));
          return h('section', [
            h('h3', `Predicted as ${called}`),
            Dom.note(
              `${Format.percent(share)} ${Format.interval(interval, Format.percent)} of the ` +
                `background without any annotation is predicted as ${called}.`,
            ),
            place,
            Dom.more(mine.length - FIRST, showAll),
          ]);
        }),
      ];
    },
  };
})();
