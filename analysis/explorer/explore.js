'use strict';
// The first page: the map, the charts beside it and the samples below.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;

  function build(container) {
    const controls = h('div', { class: 'map-controls' });
    const map = h('div', { class: 'map-panel' });
    const legend = h('div', { class: 'legend', role: 'group', 'aria-label': 'Legend' });
    const samples = h('div', { class: 'samples-panel' });
    const charts = h('div', { class: 'charts', role: 'region', 'aria-label': 'Charts' });
    const left = h('div', { class: 'explore-left' });
    left.append(h('div', { class: 'map-box panel' }, controls, map), splitter(left), samples);
    samples.classList.add('panel');
    charts.classList.add('panel');
    container.append(left, charts);

    this.controls = controls;
    this.overlay = explorer.overlayControl();
    this.legend = legend;
    this.map = explorer.createMap(map, {
      label: 'Map of the samples',
      view: () => explorer.view,
      mask: () => explorer.mask,
      hovered: () => explorer.hovered,
      selected: () => explorer.selected,
      onHover: explorer.hoverSample,
      onOpen: explorer.openSample,
      onLasso: (filter) =>
        filter ? explorer.setFilter('map', filter) : explorer.removeFilter('map'),
      polygon: () => explorer.filters.get('map') ?? null,
      onName: explorer.toggleValue,
    });
    this.quality = h('div', { class: 'map-note' });
    map.append(legend, this.quality);
    this.samples = explorer.createSamples(samples, { name: 'explore', first: 'table' });
    this.charts = explorer.createCharts(charts);
  }

  function update(events) {
    const has = (...names) => names.some((name) => events.has(name));
    const { view, appearance } = explorer;
    if (has('view', 'appearance')) {
      drawControls.call(this);
      this.map.draw();
    } else if (has('filters')) this.map.drawDots();
    else if (has('hover', 'sample')) this.map.drawMarks();
    if (has('view', 'appearance', 'filters'))
      explorer.drawLegend(this.legend, view, appearance.color);
    if (has('view') && this.chartsOf !== view) {
      this.chartsOf = view;
      drawQuality(this.quality, view);
      this.charts.build();
    }
    if (has('view', 'filters', 'decisions')) this.charts.update();
    this.samples.update(events);
  }

  function drawControls() {
    const { view, appearance } = explorer;
    const options = explorer.columnOptions(view, (column) => column.kind !== 'text');
    this.controls.replaceChildren(
      explorer.select('Colour', options, appearance.color, (color) =>
        explorer.setAppearance({ color }),
      ),
      explorer.select('Size', [['', 'the same'], ...options], appearance.size ?? '', (size) =>
        explorer.setAppearance({ size: size || null }),
      ),
      this.overlay,
    );
  }

  function drawQuality(note, view) {
    const [flat] = view.map_quality?.trustworthiness ?? [];
    note.textContent = flat === undefined ? '' : `trustworthiness ${flat.toFixed(2)}`;
    note.title =
      'How well near samples on the map are near for the network, at most 1 (Venna and Kaski 2001)';
  }

  // The line between map and samples, that can be dragged.
  function splitter(left) {
    const line = h('div', {
      class: 'splitter',
      role: 'separator',
      tabindex: 0,
      'aria-orientation': 'horizontal',
      'aria-label': 'Height of the map',
      'aria-valuemin': 20,
      'aria-valuemax': 90,
    });
    function set(percent) {
      const share = Math.round(Math.max(20, Math.min(90, percent)));
      left.style.setProperty('--map-share', `${share}%`);
      line.setAttribute('aria-valuenow', String(share));
      explorer.saveState('split', share === 62 ? null : share);
    }
    line.addEventListener('pointerdown', (event) => {
      line.setPointerCapture(event.pointerId);
      event.preventDefault();
    });
    line.addEventListener('pointermove', (event) => {
      if (!line.hasPointerCapture(event.pointerId)) return;
      const box = left.getBoundingClientRect();
      set((100 * (event.clientY - box.top)) / box.height);
    });
    line.addEventListener('keydown', (event) => {
      const step = { ArrowUp: -3, ArrowDown: 3 }[event.key];
      if (!step) return;
      set(Number(line.getAttribute('aria-valuenow')) + step);
      event.preventDefault();
    });
    set(Number(explorer.readState('split') ?? 62));
    return line;
  }

  explorer.addPage({ id: 'explore', title: 'Explore', build, update });
})();
