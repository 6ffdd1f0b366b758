'use strict';
/* global d3, Dom, Format, Statistics */
// Small plots in tables: values with their intervals, means in bins, distributions, effects.
// Positions are percentages, so that plots stretch with their cell.

const Plots = (() => {
  const { h, svg } = Dom;

  /** @param {number} value */
  const percent = (value) => `${value}%`;

  /** A vertical line over the whole plot.
   * @param {string} kind @param {number} place in % @param {number} height */
  const vertical = (kind, place, height) =>
    svg(`line.${kind}`, { x1: percent(place), x2: percent(place), y1: 0, y2: height });

  /** A column of numbers.
   * @template R @param {string} head @param {(row: R) => any} cell @param {string} [title] */
  const numbers = (head, cell, title) => ({ head, cell, title, number: true });

  /** A column of texts from data.
   * @template R @param {string} head @param {(row: R) => string} text
   * @param {(row: R) => string | undefined} [title] */
  const texts = (head, text, title) => ({
    head,
    cell: (/** @type {R} */ row) => h('span.wrap', { dir: 'auto', title: title?.(row) }, text(row)),
  });

  /** A table with a row for each finding. @template R @param {R[]} rows @param {Plotted<R>} plot */
  function intervalTable(rows, plot) {
    const { columns, reference = 0, label, act } = plot;
    const intervalOf = plot.interval ?? ((/** @type {any} */ row) => row.interval);
    const references = reference === null ? [] : [reference];
    const values = rows.flatMap((row) => [plot.value(row), ...(intervalOf(row) ?? [])]);
    const known = [...values, ...references].filter(Number.isFinite);
    const [least, most] = known.length ? d3.extent(known).map(Number) : [0, 1];
    // At its ends is room for half a label.
    const scale = d3.scaleLinear([least, most > least ? most : least + 1], [7, 97]).nice(4);
    const ticks = scale.ticks(4);
    const format = plot.format ?? scale.tickFormat(4);
    const HEIGHT = 26;

    /** @param {R} row */
    function drawn(row) {
      const picture = svg('svg.interval', { role: 'img', width: '100%', height: HEIGHT }, [
        ticks.map((tick) => vertical('grid-line', scale(tick), HEIGHT)),
        references.map((value) => vertical('reference-line', scale(value), HEIGHT)),
      ]);
      const value = plot.value(row);
      const interval = intervalOf(row);
      if (!Number.isFinite(value)) return picture;
      const text = `${Format.short(value)} ${Format.interval(interval)}`;
      picture.setAttribute('aria-label', text);
      picture.append(svg('title', text));
      if (interval?.every(Number.isFinite)) {
        const [x1, x2] = interval.map((/** @type {number} */ end) => percent(scale(end)));
        picture.append(svg('line.whisker', { x1, x2, y1: HEIGHT / 2, y2: HEIGHT / 2 }));
      }
      picture.append(svg('circle.dot', { cx: percent(scale(value)), cy: HEIGHT / 2, r: 4 }));
      return picture;
    }

    const kind = (/** @type {Cells<R>} */ { number }) => (number ? 'number' : null);
    const body = rows.map((row) => {
      const line = h('tr', { class: plot.faint?.(row) ? 'faint' : null }, [
        columns.map((column) => h('td', { class: kind(column) }, column.cell(row))),
        h('td.plotted', drawn(row)),
      ]);
      if (label && act) Dom.makeButton(line, label(row), () => act(row));
      return line;
    });
    const heads = columns.map((column) =>
      h('th', { scope: 'col', class: kind(column), title: column.title }, column.head),
    );
    const axis = svg('svg.interval-axis', { width: '100%', height: 16, 'aria-hidden': 'true' }, [
      ticks.map((tick) => svg('text.tick-label', { x: percent(scale(tick)), y: 11 }, format(tick))),
    ]);
    const last = h('th.plotted', { scope: 'col' }, plot.head, axis);
    return h(
      'div.scroll-x.panel',
      h('table.findings', h('thead', h('tr', heads, last)), h('tbody', body)),
    );
  }

  /** Means in bins, without axes. @param {MeanBin[]} bins */
  function sparkline(bins) {
    const x = d3.scalePoint(d3.range(bins.length), [3, 61]);
    const means = d3.extent(bins, (bin) => bin.mean).map(Number);
    const y = d3.scaleLinear(means, [19, 3]);
    /** @type {Point[]} */
    const points = bins.map(({ mean }, index) => [Number(x(index)), y(mean)]);
    return svg('svg.sparkline', { width: 64, height: 22, 'aria-hidden': 'true' }, [
      svg('path', { d: d3.line()(points) }),
      points.map(([cx, cy]) => svg('circle', { cx, cy, r: 1.7 })),
    ]);
  }

  /** The distribution of a column from its 1st to its 99th percentile, with a mark.
   * @param {Column} column @param {number} value */
  function distribution(column, value) {
    const values = Statistics.sample(column);
    const picture = svg('svg.distribution', { width: 96, height: 18, 'aria-hidden': 'true' });
    if (!values.length) return picture;
    const [low, high] = Statistics.quantiles(values, [0.01, 0.99]);
    const x = d3.scaleLinear([low, high > low ? high : low + 1], [1, 95]).clamp(true);
    const edges = d3.range(1, 24).map((step) => x.invert(1 + (step * 94) / 24));
    const places = [0, ...edges.map((edge) => d3.bisectLeft(values, edge)), values.length];
    const counts = d3.pairs(places, (start, end) => end - start);
    const y = d3.scaleSqrt([0, Math.max(...counts)], [0, 16]);
    const bars = counts
      .map((count, index) => `M${1 + (index * 94) / 24},17v${-y(count).toFixed(2)}h3.4V17z`)
      .join('');
    picture.append(svg('path', { d: bars }));
    if (Number.isFinite(value)) {
      picture.append(svg('line.mark', { x1: x(value), x2: x(value), y1: 0, y2: 18 }));
    }
    return picture;
  }

  /** A bar from the middle of its cell to the left or right. @param {number} effect in [-1, 1] */
  function effectBar(effect) {
    const length = Math.min(Math.abs(effect), 1) * 50;
    const [kind, x] = effect < 0 ? ['less', percent(50 - length)] : ['more', '50%'];
    return svg('svg.effect', { width: 90, height: 16, 'aria-hidden': 'true' }, [
      svg('rect', { x, y: 4, width: percent(length), height: 8, fill: `var(--${kind})` }),
      svg('line.reference-line', { x1: '50%', x2: '50%', y1: 1, y2: 15 }),
    ]);
  }

  /** Counts by true class (rows) and predicted class, as shares of the rows.
   * @param {string[]} names @param {number[][]} counts @param {string} unit of the counts */
  const confusionMatrix = (names, counts, unit) =>
    h('table.confusion-matrix', [
      h('thead', h('tr', h('th', 'true class'), [
        names.map((name) => h('th.number', h('span.wrap', { dir: 'auto' }, name))),
      ])),
      h('tbody', names.map((name, row) => {
        const total = d3.sum(counts[row]);
        return h('tr', h('th', h('span.wrap', { dir: 'auto' }, name)), [
          counts[row].map((count) =>
            h('td.number', { title: `${Format.count(count)} ${unit}` },
              total ? Format.percent(count / total) : '–')),
        ]);
      })),
    ]);

  return Object.freeze({
    numbers, texts, intervalTable, confusionMatrix, sparkline, distribution, effectBar,
  });
})();
