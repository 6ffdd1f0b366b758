'use strict';
/* global d3, Dom, Format */
// Plots with axes, as wide as their place.

const Figures = (() => {
  const { svg } = Dom;
  const WIDTH = 720; // units of the drawing

  /** Horizontal lines with numbers.
   * @param {d3.ScaleLinear<number, number>} y @param {number} left */
  const grid = (y, left) =>
    y.ticks(5).map((tick) => [
      svg('line.grid-line', { x1: left, x2: WIDTH - 10, y1: y(tick), y2: y(tick) }),
      svg('text.tick-label.end', { x: left - 8, y: y(tick) + 4 }, y.tickFormat(5)(tick)),
    ]);

  /** @param {number} height @param {string} role @param {string} label @param {...any} parts */
  const figure = (height, role, label, ...parts) =>
    svg('svg.figure', { viewBox: `0 0 ${WIDTH} ${height}`, role, 'aria-label': label }, parts);

  /** The mean of a metric in bins of a column, with 95 % intervals. Bins are equally wide, since
   * they contain about as many images each.
   * @param {MeanBin[]} bins @param {object} options @param {string} options.column its label
   * @param {string} options.metric its label
   * @param {(bin: MeanBin) => void} options.act of a click on a bin */
  function binnedCurve(bins, { column, metric, act }) {
    const height = 300;
    const left = 58;
    const bottom = height - 58;
    const x = d3.scaleBand(d3.range(bins.length), [left, WIDTH - 10]).paddingInner(0.06);
    const all = bins.flatMap((bin) => [bin.mean, ...(bin.interval ?? [])]).filter(Number.isFinite);
    const y = d3.scaleLinear(d3.extent(all).map(Number), [bottom, 14]).nice(5);
    const places = bins.map((bin, index) => {
      const at = Number(x(index));
      const [low, high] = (bin.interval ?? [NaN, NaN]).map((end) => y(end));
      return { bin, at, middle: at + x.bandwidth() / 2, mean: y(bin.mean), low, high };
    });
    /** @type {d3.Line<typeof places[0]>} */
    const line = d3.line(({ middle }) => middle, ({ mean }) => mean);
    /** @type {d3.Area<typeof places[0]>} */
    const area = d3.area(({ middle }) => middle, ({ low }) => low, ({ high }) => high);
    return figure(height, 'group', `mean ${metric} in bins of ${column}`, [
      grid(y, left),
      svg('path.band', { d: area(places.filter(({ bin }) => bin.interval)) }),
      svg('path.mean-line', { d: line(places) }),
      places.map(({ bin, at, middle, mean, low, high }) => {
        const range = Format.range(bin.low, bin.high);
        const label =
          `${column} ${range}: mean ${metric} ${Format.short(bin.mean)} ` +
          `${Format.interval(bin.interval)}, ${bin.n} images`;
        const group = svg('g.figure-bin', { role: 'button' }, [
          svg('title', label),
          svg('rect', { x: at, y: 8, width: x.bandwidth(), height: bottom - 8, fill: '#0000' }),
          bin.interval && svg('line.whisker', { x1: middle, x2: middle, y1: low, y2: high }),
          svg('circle.dot', { cx: middle, cy: mean, r: 5 }),
          svg('text.tick-label', { x: middle, y: bottom + 18 }, range),
          svg('text.tick-label', { x: middle, y: bottom + 34, opacity: 0.75 }, `n = ${bin.n}`),
        ]);
        Dom.makeButton(group, label, () => act(bin));
        return group;
      }),
      svg('text.tick-label', { x: (left + WIDTH) / 2, y: height - 4 }, column),
    ]);
  }

  /** Agreement of two networks, layer by layer, from 0 to 1. @param {Agreement[]} rows */
  function layerCurves(rows) {
    const height = 250;
    const left = 46;
    const bottom = height - 40;
    const x = d3.scaleLinear([0, Math.max(rows.length - 1, 1)], [left, WIDTH - 16]);
    const y = d3.scaleLinear([0, 1], [bottom, 12]);
    const decoder = rows.findIndex((row) => row.layer.startsWith('decoder/'));
    const border = x(decoder - 0.5);
    const curve = (/** @type {'cka' | 'overlap'} */ name, /** @type {string} */ label) => [
      svg(`path.layer-${name}`, {
        d: d3.line()(rows.map((row, index) => [x(index), y(row[name])])),
      }),
      rows.map((row, index) =>
        svg(`circle.layer-${name}`, { cx: x(index), cy: y(row[name]), r: 3 }, [
          svg('title', `${row.layer}: ${label} ${Format.short(row[name])}`),
        ]),
      ),
    ];
    return figure(height, 'img', 'Agreement of both networks, layer by layer', [
      grid(y, left),
      decoder > 0 && [
        svg('line.reference-line', { x1: border, x2: border, y1: 12, y2: bottom }),
        svg('text.tick-label.end', { x: border - 6, y: bottom + 16 }, 'encoder'),
        svg('text.tick-label.start', { x: border + 6, y: bottom + 16 }, 'decoder'),
      ],
      svg('text.tick-label', { x: (left + WIDTH) / 2, y: height - 6 }, 'layers, input to output'),
      curve('cka', 'CKA'),
      curve('overlap', 'overlap'),
    ]);
  }

  return Object.freeze({ binnedCurve, layerCurves });
})();
