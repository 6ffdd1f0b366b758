'use strict';
/* global d3, Columns, Data, Decisions, Dom, Events, Filters, Format, Geometry, Legend, Messages,
   ModelResults, SampleMap, State, Views */
// The page of two models on the same images: both maps with linked selection, then the results of
// the comparison.

/** @type {Page} */
const Models = (() => {
  const { h } = Dom;
  /** @typedef {'this' | 'other'} Which */
  const SIDES = /** @type {Which[]} */ (['this', 'other']);
  // Ids of filters: a polygon on the map of the shown view, as on the first page, or rows.
  const [LASSO, ROWS] = ['map', 'rows'];

  /**
   * @typedef {object} Pair
   * @property {string} name
   * @property {Comparison} result
   * @property {Record<Which, View>} views
   * @property {Record<Which, Int32Array>} partners  the row of the same image on the other side,
   *   for each row of a side; -1 if there is none
   */

  /** @type {Pair} */
  let pair;
  /** @type {Record<Which, { map: ReturnType<typeof SampleMap.create>, legend: HTMLElement }>} */
  let maps;
  /** @type {string | null} */
  let wanted = null; // name of the comparison that is being loaded, or was
  let failed = false; // whether it could not be

  const tools = h('div.page-tools.line');
  const mapPair = h('div.map-pair');
  const results = h('div.findings-content');

  /** @param {HTMLElement} container */
  function build(container) {
    container.append(h('header.page-head.line', h('h2', 'Two models'), tools), mapPair, results);
  }

  /** @param {Set<string>} events */
  function update(events) {
    const { compare } = State.manifest;
    const entry = compare.find(({ name }) => name === State.read('compare')) ?? compare[0];
    if (pair?.name !== entry.name || wanted !== entry.name) {
      if (wanted !== entry.name || (failed && events.has('page'))) {
        open(entry).catch((error) => {
          Messages.fail(error);
          if (wanted !== entry.name) return;
          failed = true;
          results.replaceChildren(h('p.empty', 'Not loaded.'));
        });
      }
      return;
    }
    const redraw = ['view', 'appearance', 'page'].some((event) => events.has(event));
    const waits = redraw ? SIDES.map((side) => Data.columns(pair.views[side], drawn())) : [];
    if (waits.some(Boolean)) {
      Promise.all(waits).then(() => Events.emit('appearance')).catch(Messages.fail);
      return;
    }
    if (redraw) drawTools();
    for (const { map } of Object.values(maps)) {
      if (redraw) map.draw();
      else if (events.has('filters')) map.drawDots();
      else map.drawMarks();
    }
  }

  /** @param {Manifest['compare'][0]} entry */
  async function open(entry) {
    wanted = entry.name;
    failed = false;
    results.replaceChildren(h('p.empty', 'Loading …'));
    /** @type {[Comparison, View, View]} */
    const [result, mine, theirs] = await Promise.all([
      Data.need(`compare/${entry.name}`, entry.file),
      Data.load(entry.this),
      Data.load(entry.other),
    ]);
    const both = [mine, theirs];
    await Promise.all(both.flatMap((view, i) => [
      Data.columns(view, [...Columns.always(view), ...drawn()]),
      Data.columns(view, lent(view, both[1 - i]).map(({ name }) => name)),
    ]));
    if (wanted !== entry.name) return;
    both.forEach((view) => Decisions.prepare(view));
    const [rows, others] = SIDES.map((side) => Data.decode(result.rows[side]));
    pair = {
      name: entry.name,
      result,
      views: { this: mine, other: theirs },
      partners: { this: partners(mine, rows, others), other: partners(theirs, others, rows) },
    };
    SIDES.forEach(lendColumns);
    drawMaps();
    drawTools();
    const openImage = (/** @type {number} */ row) => openRow('this', row);
    results.replaceChildren(...ModelResults.all(result, mine, showSlice, openImage));
  }

  /** The columns that the maps show. */
  const drawn = () => [State.appearance.color, State.appearance.size];

  /** The columns that a view lends to the other one. @param {View} lender @param {View} view */
  const lent = (lender, view) =>
    lender.columns.filter(
      ({ name, role, kind }) => role === 'metadata' && kind === 'number' && !view.column(name),
    );

  /** @param {View} view @param {Decoded} rows common images
   * @param {Decoded} others their rows on the other side */
  function partners(view, rows, others) {
    const partner = new Int32Array(view.n).fill(-1);
    rows.forEach((row, index) => (partner[row] = others[index]));
    return partner;
  }

  /** The images are the same, so metadata of one label space can color both maps.
   * @param {Which} side */
  function lendColumns(side) {
    const view = pair.views[side];
    const lender = pair.views[otherOf(side)];
    for (const column of lent(lender, view)) {
      const { name, role, kind, unit, values } = column;
      const description = `${column.description} (classes of ${title(otherOf(side))})`;
      const own = Float32Array.from(pair.partners[side], (row) => (row < 0 ? NaN : values[row]));
      view.addColumn({ name, role, kind, unit, description, values: own });
    }
  }

  /** @param {Which} side */
  const otherOf = (side) => (side === 'this' ? 'other' : 'this');

  /** @param {Which} side */
  const title = (side) => pair.views[side].run_name ?? pair.views[side].name;

  /** The side that filters belong to; null if the page shows a third view. */
  const shownSide = () => SIDES.find((side) => pair.views[side] === State.view) ?? null;

  /** A row of one side as a row of another; null if there is none.
   * @param {Which | null} from @param {Which | null} to @param {number | null} row */
  function translate(from, to, row) {
    if (row === null || from === null || to === null) return null;
    const found = from === to ? row : pair.partners[from][row];
    return found < 0 ? null : found;
  }

  /** Which rows of a side pass; null if all do. @param {Which} side */
  function maskOf(side) {
    const shown = shownSide();
    if (shown === null || !Filters.all.size) return null;
    if (shown === side) return Filters.mask;
    return Uint16Array.from(pair.partners[side], (row) => (row < 0 ? 1 : Filters.mask[row]));
  }

  /** @param {Which} side @param {number} row */
  async function openRow(side, row) {
    const shown = translate(side, shownSide(), row);
    if (shown === null) await Views.show(pair.views[side].name);
    State.openSample(shown ?? row);
  }

  /** A lasso on the map of the shown view is a filter; one on the other map filters by its images.
   * @param {Which} side @param {Filter | null} polygon */
  async function lasso(side, polygon) {
    for (const id of [LASSO, ROWS]) Filters.remove(id);
    if (!polygon) return;
    if (shownSide() === null) await Views.show(pair.views[side].name);
    if (shownSide() === side) {
      Filters.set(LASSO, polygon);
      return;
    }
    const position = Geometry.projection(pair.views[side], polygon.turn);
    const isInside = (/** @type {number} */ row) =>
      d3.polygonContains(polygon.points ?? [], position(row));
    showRows(side, isInside, `lasso on the map of ${title(side)}`);
  }

  /** Shows the images of a group of one map on both.
   * @param {Which} side @param {string} name @param {Value} value */
  async function chooseGroup(side, name, value) {
    const view = pair.views[side];
    if (shownSide() === null) await Views.show(view.name);
    showRows(side, (row) => view.value(name, row) === value, `${value} (${title(side)})`);
  }

  /** Filters by images of a side.
   * @param {Which} side @param {(row: number) => boolean} isChosen @param {string} label */
  function showRows(side, isChosen, label) {
    const shown = shownSide();
    const rows = d3
      .range(pair.views[side].n)
      .filter(isChosen)
      .map((row) => translate(side, shown, row))
      .filter((row) => row !== null);
    Filters.set(ROWS, { kind: 'rows', rows, label });
  }

  /** Filters by the conditions of a slice; there are none for all images.
   * @param {{ text: string, conditions: Condition[] }} slice */
  async function showSlice({ text, conditions }) {
    const view = await Views.show(pair.views.this.name);
    await Data.columns(view, conditions.map(([name]) => name));
    const holds = (/** @type {number} */ row) =>
      conditions.every(([name, relation, value]) => {
        const found = view.column(name)?.values[row];
        if (relation === 'is') return found === Number(value);
        return relation === '<=' ? found <= value : found >= value;
      });
    if (conditions.length) showRows('this', holds, `slice: ${text}`);
    else Filters.clear();
    mapPair.scrollIntoView({ block: 'start' });
  }

  function drawMaps() {
    const figures = SIDES.map(drawMap);
    maps = { this: figures[0], other: figures[1] };
    mapPair.replaceChildren(...figures.map(({ figure }) => figure));
    for (const { map } of figures) map.draw();
  }

  /** @param {Which} side */
  function drawMap(side) {
    const view = pair.views[side];
    const place = h('div.map-place.panel');
    const legend = h('div.legend');
    const map = SampleMap.create(place, {
      label: `Map of ${title(side)}`,
      view: () => view,
      mask: () => maskOf(side),
      hovered: () => translate(shownSide(), side, State.hovered),
      selected: () => translate(shownSide(), side, State.selected),
      onHover: (row) => State.hoverSample(translate(side, shownSide(), row)),
      onOpen: (row) => openRow(side, row),
      onLasso: (polygon) => lasso(side, polygon),
      polygon: () => (shownSide() === side ? (Filters.all.get(LASSO) ?? null) : null),
      onName: (column, value) => chooseGroup(side, column, value),
    });
    place.append(legend);
    const classes = pair.result[side].class_names.slice(1).join(', ');
    const caption = h('figcaption.line', [
      h('strong', { dir: 'auto' }, title(side)),
      h('span.muted', { dir: 'auto' }, `${side} model, step ${view.step}: ${classes}`),
    ]);
    const figure = h('figure.model-map', caption, place);
    return { map, legend, figure };
  }

  function drawTools() {
    const { color } = State.appearance;
    for (const side of SIDES) {
      const view = pair.views[side];
      const { legend } = maps[side];
      // Names of groups are on the maps themselves.
      legend.hidden = (view.column(color)?.kind ?? 'number') !== 'number';
      if (!legend.hidden) Legend.draw(legend, view);
    }
    const { compare } = State.manifest;
    const views = SIDES.map((side) => pair.views[side]);
    const owner = views.find((view) => view.column(color)) ?? views[0];
    const both = (/** @type {Column} */ { name, kind }) =>
      kind !== 'text' && (name === color || views.every((view) => view.column(name)));
    const options = compare.map(({ name }) => [name, name]);
    const choose = (/** @type {string} */ name) => {
      State.save('compare', name);
      Events.emit('page');
    };
    Dom.replace(
      tools,
      compare.length > 1 && Dom.select('Compare', options, pair.name, choose),
      ...Legend.selects(Columns.options(owner, both)),
      h(
        'span.muted',
        `${Format.count(pair.result.num_images)} common images; selections apply to both maps`,
      ),
    );
  }

  return {
    id: 'models',
    title: 'Two models',
    build,
    update,
    shown: () => State.manifest.compare?.length > 0,
  };
})();
