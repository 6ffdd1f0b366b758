'use strict';
/* global Columns, Dom, Figures, Format, Plots, Show, State */
// The section of associations: rank correlations of metrics with metadata, and the curve of one.

/** @type {Section} */
const Associations = (() => {
  const { h } = Dom;
  const MOST_Q = 0.05;
  const Q_TITLE = 'p-value adjusted for all tests (Benjamini-Hochberg)';

  /** @param {number | null} q null if there was no test */
  const isSmall = (q) => q !== null && q <= MOST_Q;

  /** The table of the significant associations of a metric.
   * @param {View} view @param {Association[]} rows @param {(row: Association) => void} act */
  const table = (view, rows, act) =>
    Plots.intervalTable(rows, {
      columns: [
        Plots.texts(
          'column',
          (row) => Columns.label(view, row.column),
          (row) => view.column(row.column)?.description,
        ),
        { head: 'mean in bins', cell: ({ bins }) => Plots.sparkline(bins) },
        Plots.numbers('images', ({ n }) => Format.count(n)),
        Plots.numbers('q', ({ q }) => Format.probability(q), Q_TITLE),
        Plots.numbers(
          'partial ρ',
          ({ partial_rho: rho }) => Format.signed(rho),
          'rank correlation adjusted for object size: the share of the image that the class, or ' +
            'the background, covers',
        ),
        Plots.numbers('q', (row) => Format.probability(row.partial_q), 'of the partial ρ'),
      ],
      head: 'rank correlation ρ, 95 % CI',
      value: ({ rho }) => rho,
      faint: ({ q }) => !isSmall(q),
      label: ({ metric, column }) => `Show the curve of ${metric} over ${column}`,
      act,
    });

  /** The curve of an association, with its numbers. @param {View} view @param {Association} row */
  function curve(view, row) {
    const [column, metric] = [Columns.label(view, row.column), Columns.label(view, row.metric)];
    /** @param {number} rho @param {Interval | null} interval @param {number | null} q */
    const numbers = (rho, interval, q) =>
      `ρ ${Format.signed(rho)} ${Format.interval(interval, Format.signed)}, ` +
      `q ${Format.probability(q)}`;
    const partial =
      row.partial_rho === null
        ? ''
        : ` Adjusted for ${Columns.label(view, row.confounder)}: ` +
          `${numbers(row.partial_rho, row.partial_interval, row.partial_q)}.`;
    return [
      h('h3', `${metric} over ${column}`),
      Figures.binnedCurve(row.bins, {
        column,
        metric,
        act: ({ low, high }) => Show.range(row.column, low, high),
      }),
      Dom.note(
        `${numbers(row.rho, row.interval, row.q)}, ${Format.count(row.n)} images.${partial} ` +
          `Last bin minus first: ${Format.signed(row.difference)} ` +
          `(${Format.signed(row.effect)} standard deviations). Click a bin to show its samples.`,
      ),
    ];
  }

  /** @param {View} view @param {() => void} redraw */
  function draw(view, redraw) {
    const { associations = [], num_tests = 0, significant = 0 } = view.associations ?? {};
    const found = `${Format.count(significant)} of ${Format.count(num_tests)}`;
    const metrics = [...new Set(associations.map((row) => row.metric))];
    const metric = metrics.find((name) => name === State.read('metric')) ?? metrics[0];
    const options = metrics.map((name) => [name, Columns.label(view, name)]);
    const showsAll = State.read('insignificant') === 'shown';
    const save = (/** @type {string} */ key) => (/** @type {string | null} */ value) => {
      State.save(key, value);
      redraw();
    };
    const rows = associations
      .filter((row) => row.metric === metric)
      .filter((row) => showsAll || isSmall(row.q) || isSmall(row.partial_q))
      .sort((a, b) => Math.abs(b.rho) - Math.abs(a.rho));
    const place = h('div.curve-place.panel', { 'aria-live': 'polite' });
    const list = table(view, rows, (row) => {
      State.save('column', row.column);
      drawCurve();
    });
    function drawCurve() {
      const row = rows.find(({ column }) => column === State.read('column')) ?? rows[0];
      const lines = list.querySelectorAll('tbody tr');
      lines.forEach((line, index) => line.classList.toggle('chosen', rows[index] === row));
      place.replaceChildren(...(row ? curve(view, row) : []));
    }
    drawCurve();
    return [
      Dom.note(`${found} tests are significant (false discovery rate 5 %).`),
      h('div.page-tools.line', [
        Dom.select('Metric', options, metric, save('metric')),
        Dom.check('include non-significant ones', showsAll, (on) =>
          save('insignificant')(on ? 'shown' : null),
        ),
      ]),
      h('div.two-columns', list, place),
    ];
  }

  return {
    title: 'Associations',
    command: 'associations',
    of: (view) => view.associations?.associations,
    count: (view) => view.associations?.significant ?? 0,
    draw,
  };
})();
