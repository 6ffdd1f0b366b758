'use strict';
/* global Columns, Dom, State */
// The head of a list of samples: table or gallery, sort order, columns or size of the pictures.

const SampleListHead = (() => {
  const { h } = Dom;

  /** @param {object} options @param {Node | null} options.overlay shown at its end
   * @param {(mode: string) => void} options.setMode
   * @param {(size: number) => void} options.setSize
   * @param {(names: string[]) => void} options.chooseColumns */
  function create({ overlay, setMode, setSize, chooseColumns }) {
    const element = h('div.samples-head.head.line');

    /** @param {string} mode @param {number} size of gallery pictures @param {Column[]} columns */
    function draw(mode, size, columns) {
      const { view, sort } = State;
      const button = (/** @type {string} */ key, /** @type {string} */ title) =>
        Dom.iconButton(key, title, () => setMode(key), { 'aria-pressed': String(mode === key) });
      Dom.replace(
        element,
        h('span', button('table', 'Table'), button('gallery', 'Gallery')),
        Dom.select('Sort by', Columns.options(view), sort.column, (column) =>
          State.setSort(column, sort.descending),
        ),
        Dom.link(
          sort.descending ? 'Descending' : 'Ascending',
          () => State.setSort(sort.column, !sort.descending),
          { title: 'Reverse the order' },
        ),
        mode === 'table'
          ? columnPicker(columns, chooseColumns)
          : Dom.slider('Image size', { min: 72, max: 256, step: 8, value: size }, setSize),
        overlay,
      );
    }

    return { element, draw };
  }

  /** @param {Column[]} columns that are shown @param {(names: string[]) => void} choose */
  function columnPicker(columns, choose) {
    const shown = new Set(columns.map(({ name }) => name));
    const find = h('input', {
      type: 'search',
      placeholder: 'Find a column',
      'aria-label': 'Find a column',
      oninput: () => {
        const wanted = find.value.trim().toLowerCase();
        for (const label of panel.querySelectorAll('label')) {
          label.hidden = !label.textContent?.toLowerCase().includes(wanted);
        }
      },
    });
    const boxes = Columns.grouped(State.view).map(({ label, columns: group }) =>
      h('fieldset', [
        h('legend.soft', label),
        group.map((column) =>
          Dom.check(column.label, shown.has(column.name), (on) => {
            if (on) shown.add(column.name);
            else shown.delete(column.name);
            choose([...shown]);
          }),
        ),
      ]),
    );
    const panel = h('div.picker-panel.panel', find, boxes);
    return h('details.picker', [
      h('summary.inline-flex.soft', { title: 'Columns of the table' }, [
        Dom.icon('columns'),
        'Columns',
      ]),
      panel,
    ]);
  }

  return { create };
})();
