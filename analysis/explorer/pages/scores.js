'use strict';
/* global Dom, Format, Plots */
// The section of scores: IoU, precision, recall and outlines per class, the confusion matrix of the
// classes, and whether the probabilities are what they say.

/** @type {Section} */
const Scores = (() => {
  const { h, svg } = Dom;
  const SIDE = 260; // of the reliability diagram, in pixels

  /** @param {Rate} rate */
  const rate = ({ value, interval }) =>
    value === null ? '–' : `${Format.short(value)} ${Format.interval(interval)}`;

  /** @param {MeanIou} scores */
  function classTable({ class_names, classes, original }) {
    const rows = class_names.map((name) => ({
      name,
      ...classes[name],
      iou: original.iou[name],
      interval: original.intervals.iou[name],
      images: original.num_images_with_class[name],
      effective: original.effective_images[name],
    }));
    return Plots.intervalTable(rows, {
      columns: [
        Plots.texts('class', ({ name }) => name),
        Plots.numbers(
          'images (effective)',
          (row) => `${Format.count(row.images)} (${Format.short(row.effective)})`,
          'images with the class, and the effective sample size',
        ),
        Plots.numbers('precision', (row) => rate(row.precision)),
        Plots.numbers('recall', (row) => rate(row.recall)),
        Plots.numbers('F1', (row) => rate(row.f1)),
        Plots.numbers(
          'boundary IoU',
          (row) => rate(row.boundary_iou),
          'IoU of the bands inside the outlines (Cheng et al. 2021)',
        ),
        Plots.numbers(
          'only band',
          (row) => (row.only_band === null ? '–' : Format.percent(row.only_band)),
          'share of the images with the class in which its objects are so small that all is band',
        ),
      ],
      head: 'IoU over the set, 95 % CI',
      value: (row) => row.iou ?? NaN,
      reference: null,
    });
  }

  /** @param {number} share */
  const percent = (share) => `${Math.round(100 * share)} %`;

  /** @param {Calibration} calibration */
  function reliability({ confidence, accuracy }) {
    const points = confidence.map((row, k) =>
      row.map((x, bin) => [x, accuracy[k][bin]]).filter(([x, y]) => x !== null && y !== null));
    /** @param {number | null} x */
    const across = (x) => SIDE * Number(x);
    /** @param {number | null} y */
    const up = (y) => SIDE * (1 - Number(y));
    return svg(
      'svg.reliability',
      { width: SIDE, height: SIDE, role: 'img', 'aria-label': 'Reliability diagram' },
      [
        svg('line.reference-line', { x1: 0, y1: SIDE, x2: SIDE, y2: 0 }),
        [0, 0.5, 1].map((share) => [
          svg('text', { x: across(share), y: SIDE + 16, 'text-anchor': 'middle' }, percent(share)),
          svg('text', { x: -6, y: up(share) + 4, 'text-anchor': 'end' }, percent(share)),
        ]),
        points.map((row, k) => [
          svg(`polyline.reliability-${k}`, {
            points: row.map(([x, y]) => `${across(x)},${up(y)}`).join(' '),
          }),
          row.map(([x, y]) =>
            svg(`circle.reliability-${k}`, { cx: across(x), cy: up(y), r: 3 }, [
              svg('title', `probability ${Format.percent(x)}, correct ${Format.percent(y)}`),
            ])),
        ]),
      ],
    );
  }

  /** @param {Calibration} calibration */
  function calibrationText({ error, error_scaled: scaled, temperature }) {
    const text = `Expected calibration error at the network’s resolution: ${rate(error)}`;
    const about = 'The interval covers less than 95 %: resampled errors are larger.';
    if (!scaled) return `${text}. ${about}`;
    return (
      `${text}; ${rate(scaled)} (blue) if logits are divided by the temperature ` +
      `${Format.short(temperature)}, which was fitted on the selection split. ${about}`
    );
  }

  return {
    title: 'Scores',
    command: 'mean_iou',
    of: (view) => view.scores,
    draw(view) {
      const { scores } = view;
      if (!scores) return [];
      const { calibration } = scores;
      return [
        Dom.note(
          'Over the pixels of all images at their own resolution; brackets hold 95 % bootstrap ' +
            'intervals over images. They are too narrow where the effective sample size is small.',
        ),
        classTable(scores),
        h('h3', 'Confusion of the classes'),
        Dom.note('Share of the pixels of each true class that are predicted as each class.'),
        Plots.confusionMatrix(scores.class_names, scores.confusion, 'pixels'),
        ...(calibration
          ? [
              h('h3', 'Reliability'),
              Dom.note(
                `${calibrationText(calibration)} Horizontal axis: probability of the predicted ` +
                  'class. Vertical axis: share of pixels predicted correctly. On the diagonal, ' +
                  'both are equal.',
              ),
              reliability(calibration),
            ]
          : []),
      ];
    },
  };
})();
