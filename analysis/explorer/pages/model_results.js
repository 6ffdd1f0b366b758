'use strict';
/* global d3, Columns, Dom, Figures, Format, Plots, Thumbnail */
// What the comparison of two models found. Differences are the other model minus this one.

const ModelResults = (() => {
  const { h } = Dom;
  /** @type {Record<string, string>} */
  const METRICS = { iou: 'IoU over the data set', image_iou: 'mean IoU per image' };
  const MOST_METADATA = 12;
  const MOST_Q = 0.05;
  const WORST = 44; // pixels, of the images on which a model is worse

  /** @type {Omit<Plotted<Compared>, 'columns'>} */
  const difference = {
    head: 'other minus this, 95 % CI',
    value: (row) => row.difference,
    interval: (row) => row.interval ?? row.difference_interval,
  };
  const both = [
    Plots.numbers('this', (/** @type {Compared} */ row) => Format.short(row.this)),
    Plots.numbers('other', (/** @type {Compared} */ row) => Format.short(row.other)),
  ];

  /** @param {string} title @param {...any} parts */
  const section = (title, ...parts) => h('section', h('h3', title), parts);

  /** @param {Comparison} result @param {'this' | 'other'} target */
  const labelsOf = (result, target) => result[target].class_names.slice(1).join(', ');

  /** All results.
   * @param {Comparison} result @param {View} view of this model
   * @param {(slice: { text: string, conditions: Condition[] }) => void} showSlice
   * @param {(row: number) => void} openImage of this model */
  const all = (result, view, showSlice, openImage) =>
    [
      scores(result),
      slices(result.slices ?? [], showSlice),
      worse(result, view, showSlice, openImage),
      metadata(result.metadata ?? [], view),
      representation(result),
      separation(result),
    ].filter((part) => part !== null);

  /** @param {Comparison} result */
  const scores = (result) =>
    section(
      'Scores',
      d3
        .groups(result.scores, ({ target }) => target)
        .map(([target, rows]) => [
          Dom.note(
            `Against the labels ${labelsOf(result, target)}. Intervals are over images, for ` +
              'these two trained models; they do not cover the variation between training runs.' +
              (result.resolution === 'original'
                ? ' The models differ in data.image_size, so pixels are counted at the ' +
                  'images’ own resolution; the loss is at the resolution of each network.'
                : ''),
          ),
          Plots.intervalTable(rows, {
            columns: [
              { head: 'score', cell: ({ metric }) => METRICS[metric] ?? metric },
              Plots.texts('class', (row) => row.class_name),
              ...both,
              Plots.numbers('p', ({ p }) => Format.probability(p)),
              Plots.numbers(
                'MDE',
                (row) => Format.short(row.minimum_detectable),
                'minimum detectable effect, with a power of 80 %',
              ),
            ],
            ...difference,
          }),
        ]),
    );

  /** @param {SliceChange[]} rows @param {(slice: SliceChange) => void} showSlice */
  function slices(rows, showSlice) {
    if (!rows.length) return null;
    const compared = (/** @type {'iou' | 'loss'} */ metric) =>
      rows
        .map((row) => ({ .../** @type {Compared} */ (row[metric]), ...row }))
        .filter((row) => Number.isFinite(row.difference));
    const table = (/** @type {'iou' | 'loss'} */ metric, /** @type {string} */ name) =>
      h('div', [
        h('h4', name),
        Plots.intervalTable(compared(metric), {
          columns: [
            { head: 'slice', cell: ({ text }) => h('span.condition.wrap', { dir: 'auto' }, text) },
            Plots.numbers('images', ({ n }) => Format.count(n)),
            ...both,
          ],
          ...difference,
          label: ({ text }) => `Show the samples where ${text}`,
          act: showSlice,
        }),
      ]);
    const tables = h('div.halves', table('iou', 'mean foreground IoU'), table('loss', 'loss'));
    const note =
      'The mean loss of both models chose the slices in one half of the images. Counts and means ' +
      'are of the other half. The intervals are simultaneous over all slices.';
    const title = 'In slices where both models fail';
    return section(title, rows.length > 1 ? Dom.note(note) : '', tables);
  }

  /** Slices and images in which one model is worse than the other.
   * @param {Comparison} result @param {View} view
   * @param {(slice: Slice) => void} showSlice @param {(row: number) => void} openImage */
  function worse(result, view, showSlice, openImage) {
    if (!result.worse) return null;
    const image = (/** @type {ChangedImage} */ { row, file_name, loss }) => {
      const title = `${file_name}: loss ${loss.map(Format.short).join(' (this), ')} (other)`;
      const picture = Thumbnail.make(row, { size: WORST, view });
      return h('button.thumb', { title, onclick: () => openImage(row) }, picture);
    };
    const part = (/** @type {'this' | 'other'} */ side) => {
      const { slices, images } = result.worse[side];
      const table = Plots.intervalTable(slices, {
        columns: [
          { head: 'slice', cell: ({ text }) => h('span.condition.wrap', { dir: 'auto' }, text) },
          Plots.numbers('images', ({ size }) => Format.count(size)),
          Plots.numbers('p', ({ p }) => Format.probability(p)),
        ],
        head: 'difference of loss, minus that elsewhere, 95 % CI',
        value: ({ excess }) => excess,
        label: ({ text }) => `Show the samples where ${text}`,
        act: showSlice,
      });
      const found = slices.length ? table : Dom.note('No slice stands out.');
      return h('div', h('h4', `${side} model`), found, h('span.thumbs', images.map(image)));
    };
    const note =
      'Slices in which the loss of one model exceeds that of the other by more than elsewhere, ' +
      'found in one half of the images and confirmed in the other, and the images with the ' +
      'largest difference.';
    const halves = h('div.halves', part('this'), part('other'));
    return section('Where one model is worse than the other', Dom.note(note), halves);
  }

  /** @param {Association[]} rows @param {View} view */
  function metadata(rows, view) {
    const found = rows.filter(({ q }) => q <= MOST_Q).slice(0, MOST_METADATA);
    const title = 'Metadata associated with the difference';
    if (!found.length) return section(title, Dom.note('None, at a false discovery rate of 5 %.'));
    return section(
      title,
      Plots.intervalTable(found, {
        columns: [
          { head: 'column', cell: ({ column }) => Columns.label(view, column) },
          { head: 'difference in', cell: ({ metric }) => metric.replace('iou', 'IoU') },
          { head: 'mean in bins', cell: ({ bins }) => Plots.sparkline(bins) },
          Plots.numbers('images', ({ n }) => Format.count(n)),
          Plots.numbers('q', ({ q }) => Format.probability(q)),
        ],
        head: 'rank correlation ρ, 95 % CI',
        value: ({ rho }) => rho,
      }),
    );
  }

  /** @param {Comparison} result */
  function representation({ neighbors, layers }) {
    const parts = [];
    if (neighbors) {
      const { k, chance, overlap, overlap_interval, jaccard, jaccard_interval } = neighbors;
      const common = `common among the ${k} nearest`;
      const rows = [
        { name: common, value: overlap, interval: overlap_interval },
        { name: 'Jaccard index', value: jaccard, interval: jaccard_interval },
      ];
      const table = Plots.intervalTable(rows, {
        columns: [
          { head: 'in embedding space', cell: ({ name }) => name },
          Plots.numbers('share', ({ value }) => Format.short(value)),
        ],
        head: '95 % CI (dashed: chance)',
        value: ({ value }) => value,
        reference: chance,
      });
      parts.push(section('Neighborhoods', table));
    }
    if (layers?.length) {
      const keys = h('p.layer-legend.line.muted', [
        h('span.key.inline-flex.layer-cka', 'linear CKA (1: equal up to rotation and scale)'),
        h('span.key.inline-flex.layer-overlap', 'share of common nearest images'),
      ]);
      parts.push(section('Layers', h('div.curve-place.panel', keys, Figures.layerCurves(layers))));
    }
    return parts.length ? h('div.halves', parts) : null;
  }

  /** @param {Comparison} result */
  function separation(result) {
    if (!result.separation?.length) return null;
    return section(
      'Separation of the classes',
      Dom.note(
        'Images dominated by the first class against images dominated by the second: AUROC of a ' +
          'linear probe and of the nearest neighbors, and the silhouette.',
      ),
      Plots.intervalTable(result.separation, {
        columns: [
          Plots.texts('labels', ({ target }) => labelsOf(result, target)),
          { head: 'space', cell: ({ space }) => space },
          { head: 'method', cell: ({ method }) => method },
          Plots.numbers('images', ({ first, second }) => `${first} and ${second}`),
          ...both,
        ],
        ...difference,
      }),
    );
  }

  return { all };
})();
