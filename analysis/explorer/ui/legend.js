'use strict';
/* global Bins, Colors, Columns, Dom, Filters, Format, State, Thumbnail */
// Beside the dots: what colors and sizes mean, and the card of one sample.

const Legend = (() => {
  const { h } = Dom;
  const ROWS = 12; // categories

  /** The thumbnail of a sample and its most important columns.
   * @param {View} view @param {number} row */
  function card(view, row) {
    const { color, size } = State.appearance;
    const headline = Columns.headline(view).slice(0, 4);
    const columns = [view.column('cluster'), ...headline, view.column(color), view.column(size)];
    return [
      Thumbnail.make(row, { size: 152, view }),
      h('b.card-name.cut', view.format('file_name', row)),
      h('dl', [...new Set(columns)].map(
        (column) =>
          column && [
            h('dt.muted', column.label),
            h('dd.three-lines.wrap', view.format(column.name, row)),
          ],
      )),
    ];
  }

  /** Draws the legend of a column; categories are buttons that filter.
   * @param {HTMLElement} container @param {View} view */
  function draw(container, view) {
    const { color, size } = State.appearance;
    const column = view.column(color);
    const sized = view.column(size);
    Dom.replace(
      container,
      ...(column ? colors(view, column) : [color !== null && h('p.soft', without(color))]),
      sized && h('div.legend-size.soft', 'Size: ', h('b', sized.label)),
    );
  }

  /** @param {string} name of a column */
  const without = (name) => `This view has no column “${Format.label(name)}”.`;

  /** @param {View} view @param {Column} column */
  function colors(view, column) {
    const scale = Colors.scale(view, column.name);
    return [
      h('div.legend-title.soft', column.label, h('span', ` ${column.unit}`)),
      scale.values ? categories(view, column, scale) : ramp(scale),
    ];
  }

  /** @param {Scale} scale */
  function ramp({ low = 0, high = 0, colors }) {
    const background = `linear-gradient(to right, ${colors.slice(0, -1).join(', ')})`;
    return h('div', { title: '2nd to 98th percentile' }, [
      h('div.legend-ramp', { style: { background } }),
      h(
        'div.legend-ends.flex',
        [low, (low + high) / 2, high].map((value) => h('span', Format.short(value))),
      ),
    ]);
  }

  /** @param {View} view @param {Column} column @param {Scale} scale */
  function categories(view, { name }, { values = [], colors }) {
    const chosen = Filters.all.get(name)?.values;
    const { counts } = Bins.summarize(view, name);
    const entries = values.slice(0, ROWS).map(({ value, label, code }, bin) =>
      h(
        'li',
        h('button.flex', {
          title: `${label}: click to filter`,
          'aria-pressed': String(!chosen || chosen.includes(value)),
          onclick: () => Filters.toggle(name, value),
        }, [
          h('i.swatch', { style: { background: colors[code] } }),
          h('span.legend-label.grow.cut', label),
          h('span.soft', Format.count(counts[bin])),
        ]),
      ),
    );
    const left = values.length - ROWS;
    return h('ul', entries, left > 0 && h('li.legend-more.soft', `and ${left} more`));
  }

  /** Selects for the columns that color and size the dots.
   * @param {ReturnType<typeof Columns.options>} options */
  function selects(options) {
    const { color, size } = State.appearance;
    /** @type {Parameters<typeof Dom.select>[1]} */
    const sizes = [['', 'equal'], ...options];
    return [
      Dom.select('Color', options, color, (name) => State.setAppearance({ color: name })),
      Dom.select('Size', sizes, size ?? '', (name) => State.setAppearance({ size: name || null })),
    ];
  }

  return Object.freeze({ card, draw, selects });
})();
