'use strict';
// What is written beside the dots: the card of one sample, and what colours and sizes mean.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;

  // Picture and the columns that are asked for most.
  explorer.sampleCard = function (view, row) {
    const { color, size } = explorer.appearance;
    const wanted = ['cluster', ...explorer.headlineColumns(view).slice(0, 4), color, size];
    const columns = [...new Set(wanted)].map((name) => view.column(name)).filter(Boolean);
    return [
      explorer.thumbnail(row, { size: 152, view }),
      h('b', { class: 'card-name' }, view.format('file_name', row)),
      h(
        'dl',
        {},
        columns.map((column) => [
          h('dt', {}, column.label),
          h('dd', {}, view.format(column.name, row)),
        ]),
      ),
    ];
  };

  // What colours and sizes mean; of categories each is a button that filters.
  explorer.drawLegend = function (container, view, name) {
    const column = view.column(name);
    const size = view.column(explorer.appearance.size);
    if (!column) return container.replaceChildren();
    const scale = explorer.colorScale(view, name);
    container.replaceChildren(
      h(
        'div',
        { class: 'legend-title' },
        column.label,
        column.unit && h('span', {}, ` ${column.unit}`),
      ),
      scale.kind === 'number' ? ramp(column, scale) : categories(view, column, scale),
      size ? h('div', { class: 'legend-size' }, 'Larger: ', h('b', {}, size.label)) : '',
    );
  };

  function ramp(column, { low, high, colors }) {
    const bar = h('div', { class: 'legend-ramp' });
    bar.style.background = `linear-gradient(to right, ${colors.slice(0, -1).join(', ')})`;
    const ends = [low, (low + high) / 2, high].map((value) => h('span', {}, explorer.short(value)));
    return h(
      'div',
      { title: '2nd to 98th percentile' },
      bar,
      h('div', { class: 'legend-ends' }, ends),
    );
  }

  const LEGEND_ROWS = 12;

  function categories(view, column, { values, colors }) {
    const chosen = explorer.filters.get(column.name)?.values;
    const { counts } = explorer.summarise(view, column.name);
    return h(
      'ul',
      {},
      values.slice(0, LEGEND_ROWS).map(({ value, label, code }, bin) => {
        const swatch = h('i', { class: 'swatch' });
        swatch.style.background = colors[code];
        return h(
          'li',
          {},
          h(
            'button',
            {
              type: 'button',
              title: `${label}: click to choose, again to let go`,
              'aria-pressed': String(!chosen || chosen.includes(value)),
              onclick: () => explorer.toggleValue(column.name, value),
            },
            swatch,
            h('span', { class: 'legend-label' }, label),
            h('span', { class: 'legend-count' }, counts[bin].toLocaleString('en')),
          ),
        );
      }),
      values.length > LEGEND_ROWS &&
        h('li', { class: 'legend-more' }, `and ${values.length - LEGEND_ROWS} more`),
    );
  }
})();
