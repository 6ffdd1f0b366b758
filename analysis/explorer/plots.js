'use strict';
// Small pictures of statistics in SVG: values with their intervals, means in bins, distributions.
// Positions in tables are percentages, so that they stretch with their cell.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const namespace = 'http://www.w3.org/2000/svg';

  // An SVG element with attributes and children; functions are event listeners.
  function svg(tag, attributes = {}, ...children) {
    const element = document.createElementNS(namespace, tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (typeof value === 'function') element.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children.flat(Infinity));
    return element;
  }

  const percent = (value) => `${value}%`;

  // A share as text: with a decimal below 10 %.
  explorer.percent = function (value) {
    if (value === null || value === undefined) return '–';
    return d3.format(Math.abs(value) < 0.0995 ? '.1f' : '.0f')(100 * value) + ' %';
  };

  // A probability or q-value as text.
  explorer.probability = function (value) {
    if (value === null || value === undefined) return '–';
    return value < 0.001 ? '< 0.001' : value.toFixed(3);
  };

  // [low, high] as text.
  explorer.interval = function (interval, format = explorer.short) {
    return interval ? `[${format(interval[0])}, ${format(interval[1])}]` : '';
  };

  // A table of rows, each with its value and interval drawn on one common axis.
  //
  //   columns  [{head, cell(row) -> text or element, number: whether it is one, title: of the head}]
  //   plot     {head, value(row), interval(row) -> [low, high] or null, reference: a number to
  //            compare with, faint(row): not to be relied on, format(number): for the axis}
  //   action   {label(row), act(row)}: what a click on a row does; or null
  explorer.intervalTable = function (rows, columns, plot, action = null) {
    const numbers = rows.flatMap((row) => [plot.value(row), ...(plot.interval(row) || [])]);
    if (Number.isFinite(plot.reference)) numbers.push(plot.reference);
    const known = numbers.filter(Number.isFinite);
    const [least, most] = known.length ? d3.extent(known) : [0, 1];
    const scale = d3.scaleLinear([least, most > least ? most : least + 1], [3, 97]).nice(4);
    const ticks = scale.ticks(4);
    const format = plot.format || scale.tickFormat(4);
    const label = (tick) =>
      svg('text', { x: percent(scale(tick)), y: 11, class: 'tick-label' }, format(tick));
    const grid = (height) => [
      ...ticks.map((tick) =>
        svg('line', {
          x1: percent(scale(tick)),
          x2: percent(scale(tick)),
          y1: 0,
          y2: height,
          class: 'grid-line',
        }),
      ),
      ...(Number.isFinite(plot.reference)
        ? [
            svg('line', {
              x1: percent(scale(plot.reference)),
              x2: percent(scale(plot.reference)),
              y1: 0,
              y2: height,
              class: 'reference-line',
            }),
          ]
        : []),
    ];

    function drawn(row) {
      const value = plot.value(row);
      const interval = plot.interval(row);
      const picture = svg('svg', { class: 'interval', role: 'img' }, grid(26));
      if (!Number.isFinite(value)) return picture;
      const text = `${explorer.short(value)} ${explorer.interval(interval)}`;
      picture.setAttribute('aria-label', text);
      picture.append(svg('title', {}, text));
      if (interval && interval.every(Number.isFinite)) {
        picture.append(
          svg('line', {
            x1: percent(scale(interval[0])),
            x2: percent(scale(interval[1])),
            y1: 13,
            y2: 13,
            class: 'whisker',
          }),
        );
      }
      picture.append(svg('circle', { cx: percent(scale(value)), cy: 13, r: 4, class: 'dot' }));
      return picture;
    }

    const kind = (column) => (column.number ? 'number' : null);
    const body = rows.map((row) => {
      const line = h(
        'tr',
        { class: plot.faint?.(row) ? 'faint' : null },
        ...columns.map((column) => h('td', { class: kind(column) }, column.cell(row))),
        h('td', { class: 'plotted' }, drawn(row)),
      );
      if (action) explorer.makeButton(line, action.label(row), () => action.act(row));
      return line;
    });
    const heads = columns.map((column) =>
      h('th', { scope: 'col', class: kind(column), title: column.title }, column.head),
    );
    const axis = svg('svg', { class: 'interval-axis', 'aria-hidden': 'true' }, ticks.map(label));
    heads.push(h('th', { scope: 'col', class: 'plotted' }, plot.head, axis));
    return h(
      'div',
      { class: 'scroll-x' },
      h(
        'table',
        { class: 'findings' },
        h('thead', {}, h('tr', {}, ...heads)),
        h('tbody', {}, ...body),
      ),
    );
  };

  // Makes an element that is no button act like one, for mouse, keyboard and screen readers.
  explorer.makeButton = function (element, label, act) {
    element.tabIndex = 0;
    element.classList.add('clickable');
    element.setAttribute('aria-label', label);
    element.addEventListener('click', act);
    element.addEventListener('keydown', (event) => {
      if (event.target !== element || (event.key !== 'Enter' && event.key !== ' ')) return;
      event.preventDefault();
      act();
    });
  };

  // Means in bins, without axes, to be seen beside others. `bins` as in associations.json.
  explorer.sparkline = function (bins) {
    const x = d3.scalePoint(d3.range(bins.length), [3, 61]);
    const y = d3.scaleLinear(
      d3.extent(bins, (bin) => bin.mean),
      [19, 3],
    );
    const line = d3.line(
      (_, index) => x(index),
      (bin) => y(bin.mean),
    );
    return svg(
      'svg',
      { class: 'sparkline', viewBox: '0 0 64 22', 'aria-hidden': 'true' },
      svg('path', { d: line(bins) }),
      bins.map((bin, index) => svg('circle', { cx: x(index), cy: y(bin.mean), r: 1.7 })),
    );
  };

  // The mean of a metric in bins of a column, with 95 % intervals; equally wide bins, as they hold
  // about as many images each.
  //
  //   bins     [{low, high, n, mean, interval}], as in associations.json
  //   column, metric   as people read them; act(bin): what a click on a bin does
  explorer.binnedCurve = function (bins, { column, metric, act }) {
    const width = 720;
    const height = 300;
    const left = 58;
    const bottom = height - 58;
    const x = d3.scaleBand(d3.range(bins.length), [left, width - 10]).paddingInner(0.06);
    const all = bins.flatMap((bin) => [bin.mean, ...(bin.interval || [])]);
    const y = d3.scaleLinear(d3.extent(all.filter(Number.isFinite)), [bottom, 14]).nice(5);
    const middle = (index) => x(index) + x.bandwidth() / 2;
    const known = bins.map((bin, index) => ({ ...bin, index })).filter((bin) => bin.interval);
    const line = d3.line(
      (_, index) => middle(index),
      (bin) => y(bin.mean),
    );
    const area = d3.area(
      (bin) => middle(bin.index),
      (bin) => y(bin.interval[0]),
      (bin) => y(bin.interval[1]),
    );
    const picture = svg(
      'svg',
      {
        class: 'figure',
        viewBox: `0 0 ${width} ${height}`,
        role: 'group',
        'aria-label': `mean ${metric} in bins of ${column}`,
      },
      y
        .ticks(5)
        .map((tick) => [
          svg('line', { x1: left, x2: width - 10, y1: y(tick), y2: y(tick), class: 'grid-line' }),
          svg(
            'text',
            { x: left - 8, y: y(tick) + 4, class: 'tick-label end' },
            y.tickFormat(5)(tick),
          ),
        ]),
      svg('path', { d: area(known), class: 'interval-band' }),
      svg('path', { d: line(bins), class: 'mean-line' }),
    );
    bins.forEach((bin, index) => {
      const range =
        bin.low === bin.high
          ? explorer.short(bin.low)
          : `${explorer.short(bin.low)} – ${explorer.short(bin.high)}`;
      const label =
        `${column} ${range}: mean ${metric} ${explorer.short(bin.mean)} ` +
        `${explorer.interval(bin.interval)}, ${bin.n} images`;
      const group = svg(
        'g',
        { class: 'figure-bin', role: 'button' },
        svg('title', {}, label),
        svg('rect', { x: x(index), y: 8, width: x.bandwidth(), height: bottom - 8 }),
        bin.interval
          ? svg('line', {
              x1: middle(index),
              x2: middle(index),
              y1: y(bin.interval[0]),
              y2: y(bin.interval[1]),
              class: 'whisker',
            })
          : [],
        svg('circle', { cx: middle(index), cy: y(bin.mean), r: 5, class: 'dot' }),
        svg('text', { x: middle(index), y: bottom + 18, class: 'tick-label' }, range),
        svg(
          'text',
          { x: middle(index), y: bottom + 34, class: 'tick-label faint' },
          `n = ${bin.n}`,
        ),
      );
      explorer.makeButton(group, label, () => act(bin));
      picture.append(group);
    });
    picture.append(
      svg('text', { x: (left + width) / 2, y: height - 4, class: 'tick-label' }, column),
    );
    return picture;
  };

  // Two curves over layers in their order: rows of {layer, cka, overlap}, all from 0 to 1.
  explorer.layerCurves = function (rows) {
    const width = 720;
    const height = 250;
    const x = d3.scaleLinear([0, Math.max(rows.length - 1, 1)], [46, width - 16]);
    const y = d3.scaleLinear([0, 1], [height - 40, 12]);
    const picture = svg(
      'svg',
      {
        class: 'figure',
        viewBox: `0 0 ${width} ${height}`,
        role: 'img',
        'aria-label': 'Agreement of both networks, layer by layer',
      },
      y
        .ticks(5)
        .map((tick) => [
          svg('line', { x1: 46, x2: width - 16, y1: y(tick), y2: y(tick), class: 'grid-line' }),
          svg('text', { x: 38, y: y(tick) + 4, class: 'tick-label end' }, tick.toFixed(1)),
        ]),
    );
    const decoder = rows.findIndex((row) => row.layer.startsWith('decoder/'));
    if (decoder > 0) {
      const border = x(decoder - 0.5);
      picture.append(
        svg('line', { x1: border, x2: border, y1: 12, y2: height - 40, class: 'reference-line' }),
        svg('text', { x: border - 6, y: height - 24, class: 'tick-label end' }, 'encoder'),
        svg('text', { x: border + 6, y: height - 24, class: 'tick-label start' }, 'decoder'),
      );
    }
    picture.append(
      svg(
        'text',
        { x: (46 + width) / 2, y: height - 6, class: 'tick-label' },
        'layers in the order of computation',
      ),
    );
    for (const name of ['cka', 'overlap']) {
      picture.append(
        svg('path', {
          d: d3.line(
            (_, index) => x(index),
            (row) => y(row[name]),
          )(rows),
          class: `layer-${name}`,
        }),
      );
      rows.forEach((row, index) =>
        picture.append(
          svg(
            'circle',
            { cx: x(index), cy: y(row[name]), r: 3, class: `layer-${name}` },
            svg(
              'title',
              {},
              `${row.layer}: ${name === 'cka' ? 'CKA' : 'overlap'} ` + explorer.short(row[name]),
            ),
          ),
        ),
      );
    }
    return picture;
  };

  // Known values of a number column, sorted.
  explorer.sortedValues = function (view, name) {
    const column = view.column(name);
    column.cache.sorted ??= Float32Array.from(column.values).filter(Number.isFinite).sort();
    return column.cache.sorted;
  };

  // The share of a column's known values that are lower, ties counted half; in [0, 1].
  explorer.percentile = function (view, name, value) {
    const values = explorer.sortedValues(view, name);
    const known = Math.fround(value);
    return (d3.bisectLeft(values, known) + d3.bisectRight(values, known)) / 2 / values.length;
  };

  // How a column is distributed between its 1st and 99th percentile, with a mark at a value.
  explorer.distribution = function (view, name, value) {
    const values = explorer.sortedValues(view, name);
    const picture = svg('svg', {
      class: 'distribution',
      viewBox: '0 0 96 18',
      'aria-hidden': 'true',
    });
    if (!values.length) return picture;
    const [low, high] = [0.01, 0.99].map((share) => d3.quantileSorted(values, share));
    const x = d3.scaleLinear([low, high > low ? high : low + 1], [1, 95]).clamp(true);
    const edges = d3.range(1, 24).map((step) => low + ((x.domain()[1] - low) * step) / 24);
    const places = [0, ...edges.map((edge) => d3.bisectLeft(values, edge)), values.length];
    const counts = d3.pairs(places, (start, end) => end - start);
    const y = d3.scaleSqrt([0, Math.max(...counts)], [0, 16]);
    const bars = counts
      .map((count, index) => `M${1 + (index * 94) / 24},17v${-y(count).toFixed(2)}h3.4V17z`)
      .join('');
    picture.append(svg('path', { d: bars }));
    if (Number.isFinite(value)) {
      picture.append(svg('line', { x1: x(value), x2: x(value), y1: 0, y2: 18, class: 'mark' }));
    }
    return picture;
  };

  // A bar from the middle of its cell to the left or right; `effect` lies in [-1, 1].
  explorer.effectBar = function (effect) {
    const length = Math.min(Math.abs(effect), 1) * 50;
    return svg(
      'svg',
      { class: 'effect', 'aria-hidden': 'true' },
      svg('rect', {
        x: percent(effect < 0 ? 50 - length : 50),
        y: 4,
        width: percent(length),
        height: 8,
        class: effect < 0 ? 'less' : 'more',
      }),
      svg('line', { x1: '50%', x2: '50%', y1: 1, y2: 15, class: 'reference-line' }),
    );
  };

  explorer.svg = svg;
})();
