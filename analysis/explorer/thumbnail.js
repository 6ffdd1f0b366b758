'use strict';
// Thumbnails, cut by CSS out of sheets of many; masks lie over them in layers of their own. (A canvas
// could not: what it draws from files it may not read back.)

(function () {
  const explorer = window.explorer;

  explorer.overlays = {
    none: 'Image only',
    truth: 'Ground truth',
    prediction: 'Prediction',
    error: 'Errors',
  };

  // Overlays that a view has pictures for.
  explorer.overlaysOf = function (view) {
    const sheet = view.pictures?.sheets?.[0] ?? {};
    return Object.keys(explorer.overlays).filter((name) => name === 'none' || sheet[name]);
  };

  // A square element with the thumbnail of a row. size in pixels (CSS); overlay and opacity are
  // those chosen for everything unless given; a grey square where there are no pictures.
  explorer.thumbnail = function (row, { size = 96, overlay, opacity, view = explorer.view } = {}) {
    const box = explorer.h('span', { class: 'thumbnail', role: 'img' });
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
    const pictures = view.pictures;
    if (!pictures) return;
    const sheet = pictures.sheets[Math.floor(row / pictures.per_sheet)];
    const place = row % pictures.per_sheet;
    const shown = [[sheet.image, 1]];
    if (overlay !== 'none' && sheet[overlay]) shown.push([sheet[overlay], opacity]);
    while (box.childElementCount > shown.length) box.lastElementChild.remove();
    while (box.childElementCount < shown.length) box.append(explorer.h('i', {}));
    shown.forEach(([path, layerOpacity], i) => {
      const style = box.children[i].style;
      style.backgroundImage = `url("${explorer.picture(view, path)}")`;
      style.backgroundSize = `${pictures.columns * size}px auto`;
      style.backgroundPosition = `${-(place % pictures.columns) * size}px ${-Math.floor(place / pictures.columns) * size}px`;
      style.opacity = layerOpacity;
    });
  };
})();
