'use strict';
/* global Data, Dom, Format, State, Thumbnail */
// A large picture of a sample with a layer over it: masks, errors, loss, probabilities, saliency.

const Picture = (() => {
  const { h } = Dom;
  const LABELS = { truth: 'ground truth', prediction: 'prediction', error: 'errors', loss: 'loss' };

  /** @param {View} view @param {number} row */
  const detailsOf = ({ pictures }, row) => pictures?.details[row] ?? null;

  /** @param {View} view @param {number} row */
  function layersOf(view, row) {
    const details = detailsOf(view, row);
    /** @type {Layer[]} */
    const layers = [{ id: 'none', label: 'image', path: null }];
    for (const [id, label] of Object.entries(LABELS)) {
      const path = details?.[/** @type {keyof typeof LABELS} */ (id)] ?? null;
      if (path || (!details && view.pictures?.sheets[0]?.[id])) layers.push({ id, label, path });
    }
    for (const [name, path] of Object.entries(details?.classes ?? {})) {
      layers.push({ id: `classes: ${name}`, label: `probability: ${name}`, path });
    }
    for (const [name, path] of Object.entries(details?.saliency ?? {})) {
      layers.push({ id: `saliency: ${name}`, label: `saliency: ${name}`, path });
    }
    return layers;
  }

  /** The picture, as wide as its place.
   * @param {View} view @param {number} row @param {Layer} layer
   * @param {{ opacity?: number, regions?: Region[] }} [options] regions to outline */
  function make(view, row, layer, { opacity = 1, regions = [] } = {}) {
    const details = detailsOf(view, row);
    const ratio = view.column('aspect_ratio')?.values[row];
    const image = (/** @type {string} */ path, /** @type {string} */ name, style = {}) =>
      h(`img.${name}`, { src: Data.picture(view, path), alt: '', draggable: 'false', style });
    return h('div.stage', {
      role: 'img',
      'aria-label': `${view.format('file_name', row)}: ${layer.label}`,
      style: ratio > 0 ? { '--ratio': ratio } : {},
    }, [
      details && image(details.image, 'base'),
      details && layer.path && image(layer.path, 'layer', { opacity }),
      !details && view.pictures && enlarged(view, row, layer.id, opacity),
      regions.map((region) => image(region.mask, 'outline')),
    ]);
  }

  /** The thumbnail and an overlay, as large as their place.
   * @param {View} view @param {number} row @param {string} overlay @param {number} opacity */
  function enlarged(view, row, overlay, opacity) {
    const { sheet, column, line, columns, lines } = Thumbnail.tile(view, row);
    const along = (/** @type {number} */ at, /** @type {number} */ count) =>
      `${count > 1 ? (100 * at) / (count - 1) : 0}%`;
    const layer = (/** @type {string} */ name, /** @type {string} */ kind, strength = 1) =>
      sheet[kind] &&
      h(`div.${name}`, {
        style: {
          'background-image': `url("${Data.picture(view, sheet[kind])}")`,
          'background-size': `${100 * columns}% ${100 * lines}%`,
          'background-position': `${along(column, columns)} ${along(line, lines)}`,
          opacity: strength,
        },
      });
    return [layer('base', 'image'), layer('layer', overlay, opacity)];
  }

  /** @param {string} color @param {string} label @param {string} [title] */
  const key = (color, label, title) =>
    h('span.key.inline-flex', { title }, h('span.swatch', { style: { background: color } }), label);

  /** What the colors of a layer mean. @param {View} view @param {Layer} layer */
  function legend(view, layer) {
    const { pictures } = view;
    /** @type {any[]} */
    let parts = [];
    if (layer.id === 'truth' || layer.id === 'prediction') {
      const colors = State.manifest.class_colors;
      parts = view.class_names.map((name, index) => index > 0 && key(colors[index], name));
    } else if (layer.id === 'error') {
      /** @type {Record<string, string>} */
      const meanings = {
        missed: 'labeled as a class, predicted as background',
        invented: 'labeled as background, predicted as a class',
        confused: 'labeled as one class, predicted as another',
      };
      const colors = Object.entries(pictures?.error_colors ?? {});
      parts = colors.map(([name, color]) => key(color, name, meanings[name]));
    } else {
      const [kind] = layer.id.split(':');
      const scale = pictures?.scales?.[kind === 'classes' ? 'probability' : kind];
      if (scale) {
        const text = (/** @type {number | string} */ end) =>
          typeof end === 'number' ? Format.short(end) : end;
        const background = `linear-gradient(to right, ${scale.colors.join(', ')})`;
        parts = [
          text(scale.low),
          h('span.color-bar', { style: { background } }),
          `${text(scale.high)} ${scale.unit ?? ''}`,
        ];
      }
    }
    return h('div.layer-legend.line.muted', parts);
  }

  return Object.freeze({ layersOf, make, legend });
})();
