'use strict';
/* global d3, Bins, Dom, Filters, Format, State */
// The chart of a column of numbers: a histogram, above it the mean of a metric in each bin. A brush
// filters.

const Histogram = (() => {
  const { h, svg } = Dom;
  const CURVE = 38; // pixels high
  const BARS = 46;
  const GAP = 6;
  const AXIS = 15;
  const LEAST = 3; // samples in a bin whose mean is drawn

  /** @typedef {{ at: number, mean: number, low: number, high: number }} Mean with 95 % interval */

  /** Draws the chart; returns a function that updates it.
   * @param {HTMLElement} body @param {Column} column @param {string} metric */
  function create(body, { name, label }, metric) {
    const { view } = State;
    const bins = Bins.of(view, name);
    const { edges, size, whole } = bins;
    const width = Math.max(200, (body.clientWidth || 296) - 4);
    const isCurved = name !== metric; // a metric's means in its own bins are trivial
    const top = isCurved ? CURVE + GAP : 0;
    const bottom = top + BARS;
    const [left, right] = [2, width - 34];
    const x = d3.scaleLinear([edges[0], edges[size]], [left, right]);
    const all = Bins.summarizeAll(view, name, metric);
    const allMeans = means(all);
    const tallest = d3.max(all.counts.subarray(0, size)) || 1;

    const kinds = ['bars', 'band', 'curve-all', 'curve', 'points'];
    const paths = kinds.map((kind) => svg(`path.${kind}`));
    const [passing, band, allCurve, curve, points] = paths;
    const tick = (/** @type {number} */ y, text = '') =>
      svg('text.tick', { x: width - 30, y }, text);
    const [high, low] = [tick(10), tick(CURVE)];
    const picture = svg('svg', { width, height: bottom + AXIS, role: 'img' }, [
      svg('path.bars-all', { d: bars(all.counts) }),
      paths,
      high,
      low,
      tick(top + 10, d3.format('.3~s')(tallest)),
      axis(x, bins, bottom),
    ]);
    const readout = h('div.readout', { hidden: true });
    body.append(picture, readout);

    /** @param {Float64Array} counts */
    function bars(counts) {
      const bar = (/** @type {number} */ i) => {
        const tall = Math.max(1, (BARS * counts[i]) / tallest);
        const [from, to] = [x(edges[i]) + 0.5, x(edges[i + 1]) - 0.5];
        return `M${from.toFixed(1)} ${bottom}v${-tall.toFixed(1)}H${to.toFixed(1)}V${bottom}z`;
      };
      return d3.range(size).map((i) => (counts[i] ? bar(i) : '')).join('');
    }

    /** The mean of each bin; null where there are too few samples.
     * @param {ReturnType<typeof Bins.summarize>} summary */
    function means({ sums, squares, known }) {
      return d3.range(size).map((i) => {
        if (known[i] < LEAST) return null;
        const mean = sums[i] / known[i];
        const variance = Math.max(0, squares[i] / known[i] - mean * mean);
        const error = 1.96 * Math.sqrt(variance / known[i]);
        const at = (x(edges[i]) + x(edges[i + 1])) / 2;
        return { at, mean, low: mean - error, high: mean + error };
      });
    }

    const brush = d3
      .brushX()
      .extent([[left, 0], [right, bottom]])
      .on('start brush end', onBrush);
    /** @type {d3.Selection<SVGGElement, unknown, null, undefined>} */
    const overlay = d3.select(picture).append('g');
    overlay
      .attr('class', 'brush')
      .call(brush)
      .on('pointermove', (event) => read(binAt(x.invert(d3.pointer(event, picture)[0]))))
      .on('pointerleave', () => (readout.hidden = true))
      .attr('tabindex', 0)
      .attr('role', 'slider')
      .on('keydown', onKey);

    /** Shows the values of a bin. @param {number} bin */
    function read(bin) {
      const { counts, sums, known } = Bins.summarize(view, name, metric);
      const from = whole ? edges[bin] + 0.5 : edges[bin];
      const to = whole ? edges[bin + 1] - 0.5 : edges[bin + 1];
      const isOpen = bins.open && bin === size - 1;
      const format = whole ? Format.count : Format.short;
      const range = isOpen ? `${format(from)} or more` : Format.range(from, to, format);
      const mean =
        known[bin] && isCurved ? `, mean ${metric} ${Format.short(sums[bin] / known[bin])}` : '';
      readout.textContent = `${range}: ${Format.count(counts[bin])}${mean}`;
      readout.hidden = false;
    }

    /** @param {d3.D3BrushEvent<unknown>} event */
    function onBrush({ sourceEvent, type, selection }) {
      if (!sourceEvent) return;
      overlay.classed('held', type !== 'end');
      if (type === 'start') return;
      if (selection) {
        const [from, to] = /** @type {[number, number]} */ (selection);
        choose(x.invert(from), x.invert(to));
      } else if (type === 'end') {
        const [at] = d3.pointer(sourceEvent, picture);
        if (Filters.all.has(name)) Filters.remove(name);
        else if (at >= left && at <= right) chooseBins(binAt(x.invert(at)));
      }
    }

    /** @param {number} value */
    const binAt = (value) => Math.max(0, Math.min(size - 1, d3.bisectRight(edges, value) - 1));

    /** Filters by bins, which contain their lower edge, not the upper one.
     * @param {number} first @param {number} [last] */
    function chooseBins(first, last = first) {
      const below = edges[last + 1] - (edges[last + 1] - edges[last]) * 1e-6;
      Filters.range(
        name,
        first === 0 ? bins.low : whole ? Math.ceil(edges[first]) : edges[first],
        last === size - 1 ? bins.high : whole ? Math.floor(below) : below,
      );
    }

    /** Filters by a range; at an end of the axis it includes what lies beyond. Where no value can
     * be, as between two whole numbers, it is the nearest one.
     * @param {number} from @param {number} to */
    function choose(from, to) {
      const near = (edges[size] - edges[0]) / (right - left);
      const middle = (from + to) / 2;
      const nearest = Math.max(bins.low, Math.min(bins.high, whole ? Math.round(middle) : middle));
      if (from <= edges[0] + near) from = bins.low;
      else from = whole ? Math.ceil(from) : Number(from.toPrecision(6));
      if (to >= edges[size] - near) to = bins.high;
      else to = whole ? Math.floor(to) : Number(to.toPrecision(6));
      if (from <= to) Filters.range(name, from, to);
      else Filters.range(name, nearest, nearest);
    }

    /** Arrow keys move the selected bins; with Shift they extend them.
     * @param {KeyboardEvent} event */
    function onKey(event) {
      /** @type {Record<string, number>} */
      const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 };
      const step = steps[event.key];
      const filter = Filters.all.get(name);
      if (event.key === 'Escape' && filter) Filters.remove(name);
      else if (!step) return;
      else if (filter?.kind !== 'range') chooseBins(step > 0 ? 0 : size - 1);
      else {
        const [first, last] = [binAt(Number(filter.low)), binAt(Number(filter.high))];
        const begin = event.shiftKey ? first : first + step;
        const end = last + step;
        if (begin >= 0 && end < size && end >= begin) chooseBins(begin, end);
      }
      event.preventDefault();
    }

    return function update() {
      const summary = Bins.summarize(view, name, metric);
      passing.setAttribute('d', bars(summary.counts));
      if (isCurved) drawCurve(means(summary));
      showRange(d3.sum(summary.counts));
    };

    /** @param {(Mean | null)[]} shown */
    function drawCurve(shown) {
      const known = /** @type {Mean[]} */ ([...shown, ...allMeans].filter(Boolean));
      const [least = 0, most = 1] = d3.extent(known, ({ mean }) => mean);
      const top = most > least ? most : least + 1;
      const y = d3.scaleLinear([least, top], [CURVE - 3, 4]).clamp(true);
      const place = (/** @type {Mean?} */ mean) => mean?.at ?? NaN;
      const line = d3.line(place, (mean) => y(mean?.mean ?? NaN)).defined(Boolean);
      const area = d3
        .area(place, (mean) => y(mean?.low ?? NaN), (mean) => y(mean?.high ?? NaN))
        .defined(Boolean);
      allCurve.setAttribute('d', line(allMeans) ?? '');
      curve.setAttribute('d', line(shown) ?? '');
      band.setAttribute('d', area(shown) ?? '');
      const dots = shown.map((bin) => bin && `M${bin.at.toFixed(1)} ${y(bin.mean).toFixed(1)}h.01`);
      points.setAttribute('d', dots.join(''));
      high.textContent = known.length ? Format.short(most) : '';
      low.textContent = most > least && known.length ? Format.short(least) : '';
    }

    /** @param {number} count samples that the other filters let pass */
    function showRange(count) {
      const filter = Filters.all.get(name);
      // d3 draws the brush while it is dragged.
      if (!overlay.classed('held')) {
        brush.move(overlay, filter?.kind === 'range' ? extent(filter) : null);
      }
      const text = filter ? Filters.describe(filter) : `${label}, not filtered`;
      overlay
        .attr('aria-label', text)
        .attr('aria-valuetext', text)
        .attr('aria-valuemin', bins.low)
        .attr('aria-valuemax', bins.high)
        .attr('aria-valuenow', filter?.low ?? bins.low);
      picture.setAttribute('aria-label', `${label}: ${count} samples, ${bins.low} to ${bins.high}`);
    }

    /** The brush of a filter in pixels; it covers the bars of whole numbers.
     * @param {Filter} filter @returns {[number, number]} */
    function extent({ low = 0, high = 0 }) {
      const half = whole ? (x(1) - x(0)) / 2 : 0;
      const clamp = (/** @type {number} */ place) => Math.max(left, Math.min(right, place));
      const [from, to] = [clamp(x(low)), clamp(x(high))];
      return [clamp(from - half), clamp(Math.max(to + half, from + 2))];
    }
  }

  /** @param {d3.ScaleLinear<number, number>} x @param {Binned} bins @param {number} bottom */
  function axis(x, { whole, open }, bottom) {
    const [left, right] = x.range();
    const y = bottom + 11;
    const format = Math.abs(x.domain()[1]) >= 10000 ? d3.format('~s') : x.tickFormat(4, '~f');
    const ticks = x.ticks(4).filter((tick) => !whole || Number.isInteger(tick));
    return [
      ticks.map((tick) =>
        svg('text.tick', { x: Math.max(8, x(tick)), y, 'text-anchor': 'middle' }, format(tick)),
      ),
      open &&
        svg('text.tick', { x: right + 2, y: bottom }, [
          '…',
          svg('title', 'The last bar includes all larger values'),
        ]),
      svg('path.grid-line', { d: `M${left} ${bottom}.5H${right}` }),
    ];
  }

  return { create };
})();
