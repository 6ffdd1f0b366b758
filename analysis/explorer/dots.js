'use strict';
// Dots blended into an array of pixels by hand: tens of thousands take a tenth of the time that a
// canvas needs for them without a graphics card.

(function () {
  const explorer = window.explorer;
  const SIZES = 8; // different dot sizes when a column gives them

  // Lays a disc over an ImageData for each row in `order`.
  //   xs, ys, radius  in CSS pixels;   density  pixels of the image for one of them
  //   scale   {colors, code(row)}: see explorer.colorScale
  //   sizes   see explorer.sizeScale, or null: all the same
  //   mask    Uint32Array, 0 for the rows to draw, or null: all
  //   halo    colour of a thin ring around each, or null
  explorer.blendDots = function (image, options) {
    const { xs, ys, order, density, radius, scale } = options;
    const { sizes = null, mask = null, halo = null, opacity = 1 } = options;
    const pixels = new Uint32Array(image.data.buffer);
    const base = radius * density;
    const radii = sizes ? d3.range(SIZES).map((i) => base * (0.6 + (1.9 * i) / (SIZES - 1))) : [base];
    const discs = radii.map((r) => disc(r, opacity));
    const halos = halo === null ? null : radii.map((r) => disc(r + 0.8 * density, 1));
    const haloColor = halo === null ? 0 : pixelOf(halo);
    const colors = scale.colors.map(pixelOf);
    for (let i = 0; i < order.length; i++) {
      const row = order[i];
      if (mask && mask[row] !== 0) continue;
      const [x, y] = [Math.round(xs[row] * density), Math.round(ys[row] * density)];
      const step = sizes ? sizes(row) : 0;
      if (halos) blendDisc(pixels, image, halos[step], x, y, haloColor);
      blendDisc(pixels, image, discs[step], x, y, colors[scale.code(row)]);
    }
  };

  // A colour as a pixel of ImageData on a little-endian machine.
  function pixelOf(color) {
    const { r, g, b } = d3.rgb(color);
    return (255 << 24) | (b << 16) | (g << 8) | r;
  }

  // Coverage of the pixels under a disc, 0 to 256: {reach, cover}, cover square with 2 reach + 1.
  function disc(r, opacity) {
    const reach = Math.ceil(r + 0.5);
    const cover = [];
    for (let y = -reach; y <= reach; y++) {
      for (let x = -reach; x <= reach; x++) {
        const share = Math.max(0, Math.min(1, r + 0.5 - Math.hypot(x, y)));
        cover.push(Math.round(256 * opacity * share));
      }
    }
    return { reach, cover: Int32Array.from(cover) };
  }

  function blendDisc(pixels, { width, height }, { reach, cover }, x, y, color) {
    const [left, right] = [Math.max(0, x - reach), Math.min(width - 1, x + reach)];
    const [top, bottom] = [Math.max(0, y - reach), Math.min(height - 1, y + reach)];
    const redBlue = color & 0xff00ff;
    const green = color & 0xff00;
    for (let py = top; py <= bottom; py++) {
      let k = (py - y + reach) * (2 * reach + 1) + left - x + reach;
      for (let i = py * width + left; i <= py * width + right; i++) {
        const a = cover[k++];
        if (a === 0) continue;
        const below = pixels[i];
        const b = 256 - a;
        pixels[i] =
          0xff000000 |
          (((Math.imul(redBlue, a) + Math.imul(below & 0xff00ff, b)) >>> 8) & 0xff00ff) |
          (((Math.imul(green, a) + Math.imul(below & 0xff00, b)) >>> 8) & 0xff00);
      }
    }
  }
  explorer.pixelOf = pixelOf;

  // 0 … n-1, the same disorder every time, so that no group hides the others.
  explorer.shuffledRows = function (n) {
    const rows = Int32Array.from({ length: n }, (_, row) => row);
    const random = d3.randomLcg(0.5);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [rows[i], rows[j]] = [rows[j], rows[i]];
    }
    return rows;
  };

  // Rows from the farthest to the nearest, by counting in 256 layers.
  explorer.rowsByDepth = function (depth) {
    const [low, high] = d3.extent(depth);
    const layers = Uint8Array.from(depth, (value) => (255 * (value - low)) / (high - low || 1));
    const starts = new Int32Array(257);
    for (const layer of layers) starts[layer + 1]++;
    for (let layer = 0; layer < 256; layer++) starts[layer + 1] += starts[layer];
    const rows = new Int32Array(depth.length);
    for (let row = 0; row < rows.length; row++) rows[starts[layers[row]]++] = row;
    return rows;
  };

  // A function of the row: step of dot size, areas growing with the value. Missing: smallest.
  explorer.sizeScale = function (view, name) {
    const column = view.column(name);
    if (column.kind !== 'number') {
      const { codes, values } = explorer.binsOf(view, name);
      const rank = d3.rank(values, ({ value }) => String(value));
      return (row) => Math.round(((SIZES - 1) * rank[codes[row]]) / Math.max(1, values.length - 1));
    }
    column.cache.sizeDomain ??= explorer.percentiles(column.values, [0, 0.98]);
    const [low, high] = column.cache.sizeDomain;
    const values = column.values;
    return (row) => {
      const share = (values[row] - low) / (high - low || 1);
      return share > 0 ? Math.round((SIZES - 1) * Math.sqrt(Math.min(1, share))) : 0;
    };
  };
})();
