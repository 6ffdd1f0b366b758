'use strict';
/* global Bins, CategoryChart, Columns, Data, Dom, Filters, Histogram, State */
// A chart for each column: the distribution of its values, over the samples that pass and over all,
// and the mean of a chosen metric in each bin. Only visible charts are drawn, and load their column.

const Charts = (() => {
  const { h } = Dom;
  /** @type {Record<string, number>} */
  const OPEN = { metric: 3, cluster: 1, metadata: 8, issue: 1 }; // charts open at first, by role

  /** A list of charts. @param {HTMLElement} container */
  function create(container) {
    let metric = 'loss';
    /** @type {ReturnType<typeof makeChart>[]} */
    let charts = [];
    const find = h('input', {
      type: 'search',
      placeholder: 'Find',
      'aria-label': 'Find a column',
      oninput: narrow,
    });
    const head = h('div.charts-head.head');
    const list = h('div.charts-list.grow');
    container.append(head, list);
    const visible = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        charts.find(({ body }) => body === target)?.see(isIntersecting);
      }
    });
    let width = 0;
    new ResizeObserver(() => {
      if (list.clientWidth === width || !list.clientWidth) return;
      if (width) charts.forEach((chart) => chart.remake());
      width = list.clientWidth;
    }).observe(list);

    /** For another view, or another metric of the curves. */
    function build() {
      const { view } = State;
      metric = chosenMetric();
      const options = view.columns.filter(isCurve).map(({ name, label }) => [name, label]);
      const select = Dom.select('Curves', options, metric, (name) =>
        Data.when(view, [name], () => {
          if (view !== State.view) return;
          State.save('curve', name === 'loss' ? null : name);
          build();
        }),
      );
      Dom.replace(head, find, select);
      visible.disconnect();
      charts = [];
      const groups = Columns.grouped(view, isDrawable).filter(({ role }) => role !== 'id');
      list.replaceChildren(...groups.map(section));
      narrow();
    }

    /** @param {Column} column */
    const isCurve = ({ role, kind }) => role === 'metric' && kind === 'number';

    function chosenMetric() {
      const column = State.view.column(State.read('curve'));
      return column && isCurve(column) && column.isLoaded() ? column.name : 'loss';
    }

    /** Whether a column has at least two values. @param {Column} column */
    const isDrawable = ({ name, kind, role, varies }) =>
      kind !== 'text' && (role === 'decision' || (varies ?? Bins.varies(State.view, name)));

    /** @param {{ role: string, label: string, columns: Column[] }} group */
    function section({ role, label, columns }) {
      const { view } = State;
      const headline = role === 'metric' ? Columns.headline(view) : [];
      const others = columns.filter((column) => !headline.includes(column));
      const ranked = [...headline.filter((column) => columns.includes(column)), ...others].map(
        (column) => ({
          column,
          explained: role === 'metric' ? null : Columns.explained(view, column.name, metric),
        }),
      );
      if (role === 'metadata') ranked.sort((a, b) => Number(b.explained) - Number(a.explained));
      const made = ranked.map(({ column, explained }, rank) =>
        makeChart(column, explained, rank < OPEN[role] || Filters.all.has(column.name)),
      );
      charts.push(...made);
      const elements = made.map(({ element }) => element);
      return h('section', { 'aria-label': label }, h('h2', label), elements);
    }

    /** @param {Column} column @param {number | null} explained @param {boolean} open */
    function makeChart(column, explained, open) {
      const body = h(`div.chart-body.${column.kind}`);
      const head = h('button.chart-head.flex', {
        title: [column.label, column.description].filter(Boolean).join(': '),
        onclick: () => show(Boolean(body.hidden)),
      }, [
        Dom.icon('down'),
        h('span.chart-name.cut', column.label),
        column.unit && h('span.chart-unit.cut', column.unit),
        explained !== null && meter(explained),
      ]);
      const element = h('article.chart', { 'data-column': column.name }, head, body);
      let seen = false;
      let stale = true;
      /** @type {(() => void) | null} */
      let draw = null; // made when the chart is first seen, because only then it has a width

      function update() {
        stale = true;
        if (seen) Data.when(State.view, [column.name], redraw);
      }

      function redraw() {
        // It may have been drawn or replaced while the column was loaded.
        if (!stale || !seen || !body.isConnected) return;
        const { create } = column.kind === 'number' ? Histogram : CategoryChart;
        draw ??= create(body, column, metric);
        draw();
        stale = false;
      }

      /** @param {boolean} on */
      function show(on) {
        head.setAttribute('aria-expanded', String(on));
        body.hidden = !on;
      }

      /** Draws it from scratch, as after a change of its width. */
      function remake() {
        body.replaceChildren();
        draw = null;
        update();
      }

      /** @param {boolean} isVisible */
      function see(isVisible) {
        seen = isVisible;
        if (stale) update();
      }

      show(open);
      visible.observe(body);
      return { column, element, body, update, remake, see, open: () => body.hidden && show(true) };
    }

    /** @param {number} explained */
    function meter(explained) {
      const width = `${100 * explained}%`;
      const title = `Explains ${(100 * explained).toFixed(1)} % of the variance of ${metric}`;
      const bar = h('i', { style: { width } });
      return h('span.meter', { role: 'img', title, 'aria-label': title }, bar);
    }

    /** Hides the charts that the search does not find. */
    function narrow() {
      const wanted = find.value.trim().toLowerCase();
      for (const { column, element } of charts) {
        element.hidden = !`${column.name} ${column.label}`.toLowerCase().includes(wanted);
      }
      for (const part of list.querySelectorAll('section')) {
        part.hidden = !part.querySelector('.chart:not([hidden])');
      }
    }

    return {
      build,
      update() {
        if (chosenMetric() !== metric) build(); // as after Back
        for (const chart of charts) {
          if (Filters.all.has(chart.column.name)) chart.open();
          chart.update();
        }
      },
    };
  }

  return { create };
})();
