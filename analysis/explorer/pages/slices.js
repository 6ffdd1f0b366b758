'use strict';
/* global Dom, Format, Plots, Show, State, Thumbnail */
// The section of slices: of nested ones, that which stands out most, with the others folded.

/** @type {Section} */
const Slices = (() => {
  const { h } = Dom;
  const WORST = 44; // pixels, of the worst samples

  /** @type {Record<string, string>} */
  const METRICS = {
    loss: 'Loss (nats per pixel)',
    iou: 'IoU of the object',
    mean_iou_foreground: 'Mean foreground IoU',
    loss_given_size: 'Loss, adjusted for object size',
    mean_iou_foreground_given_size: 'Mean foreground IoU, adjusted for object size',
  };

  const AT_FIRST = 10; // groups
  let isComplete = false;

  /** A slice with those nested with it.
   * @typedef {Slice & { metric: string, nested: (Slice & { metric: string })[] }} Head */

  /** @param {View} view @returns {Head[]} */
  const headsOf = ({ slices = {}, slice_groups: groups = [] }) =>
    groups.map((group) => {
      const [head, ...nested] = group.map(([metric, place]) => ({
        metric,
        ...slices[metric].slices[place],
      }));
      return { ...head, nested };
    });

  /** @param {View} view @param {string} metric @param {Head[]} slices */
  const table = (view, metric, slices) =>
    h('section', [
      h('h3', METRICS[metric] ?? metric),
      Plots.intervalTable(slices, {
        columns: [
          { head: 'slice', cell: (slice) => [condition(slice), nestedIn(slice)] },
          { head: 'worst samples', cell: (slice) => worst(view, slice) },
          Plots.numbers(view.rows_are, ({ size }) => Format.count(size)),
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

  /** @param {Slice} slice */
  const condition = ({ text }) => h('span.condition.wrap', { dir: 'auto' }, text);

  /** @param {Head} head */
  function nestedIn({ nested }) {
    if (!nested.length) return '';
    const title = `${nested.length} nested ${nested.length > 1 ? 'slices' : 'slice'}`;
    const items = nested.map((slice) =>
      h('li', [
        Dom.link(slice.text, () => Show.slice(slice.text), { dir: 'auto' }),
        h('span.muted', `${METRICS[slice.metric]}, ${Format.count(slice.size)} ${State.view.rows_are}`),
      ]),
    );
    // A click here is not one on the row.
    const onclick = (/** @type {Event} */ event) => event.stopPropagation();
    return h('details.nested', { onclick }, [h('summary.muted', title), h('ul', items)]);
  }

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
    count: (view) => view.slice_groups?.length ?? 0,
    draw(view, redraw) {
      const heads = headsOf(view);
      if (!heads.length) return [Dom.note('No slice was confirmed in the held-out half.')];
      const shown = isComplete ? heads : heads.slice(0, AT_FIRST);
      const showAll = () => {
        isComplete = true;
        redraw();
      };
      return [
        Dom.note(
          'Conditions under which the metric is worse, found in one half of the images and ' +
            'confirmed in the held-out half; family-wise error rate 5 %. Of nested slices, the ' +
            'one that stands out most is shown. Click a slice to show its samples.',
        ),
        ...Object.keys(METRICS).map((metric) => {
          const mine = shown.filter((head) => head.metric === metric);
          return mine.length && table(view, metric, mine);
        }),
        Dom.more(heads.length - shown.length, showAll),
      ];
    },
  };
})();
