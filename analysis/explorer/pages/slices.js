'use strict';
/* global d3, Dom, Format, Plots, Show, Thumbnail */
// The section of slices.

/** @type {Section} */
const Slices = (() => {
  const { h } = Dom;
  const WORST = 44; // pixels, of the worst samples

  /** @type {Record<string, string>} */
  const METRICS = {
    loss: 'Loss (nats per pixel)',
    mean_iou_foreground: 'Mean foreground IoU',
    loss_given_size: 'Loss, adjusted for object size',
    mean_iou_foreground_given_size: 'Mean foreground IoU, adjusted for object size',
  };

  /** @param {View} view @param {string} metric @param {Slice[]} slices */
  const table = (view, metric, slices) =>
    h('section', [
      h('h3', METRICS[metric] ?? metric),
      Plots.intervalTable(slices, {
        columns: [
          { head: 'slice', cell: ({ text }) => h('span.condition.wrap', { dir: 'auto' }, text) },
          { head: 'worst samples', cell: (slice) => worst(view, slice) },
          Plots.numbers('images', ({ size }) => Format.count(size)),
          Plots.numbers('inside', ({ mean }) => Format.short(mean)),
          Plots.numbers('outside', (slice) => Format.short(slice.mean_elsewhere)),
          Plots.numbers(
            'p',
            ({ p }) => Format.probability(p),
            'permutation test, adjusted for all slices tested (max-T)',
          ),
        ],
        head: 'worse by, 95 % CI',
        value: ({ excess }) => excess,
        label: ({ size, text }) => `Show the ${size} samples where ${text}`,
        act: ({ text }) => Show.slice(text),
      }),
    ]);

  /** @param {View} view @param {Slice} slice */
  const worst = (view, slice) =>
    h(
      'span.thumbs',
      (slice.worst ?? [])
        .filter((row) => row >= 0)
        .map((row) => Thumbnail.button(view, row, Thumbnail.make(row, { size: WORST, view }))),
    );

  return {
    title: 'Slices',
    command: 'slices',
    of: (view) => view.slices,
    count: (view) => d3.sum(Object.values(view.slices ?? {}), ({ slices }) => slices.length),
    draw(view) {
      const found = Object.entries(view.slices ?? {}).filter(([, { slices }]) => slices.length);
      if (!found.length) return [Dom.note('No slice was confirmed in the held-out half.')];
      return [
        Dom.note(
          'Conditions under which the metric is worse, found in one half of the images and ' +
            'confirmed in the held-out half; family-wise error rate 5 %. Click a slice to show ' +
            'its samples.',
        ),
        ...found.map(([metric, { slices }]) => table(view, metric, slices)),
      ];
    },
  };
})();
