'use strict';
// Thumbnails, cut by CSS out of sheets of many; masks lie over them in layers of their own. (A
// canvas could not: what it draws from files it may not read back.)

(function () {
  const explorer = window.explorer;
  const { h } = explorer;

  const overlays = {
    none: 'Image only',
    truth: 'Ground truth',
    prediction: 'Prediction',
    error: 'Errors',
  };

  // A square element with the thumbnail of a row, in the photograph's own shape. size in pixels
  // (CSS); overlay and opacity are those chosen for everything unless given. Grey without pictures.
  explorer.thumbnail = function (row, { size = 96, overlay, opacity, view = explorer.view } = {}) {
    const box = h('span', { class: 'thumbnail', role: 'img' });
    box.style.width = box.style.height = `${size}px`;
    explorer.fillThumbnail(box, row, { size, overlay, opacity, view });
    return box;
  };

  // Shows another row in an element that explorer.thumbnail made.
  explorer.fillThumbnail = function (box, row, options) {
    const { size, view = explorer.view } = options;
    const overlay = options.overlay ?? explorer.appearance.overlay;
    const opacity = options.opacity ?? explorer.appearance.opacity;
    box.setAttribute('aria-label', view.format('file_name', row));
    const { pictures } = view;
    if (!pictures) return;
    const { columns, per_sheet: perSheet } = pictures;
    const number = Math.floor(row / perSheet);
    const place = row % perSheet;
    const sheet = pictures.sheets[number];
    const layers = [[sheet.image, 1]];
    if (overlay !== 'none' && sheet[overlay]) layers.push([sheet[overlay], opacity]);
    while (box.childElementCount > layers.length) box.lastElementChild.remove();
    while (box.childElementCount < layers.length) box.append(h('i'));
    const aspect = view.column('aspect_ratio')?.values[row] || 1;
    const [width, height] = [size * Math.min(1, aspect), size * Math.min(1, 1 / aspect)].map(
      Math.round,
    );
    const lines = Math.ceil(Math.min(perSheet, view.n - number * perSheet) / columns);
    layers.forEach(([path, layerOpacity], i) => {
      const { style } = box.children[i];
      const [left, top] = [(place % columns) * width, Math.floor(place / columns) * height];
      style.width = `${width}px`;
      style.height = `${height}px`;
      style.backgroundImage = `url("${explorer.picture(view, path)}")`;
      style.backgroundSize = `${columns * width}px ${lines * height}px`;
      style.backgroundPosition = `${-left}px ${-top}px`;
      style.opacity = layerOpacity;
    });
  };

  // A choice of what lies over all thumbnails, and how strongly. Empty without pictures.
  explorer.overlayControl = function () {
    const box = h('span', { class: 'overlay-control' });
    function draw() {
      const { overlay, opacity } = explorer.appearance;
      const sheet = explorer.view.pictures?.sheets?.[0];
      const there = Object.entries(overlays).filter(([key]) => key === 'none' || sheet?.[key]);
      const strength = h('input', {
        type: 'range',
        min: 0.1,
        max: 1,
        step: 0.05,
        value: opacity,
        'aria-label': 'Opacity of the overlay',
        title: 'Opacity of the overlay',
        oninput: () => explorer.setAppearance({ opacity: Number(strength.value) }),
      });
      if (box.contains(document.activeElement) && document.activeElement.type === 'range') return;
      box.replaceChildren();
      if (!sheet) return;
      box.append(
        explorer.select('Overlay', there, overlay, (key) =>
          explorer.setAppearance({ overlay: key }),
        ),
        overlay === 'none' ? '' : strength,
      );
    }
    explorer.on('view', draw);
    explorer.on('appearance', draw);
    draw();
    return box;
  };
})();
