'use strict';
/* global Columns, Data, Decisions, Events, Filters, Messages, State */
// Shows a view.

const Views = (() => {
  let calls = 0; // of show

  /** Keeps the filters of columns that the view has, and drops those of rows and of places on the
   * map, which belong to the view before. The open sample stays open if the view has its image.
   * @param {string} name */
  async function show(name) {
    const call = ++calls;
    const view = await Data.load(name);
    const before = State.view;
    if (view === before) return view;
    // Others may be wanted when these are there: of another sort, curve or filter.
    for (let waits; (waits = Data.columns(view, wanted(view))); ) await waits;
    if (call !== calls) return State.view; // another one was chosen meanwhile
    const { selected } = State;
    if (before && selected !== null) State.selected = same(before, selected, view);
    State.view = view;
    State.hovered = null;
    delete document.body.dataset.loaded;
    Decisions.prepare();
    const kept = [...Filters.all].filter(
      ([, filter]) => filter.kind === 'search' || view.column(filter.column ?? null),
    );
    Filters.reset(view);
    // Of objects, a column means something else than its namesake of images.
    if (before?.rows_are === view.rows_are) {
      for (const [id, filter] of kept) Filters.set(id, filter);
    }
    if (!view.column(State.sort.column)) State.setSort('image_id', false);
    const { color, size } = State.appearance;
    State.setAppearance({
      color: view.column(color) ? color : usualColor(view),
      size: view.column(size) ? size : null,
    });
    Events.emit('view', 'sort', 'sample');
    // After the first frame.
    setTimeout(() => Data.loadRest(view).then(whenLoaded, whenFailed), 50);
    return view;
  }

  /** The row of the same image in another view, and of the same object if both are of objects; null
   * if it lacks the image. @param {View} before @param {number} selected @param {View} view */
  function same(before, selected, view) {
    const image = before.value('image_id', selected);
    const first = view.rowOf(image, 'image_id');
    if (first < 0) return null;
    if (view.key === 'image_id' || before.key !== view.key) return first;
    // The image too: each split may number its annotations from 1.
    const key = before.value(view.key, selected);
    const [images, keys] = [view.values('image_id'), view.values(view.key)];
    const isSame = (/** @type {any} */ other, /** @type {number} */ at) =>
      other === key && images[at] === image;
    const row = keys.findIndex(isSame);
    return row < 0 ? first : row;
  }

  /** The columns that the page shows first. @param {View} view */
  function wanted(view) {
    const { color, size } = State.appearance;
    const filtered = [...Filters.all.values()].map(({ column }) => column);
    const columns = [...Columns.always(view), ...Columns.shown(view), usualColor(view)];
    return [...columns, ...filtered, color, size, State.sort.column, State.read('curve')];
  }

  /** @param {View} view */
  function usualColor(view) {
    if (Columns.hasParts(view)) return 'split';
    return view.column('cluster') ? 'cluster' : 'loss';
  }

  /** @param {View} view */
  function whenLoaded(view) {
    if (view !== State.view) return;
    Events.emit('view');
    document.body.dataset.loaded = view.name;
  }

  /** @param {unknown} error */
  function whenFailed(error) {
    Messages.fail(error);
    Events.emit('view'); // pages say what is not there
  }

  /** The name of the view of the same images whose rows are the other kind, objects or images;
   * null if there is none. @param {View} view */
  function otherRows({ name, rows_are: rows }) {
    const other = rows === 'objects' ? name.replace(/-objects$/, '') : `${name}-objects`;
    return State.manifest.views.some((entry) => entry.name === other) ? other : null;
  }

  return { show, wanted, otherRows };
})();
