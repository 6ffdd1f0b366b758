'use strict';
/* global Dom, Format, Plots */
// The section on the quality of heat-maps.

/** @type {Section} */
const HeatMaps = (() => {
  const { h } = Dom;
  const BASELINES = ['random', 'center', 'edges', 'prediction'];
  const CURVES = {
    deletion: 'Deletion: remaining score while cells are blurred, highest first (lower is better)',
    insertion: 'Insertion: regained score while they are revealed, highest first (higher is better)',
  };
  const KINDS = { class: 'the class', cluster: 'cluster membership' };

  /** @param {string} curve @param {Record<string, Judged>} methods */
  const table = (curve, methods) =>
    Plots.intervalTable(Object.entries(methods), {
      columns: [
        { head: 'heat-map', cell: ([method]) => method },
        Plots.numbers(
          'AUC',
          ([, judged]) => Format.short(judged[curve].area.mean),
          'area under the curve',
        ),
      ],
      head: 'mean, 95 % CI',
      value: ([, judged]) => judged[curve].area.mean,
      interval: ([, judged]) => judged[curve].area.interval,
      reference: null,
      faint: ([method]) => BASELINES.includes(method),
    });

  return {
    title: 'Heat-maps',
    command: 'saliency',
    of: (view) => view.saliency,
    draw: (view) => [
      Dom.note(
        'Faithfulness of heat-maps: mean score that remains, or is regained, while cells are ' +
          'blurred or revealed in the order of the map. Faint: baselines, which ignore the ' +
          'network or use only its prediction. Do not trust a map that does not beat them.',
      ),
      ...Object.entries(KINDS).map(([kind, name]) => {
        const judged = view.saliency?.[kind];
        if (!judged) return null;
        return h('section', [
          h('h3', `Heat-maps for ${name}, on ${judged.images} images`),
          h('div.halves', Object.entries(CURVES).map(([curve, text]) =>
            h('div', h('h4', text), table(curve, judged.methods)),
          )),
        ]);
      }),
    ],
  };
})();
