'use strict';
/* global d3, Charts, Columns, Dom, Legend, SampleList, SampleMap, State, Thumbnail */
// The first page: the map, the charts beside it and the samples below.

/** @type {Page} */
const Explore = (() => {
  const { h } = Dom;
  const MAP_SHARE = 62; // % of the height
  const QUALITY =
    'How well neighbors on the flat map are neighbors in embedding space; at most 1 ' +
    '(trustworthiness, Venna and Kaski 2001)';

  const controls = h('div.map-controls.head.line');
  const legend = h('div.legend', { role: 'group', 'aria-label': 'Legend' });
  const quality = h('div.map-note');
  /** @type {ReturnType<typeof SampleMap.create>} */
  let map;
  /** @type {ReturnType<typeof SampleList.create>} */
  let samples;
  /** @type {ReturnType<typeof Charts.create>} */
  let charts;
  /** @type {Node} */
  let overlay;
  /** @type {() => void} */
  let placeSplitter; // where the link says
  /** @type {View | null} */
  let shown = null;

  /** @param {HTMLElement} container */
  function build(container) {
    const mapPanel = h('div.map-panel.grow');
    const samplesPanel = h('div.samples-panel.panel');
    const chartsPanel = h('div.charts.stack.panel', { role: 'region', 'aria-label': 'Charts' });
    const left = h('div.explore-left', h('div.map-box.stack.panel', controls, mapPanel));
    left.append(splitter(left), samplesPanel);
    container.append(left, chartsPanel);
    overlay = Thumbnail.overlayControl();
    map = SampleMap.create(mapPanel, { ...SampleMap.ofPage, label: 'Map of the samples' });
    mapPanel.append(legend, quality);
    samples = SampleList.create(samplesPanel, { name: 'explore', first: 'table' });
    charts = Charts.create(chartsPanel);
  }

  /** @param {Set<string>} events */
  function update(events) {
    const has = (/** @type {string[]} */ ...names) => names.some((name) => events.has(name));
    const { view } = State;
    if (has('view', 'appearance')) {
      drawControls();
      map.draw();
    } else if (has('filters')) map.drawDots();
    else if (has('hover', 'sample', 'similar')) map.drawMarks();
    if (has('view', 'appearance', 'filters')) Legend.draw(legend, view);
    if (shown !== view) {
      shown = view;
      const flat = view.map_quality?.trustworthiness[0];
      quality.textContent = flat === undefined ? '' : `trustworthiness in 2-D ${flat.toFixed(2)}`;
      quality.title = [QUALITY, view.notes?.similarity_map].filter(Boolean).join('. ');
      charts.build();
    }
    if (has('page')) placeSplitter();
    if (has('view', 'filters', 'decisions', 'page')) charts.update();
    samples.update(events);
  }

  function drawControls() {
    const options = Columns.options(State.view, (column) => column.kind !== 'text');
    Dom.replace(controls, ...Legend.selects(options), overlay);
  }

  /** The line between map and samples, which can be dragged. @param {HTMLElement} left */
  function splitter(left) {
    const line = h('div.splitter', {
      role: 'separator',
      tabindex: 0,
      'aria-orientation': 'horizontal',
      'aria-label': 'Height of the map',
      'aria-valuemin': 20,
      'aria-valuemax': 90,
    });
    /** @param {number} percent */
    function set(percent) {
      const share = Math.round(Math.max(20, Math.min(90, percent)));
      left.style.setProperty('--map-share', `${share}%`);
      line.setAttribute('aria-valuenow', String(share));
      State.save('split', share === MAP_SHARE ? null : share);
    }
    /** @type {d3.DragBehavior<Element, unknown, unknown>} */
    const drag = d3.drag();
    drag.on('drag', ({ y }) => set((100 * y) / left.clientHeight));
    d3.select(/** @type {Element} */ (line)).call(drag);
    line.addEventListener('keydown', (event) => {
      const step = { ArrowUp: -3, ArrowDown: 3 }[event.key];
      if (!step) return;
      set(Number(line.getAttribute('aria-valuenow')) + step);
      event.preventDefault();
    });
    placeSplitter = () => set(Number(State.read('split')) || MAP_SHARE);
    return line;
  }

  return { id: 'explore', title: 'Explore', build, update };
})();
