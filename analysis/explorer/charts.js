'use strict';
// A chart for each column: how many samples have which values, those that pass over all, and above
// it the mean of a chosen metric in each bin. Brushing or clicking filters. Only charts that can be
// seen are drawn.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const CURVE = 38; // pixels high
  const BARS = 46;
  const GAP = 6;
  const AXIS = 15;
  const LEAST = 3; // samples in a bin, to draw their mean
  const ROWS = 8; // categories shown before 'all'
  const OPEN = { metric: 3, cluster: 1, metadata: 8, issue: 1 }; // charts open at first

  // A list of charts in `container`; {build(), update()}.
  explorer.createCharts = function (container) {
    let metric = null;
    let charts = [];
    const find = h('input', {
      type: 'search',
      placeholder: 'Find column',
      'aria-label': 'Find a column',
      oninput: () => narrow(find.value),
    });
    const head = h('div', { class: 'charts-head' });
    const list = h('div', { class: 'charts-list' });
    container.append(head, list);
    const seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        target.chart.seen = isIntersecting;
        if (isIntersecting && target.chart.stale) target.chart.update();
      }
    });
    let width = 0;
    new ResizeObserver(() => {
      if (list.clientWidth === width || !list.clientWidth) return;
      if (width) charts.forEach((chart) => chart.remake());
      width = list.clientWidth;
    }).observe(list);

    // For another view, or another metric for the curves.
    function build() {
      const { view } = explorer;
      const wanted = explorer.readState('curve');
      metric = view.column(wanted)?.role === 'metric' ? wanted : 'loss';
      const metrics = view.columns.filter((column) => column.role === 'metric');
      head.replaceChildren(
        find,
        explorer.select(
          'Curves',
          metrics.map(({ name, label }) => [name, label]),
          metric,
          (name) => {
            explorer.saveState('curve', name === 'loss' ? null : name);
            build();
          },
        ),
      );
      seen.disconnect();
      charts = [];
      list.replaceChildren(
        ...explorer
          .columnGroups(view, drawable)
          .filter(({ role }) => role !== 'id')
          .map(section),
      );
      narrow(find.value);
    }

    // Whether a column has something to show: at least two values.
    function drawable(column) {
      if (column.kind === 'text') return false;
      const bins = explorer.binsOf(explorer.view, column.name);
      if (column.role === 'decision') return true;
      return column.kind === 'number' ? bins.high > bins.low : bins.size > 1;
    }

    function section({ role, label, columns }) {
      const { view } = explorer;
      const ranked = columns.map((column) => ({
        column,
        explained: role === 'metric' ? null : explorer.explained(view, column.name, metric),
      }));
      if (role === 'metadata') ranked.sort((a, b) => b.explained - a.explained);
      if (role === 'metric') {
        const headline = explorer.headlineColumns(view);
        const rank = ({ column }) =>
          (headline.indexOf(column.name) + headline.length + 1) % (headline.length + 1);
        ranked.sort((a, b) => rank(a) - rank(b));
      }
      return h(
        'section',
        { 'aria-label': label },
        h('h2', {}, label),
        ranked.map(({ column, explained }, rank) => {
          const open = rank < OPEN[role] || explorer.filters.has(column.name);
          return frame(column, explained, open);
        }),
      );
    }

    function frame(column, explained, open) {
      const body = h('div', { class: `chart-body ${column.kind}` });
      const head = h(
        'button',
        {
          type: 'button',
          class: 'chart-head',
          'aria-expanded': String(open),
          title: [column.label, column.description].filter(Boolean).join(': '),
          onclick: () => show(head.getAttribute('aria-expanded') !== 'true'),
        },
        explorer.icon('down'),
        h('span', { class: 'chart-name' }, column.label),
        column.unit && h('span', { class: 'chart-unit' }, column.unit),
        explained !== null && meter(explained),
      );
      const element = h('article', { class: 'chart', 'data-column': column.name }, head, body);
      // Made when it is first seen: then it has its width.
      let draw = null;
      const chart = {
        column,
        element,
        seen: false,
        stale: true,
        show,
        update() {
          const make = column.kind === 'number' ? numberChart : categoryChart;
          draw ??= make(body, column, metric);
          draw();
          chart.stale = false;
        },
        remake() {
          body.replaceChildren();
          draw = null;
          chart.stale = true;
          if (chart.seen) chart.update();
        },
      };
      element.chart = chart;
      charts.push(chart);
      function show(on) {
        head.setAttribute('aria-expanded', String(on));
        body.hidden = !on;
        if (on) seen.observe(element);
        else seen.unobserve(element);
        chart.seen = false;
        chart.stale = true;
      }
      show(open);
      return element;
    }

    function meter(explained) {
      const bar = h('i', {});
      bar.style.width = `${100 * explained}%`;
      const share = (100 * explained).toFixed(1);
      const text = `Its bins explain ${share} % of the variance of ${metric}`;
      return h('span', { class: 'meter', role: 'img', title: text, 'aria-label': text }, bar);
    }

    function narrow(text) {
      const wanted = text.trim().toLowerCase();
      for (const { column, element } of charts) {
        element.hidden = !`${column.name} ${column.label}`.toLowerCase().includes(wanted);
      }
      for (const part of list.children) part.hidden = !part.querySelector('.chart:not([hidden])');
    }

    return {
      build,
      update() {
        for (const chart of charts) {
          chart.stale = true;
          const closed = chart.element.querySelector('.chart-body').hidden;
          if (closed && explorer.filters.has(chart.column.name)) chart.show(true);
          if (chart.seen) chart.update();
        }
      },
    };
  };

  // ---------------------------------------------------------------- numbers

  // Draws the chart of a number column; returns a function that brings it up to date.
  function numberChart(body, column, metric) {
    const { view } = explorer;
    const { name } = column;
    const bins = explorer.binsOf(view, name);
    const { edges, size } = bins;
    const width = Math.max(200, (body.clientWidth || 296) - 4);
    const curved = name !== metric; // its own means would say nothing
    const top = curved ? CURVE + GAP : 0;
    const bottom = top + BARS;
    const x = d3.scaleLinear([edges[0], edges[size]], [2, width - 34]);
    const all = explorer.summarise(view, name, metric, true);
    const tallest = d3.max(all.counts.subarray(0, size)) || 1;
    const bar = (count) => (count ? Math.max(1, (BARS * count) / tallest) : 0);
    const svg = d3
      .select(body)
      .append('svg')
      .attr('width', width)
      .attr('height', bottom + AXIS)
      .attr('role', 'img');
    const bars = (counts) =>
      d3
        .range(size)
        .map((i) => {
          const tall = bar(counts[i]);
          const [left, right] = [x(edges[i]) + 0.5, x(edges[i + 1]) - 0.5];
          return tall
            ? `M${left.toFixed(1)} ${bottom}v${-tall.toFixed(1)}H${right.toFixed(1)}V${bottom}z`
            : '';
        })
        .join('');
    svg.append('path').attr('class', 'bars-all').attr('d', bars(all.counts));
    const passing = svg.append('path').attr('class', 'bars');
    const band = svg.append('path').attr('class', 'band');
    const allCurve = svg.append('path').attr('class', 'curve-all');
    const curve = svg.append('path').attr('class', 'curve');
    const points = svg.append('path').attr('class', 'points');
    const ends = [10, CURVE].map((y) =>
      svg
        .append('text')
        .attr('class', 'tick')
        .attr('x', width - 30)
        .attr('y', y),
    );
    svg
      .append('text')
      .attr('class', 'tick')
      .attr('x', width - 30)
      .attr('y', top + 10)
      .text(d3.format('.3~s')(tallest));
    axis(svg, x, bins, bottom);

    // Per bin its mean with 95 % of what chance does to it; null where there are too few samples.
    const means = ({ sums, squares, known }) =>
      d3.range(size).map((i) => {
        if (known[i] < LEAST) return null;
        const mean = sums[i] / known[i];
        const variance = Math.max(0, squares[i] / known[i] - mean * mean);
        const error = 1.96 * Math.sqrt(variance / known[i]);
        return {
          at: (x(edges[i]) + x(edges[i + 1])) / 2,
          mean,
          low: mean - error,
          high: mean + error,
        };
      });
    const allMeans = means(all);

    const brush = d3
      .brushX()
      .extent([
        [x.range()[0], 0],
        [x.range()[1], bottom],
      ])
      .on('start brush end', onBrush);
    const overlay = svg.append('g').attr('class', 'brush').call(brush);
    const readout = h('div', { class: 'readout', hidden: true });
    body.append(readout);
    overlay.on('pointermove', (event) => read(binAt(x.invert(d3.pointer(event, svg.node())[0]))));
    overlay.on('pointerleave', () => (readout.hidden = true));
    overlay.attr('tabindex', 0).attr('role', 'slider').on('keydown', onKey);

    // Tells what is in the bin under the pointer.
    function read(bin) {
      const { counts, sums, known } = explorer.summarise(view, name, metric);
      const ends = [edges[bin], edges[bin + 1]].map((edge) => (bins.whole ? edge + 0.5 : edge));
      const [low, high] = bins.whole ? [ends[0], ends[1] - 1] : ends;
      const open = bins.open && bin === size - 1;
      const range = open
        ? `${explorer.short(low)} and more`
        : low === high
          ? String(low)
          : `${explorer.short(low)} – ${explorer.short(high)}`;
      const mean =
        known[bin] && curved ? `, mean ${metric} ${explorer.short(sums[bin] / known[bin])}` : '';
      readout.textContent = `${range}: ${counts[bin].toLocaleString('en')}${mean}`;
      readout.hidden = false;
    }

    function onBrush(event) {
      if (!event.sourceEvent) return;
      overlay.classed('held', event.type !== 'end');
      if (event.type === 'start') return;
      if (event.selection) choose(event.selection.map(x.invert));
      else if (event.type === 'end') {
        const [at] = d3.pointer(event.sourceEvent, svg.node());
        if (explorer.filters.has(name)) explorer.removeFilter(name);
        else if (at >= x.range()[0] && at <= x.range()[1]) chooseBins(binAt(x.invert(at)));
      }
    }

    const binAt = (value) => Math.max(0, Math.min(size - 1, d3.bisectRight(edges, value) - 1));

    // Bins contain their lower edges, not their upper ones.
    function chooseBins(first, last = first) {
      const low = first === 0 ? bins.low : edges[first];
      const below = (edges[last + 1] - edges[last]) * 1e-6;
      const high = last === size - 1 ? bins.high : edges[last + 1] - below;
      explorer.setFilter(name, { kind: 'range', column: name, low, high });
    }

    // Filters by a range; at the ends of the axis by what lies beyond, too.
    function choose([from, to]) {
      const { low, high, whole } = bins;
      const near = (edges[size] - edges[0]) / (x.range()[1] - x.range()[0]);
      from = from <= edges[0] + near ? low : whole ? Math.ceil(from) : Number(from.toPrecision(6));
      to = to >= edges[size] - near ? high : whole ? Math.floor(to) : Number(to.toPrecision(6));
      if (from <= to)
        explorer.setFilter(name, { kind: 'range', column: name, low: from, high: to });
    }

    // Arrows move the chosen bins, with Shift they widen them.
    function onKey(event) {
      const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      const filter = explorer.filters.get(name);
      if (event.key === 'Escape' && filter) explorer.removeFilter(name);
      else if (!step) return;
      else if (filter?.kind !== 'range') chooseBins(step > 0 ? 0 : size - 1);
      else {
        const [first, last] = [binAt(filter.low), binAt(filter.high)];
        const to = last + step;
        const begin = event.shiftKey ? first : first + step;
        if (begin >= 0 && to < size && to >= begin) chooseBins(begin, to);
      }
      event.preventDefault();
    }

    return function update() {
      const summary = explorer.summarise(view, name, metric);
      passing.attr('d', bars(summary.counts));
      if (curved) drawCurve(summary);
      showRange(summary);
    };

    function drawCurve(summary) {
      const shown = means(summary);
      const known = [...shown, ...allMeans].filter(Boolean).map(({ mean }) => mean);
      const [low, high] = known.length ? d3.extent(known) : [0, 1];
      const y = d3.scaleLinear([low, high > low ? high : low + 1], [CURVE - 3, 4]).clamp(true);
      const line = d3
        .line(
          (d) => d.at,
          (d) => y(d.mean),
        )
        .defined(Boolean);
      const area = d3
        .area(
          (d) => d.at,
          (d) => y(d.low),
          (d) => y(d.high),
        )
        .defined(Boolean);
      allCurve.attr('d', line(allMeans));
      curve.attr('d', line(shown));
      band.attr('d', area(shown));
      const dots = shown.filter(Boolean);
      points.attr('d', dots.map((d) => `M${d.at.toFixed(1)} ${y(d.mean).toFixed(1)}h.01`).join(''));
      ends[0].text(known.length ? explorer.short(high) : '');
      ends[1].text(known.length && high > low ? explorer.short(low) : '');
    }

    function showRange(summary) {
      const filter = explorer.filters.get(name);
      const range = filter?.kind === 'range' ? [filter.low, filter.high].map(toPixels) : null;
      // d3 draws the brush that a hand holds by itself.
      if (!overlay.classed('held')) brush.move(overlay, range && widened(range));
      const text = filter ? explorer.describeFilter(filter) : `${column.label}, not filtered`;
      overlay.attr('aria-label', text).attr('aria-valuetext', text);
      overlay.attr('aria-valuemin', bins.low).attr('aria-valuemax', bins.high);
      overlay.attr('aria-valuenow', filter?.low ?? bins.low);
      svg.attr(
        'aria-label',
        `${column.label}: ${d3.sum(summary.counts)} samples, ${bins.low} to ${bins.high}`,
      );
    }

    function toPixels(value) {
      return Math.max(x.range()[0], Math.min(x.range()[1], x(value)));
    }

    // Whole numbers are bars: the brush covers them.
    function widened([left, right]) {
      const half = bins.whole ? (x(1) - x(0)) / 2 : 0;
      return [
        Math.max(x.range()[0], left - half),
        Math.min(x.range()[1], Math.max(right + half, left + 2)),
      ];
    }
  }

  function axis(svg, x, bins, bottom) {
    const format = Math.abs(x.domain()[1]) >= 10000 ? d3.format('~s') : x.tickFormat(4, '~f');
    const ticks = x.ticks(4).filter((tick) => !bins.whole || Number.isInteger(tick));
    svg
      .append('g')
      .selectAll('text')
      .data(ticks)
      .join('text')
      .attr('class', 'tick')
      .attr('text-anchor', 'middle')
      .attr('x', (tick) => Math.max(8, x(tick)))
      .attr('y', bottom + 11)
      .text(format);
    if (bins.open) {
      svg
        .append('text')
        .attr('class', 'tick')
        .attr('x', x.range()[1] + 2)
        .attr('y', bottom)
        .text('…')
        .append('title')
        .text('The last bar has all greater values');
    }
    svg
      .append('path')
      .attr('class', 'axis')
      .attr('d', `M${x.range()[0]} ${bottom}.5H${x.range()[1]}`);
  }

  // ---------------------------------------------------------------- categories

  function categoryChart(body, column, metric) {
    const { view } = explorer;
    const { values } = explorer.binsOf(view, column.name);
    const tallest = d3.max(values, ({ count }) => count) || 1;
    const metricColumn = view.column(metric);
    let everything = false;
    const rows = values.map(({ value, label, count }) => {
      const part = h('i', { class: 'part' });
      const whole = h('i', { class: 'whole' });
      whole.style.width = `${(100 * count) / tallest}%`;
      const number = h('span', { class: 'row-count' });
      const mean = h('span', { class: 'row-mean', title: `Mean ${metricColumn.label}` });
      const button = h(
        'button',
        {
          type: 'button',
          class: 'row',
          title: label,
          'data-value': String(value),
          onclick: () => explorer.toggleValue(column.name, value),
        },
        h('span', { class: 'row-name' }, label),
        h('span', { class: 'row-bar' }, whole, part),
        number,
        mean,
      );
      return { value, part, number, mean, button };
    });
    const more = h('button', {
      type: 'button',
      class: 'link',
      onclick: () => {
        everything = !everything;
        show();
      },
    });
    function show() {
      rows.forEach(({ button }, i) => (button.hidden = !everything && i >= ROWS));
      more.hidden = rows.length <= ROWS;
      more.textContent = everything ? 'Fewer' : `All ${rows.length}`;
    }
    show();
    body.append(
      h(
        'div',
        { class: 'rows' },
        rows.map(({ button }) => button),
      ),
      more,
    );

    return function update() {
      const summary = explorer.summarise(view, column.name, metric);
      const chosen = explorer.filters.get(column.name)?.values;
      rows.forEach(({ value, part, number, mean, button }, i) => {
        part.style.width = `${(100 * summary.counts[i]) / tallest}%`;
        number.textContent = summary.counts[i].toLocaleString('en');
        const average = summary.known[i] ? summary.sums[i] / summary.known[i] : null;
        mean.textContent = explorer.format(metricColumn, average);
        button.setAttribute('aria-pressed', String(!chosen || chosen.includes(value)));
      });
    };
  }
})();
