'use strict';
/* global Data, Dom, Events, Filters, Format, Plots, State, Statistics, Thumbnail */
// The facts about a sample: its cluster, slices, metrics, metadata and similar samples.

const SampleFacts = (() => {
  const { h } = Dom;
  const SIMILAR = 12;
  const WITH_MAP = ['explore', 'models', 'photograph']; // pages

  /** Filters by one value and closes the sample. @param {string} column @param {Value} value */
  function showOnly(column, value) {
    Filters.only(column, value);
    State.closeSample();
  }

  /** Names of the columns that `all` reads. @param {View} view */
  const needs = (view) =>
    view.columns
      .filter(({ role }) => ['metric', 'metadata', 'slice', 'cluster'].includes(role))
      .map(({ name }) => name);

  /** @param {View} view @param {number} row */
  const all = (view, row) =>
    [
      cluster(view, row),
      slices(view, row),
      group(view, row, 'metric', 'Metrics'),
      group(view, row, 'metadata', 'Image and annotations'),
    ].filter((section) => section !== null);

  /** Columns of a role, each with its place among all samples.
   * @param {View} view @param {number} row @param {string} role @param {string} title */
  function group(view, row, role, title) {
    // Most images contain few of the categories.
    const columns = view.columns
      .filter((column) => column.role === role)
      .filter((column) => !column.name.startsWith('count_') || column.values[row] > 0);
    if (!columns.length) return null;
    const lines = columns.map((column) => line(view, row, column));
    return h('section', h('h3', title), h('table.fact-table', h('tbody', lines)));
  }

  /** @param {View} view @param {number} row @param {Column} column */
  function line(view, row, column) {
    const { name, label, kind, unit, description } = column;
    const value = view.value(name, row);
    // Some units are ranges, such as 0–1.
    const hasUnit = value !== null && unit && !/[0-9/]/.test(unit);
    const cells = [
      h('th.wrap', { scope: 'row', title: description, dir: 'auto' }, label),
      h('td.number', view.format(name, row), hasUnit && h('span.muted', unit)),
    ];
    if (kind !== 'number' || value === null) return h('tr', cells, h('td'), h('td'));
    const share = Math.round(100 * Statistics.rank(column, Number(value)));
    return h('tr', [
      cells,
      h('td', Plots.distribution(column, Number(value))),
      h('td.number.percentile', { title: `higher than ${share} % of the samples` }, `${share} %`),
    ]);
  }

  /** @param {View} view @param {number} row */
  function cluster(view, row) {
    const name = view.column('cluster') && view.value('cluster', row);
    if (!name) return null;
    const found = view.clusters?.find(({ id }) => id === view.values('cluster')[row]);
    const src = found?.heat_map && Data.picture(view, found.heat_map);
    const title = 'Mean saliency of cluster membership: orange for, purple against';
    const size =
      found && `${Format.count(found.size)} images, stability ${found.stability?.toFixed(2)}`;
    return h('section.own-cluster', [
      h('h3', 'Cluster'),
      src && h('img.heat-map', { src, alt: title, title, width: 72, height: 72 }),
      h('p', [
        Dom.link(String(name), () => showOnly('cluster', name), { dir: 'auto' }),
        size && h('span.muted', size),
      ]),
    ]);
  }

  /** @param {View} view @param {number} row */
  function slices(view, row) {
    const columns = view.columns.filter(
      (column) => column.role === 'slice' && column.values[row] === 1,
    );
    if (!columns.length) return null;
    return h('section.own-slices', [
      h('h3', 'In slices with worse metrics'),
      columns.map(({ name }) =>
        h('button.button.wrap', { dir: 'auto', onclick: () => showOnly(name, true) }, [
          name.slice('slice: '.length),
        ]),
      ),
    ]);
  }

  /** @param {View} view @param {number} row */
  function similar(view, row) {
    const title = 'Nearest in embedding space';
    if (!view.similar) return [h('h3', title), Dom.missing('similar', view, true)];
    const found = view.similarTo(row);
    if (!found) return [];
    const rows = [...found.rows];
    const filter = () => {
      const label = `similar to ${view.format('file_name', row)}`;
      Filters.set('similar', { kind: 'rows', rows: [row, ...rows], label });
      State.closeSample();
      if (!WITH_MAP.includes(State.page ?? '')) State.showPage('explore');
    };
    const note = view.notes?.similar;
    const thumbs = rows.slice(0, SIMILAR).map((other, k) => {
      const picture = Thumbnail.make(other, { size: 84, view });
      const text = h('span.muted', found.distances[k].toFixed(2));
      return Thumbnail.button(view, other, picture, text);
    });
    const { parts } = view.similar;
    const choose = (/** @type {string} */ part) => {
      view.similarBy = part;
      Events.emit('similar');
    };
    const options = parts.map((part) => [part, part]);
    return [
      h('h3', title, Dom.link('show on the map', filter)),
      ...(parts.length > 1 ? [Dom.select('Alike in', options, view.similarBy, choose)] : []),
      ...(note ? [h('p.soft', note)] : []),
      h('div.thumbs', thumbs),
    ];
  }

  return { needs, all, similar };
})();
