'use strict';
/* global Data, Dom, Events, State */
// Thumbnails: CSS cuts them out of sheets of many; masks are a layer of their own. A canvas cannot
// do that, because it must not read back images from file://.

const Thumbnail = (() => {
  const { h } = Dom;
  const OVERLAYS = {
    none: 'Image only',
    truth: 'Ground truth',
    prediction: 'Prediction',
    error: 'Errors',
  };

  /** @typedef {{ size?: number, overlay?: string, opacity?: number, view?: View }} Options */

  /** An empty frame; fill shows a row in it. */
  const frame = () => h('span.thumbnail', { role: 'img' });

  /** A square with the thumbnail of a row, in the image's own shape; gray without pictures.
   * @param {number} row
   * @param {Options} [options] size in CSS pixels; overlay and opacity as chosen by default */
  function make(row, options = {}) {
    const box = frame();
    const { size = 96 } = options;
    box.style.width = box.style.height = `${size}px`;
    fill(box, row, { ...options, size });
    return box;
  }

  /** Shows another row in a frame.
   * @param {HTMLElement} box @param {number} row @param {Options} options */
  function fill(box, row, { size = 96, overlay, opacity, view = State.view }) {
    overlay ??= State.appearance.overlay;
    box.setAttribute('aria-label', view.format('file_name', row));
    if (!view.pictures) return;
    const { sheet, column, line, columns, lines } = tile(view, row);
    /** @type {[string, number][]} */
    const layers = [[sheet.image, 1]];
    if (sheet[overlay]) layers.push([sheet[overlay], opacity ?? State.appearance.opacity]);
    while (box.childElementCount > layers.length) box.lastElementChild?.remove();
    while (box.childElementCount < layers.length) box.append(h('i'));
    const aspect = view.column('aspect_ratio')?.values[row] || 1;
    const width = Math.round(size * Math.min(1, aspect));
    const height = Math.round(size * Math.min(1, 1 / aspect));
    layers.forEach(([path, strength], i) => {
      const { style } = /** @type {HTMLElement} */ (box.children[i]);
      style.width = `${width}px`;
      style.height = `${height}px`;
      style.backgroundImage = `url("${Data.picture(view, path)}")`;
      style.backgroundSize = `${columns * width}px ${lines * height}px`;
      style.backgroundPosition = `${-column * width}px ${-line * height}px`;
      style.opacity = String(strength);
    });
  }

  /** The place of a thumbnail in its sheet. @param {View} view with pictures @param {number} row */
  function tile(view, row) {
    const { columns, per_sheet: perSheet, sheets } = /** @type {Pictures} */ (view.pictures);
    const number = Math.floor(row / perSheet);
    const place = row % perSheet;
    const lines = Math.ceil(Math.min(perSheet, view.n - number * perSheet) / columns);
    const line = Math.floor(place / columns);
    return { sheet: sheets[number], column: place % columns, line, columns, lines };
  }

  /** A button with a picture of a sample, which opens it.
   * @param {View} view @param {number} row @param {Node} picture @param {...any} more children */
  function button(view, row, picture, ...more) {
    const title = view.format('file_name', row);
    const onclick = (/** @type {Event} */ event) => {
      event.stopPropagation(); // a table row around it has another action
      State.openSample(row);
    };
    return h('button.thumb', { title, 'aria-label': `Open ${title}`, onclick }, picture, more);
  }

  /** A choice of the overlay of all thumbnails and its opacity; empty without pictures. */
  function overlayControl() {
    const box = h('span.overlay-control.inline-flex');
    const fade = (/** @type {number} */ value) => State.setAppearance({ opacity: value });
    const slider = Dom.slider('Overlay opacity', { min: 0.1, max: 1, step: 0.05 }, fade);
    const choose = (/** @type {string} */ key) => State.setAppearance({ overlay: key });
    function draw() {
      const { overlay, opacity } = State.appearance;
      const sheet = State.view.pictures?.sheets[0];
      const there = Object.entries(OVERLAYS).filter(([key]) => key === 'none' || sheet?.[key]);
      slider.value = String(opacity);
      Dom.replace(
        box,
        sheet && Dom.select('Overlay', there, overlay, choose),
        sheet && overlay !== 'none' && slider,
      );
    }
    Events.on('view appearance', draw);
    draw();
    return box;
  }

  return Object.freeze({ frame, make, fill, tile, button, overlayControl });
})();
