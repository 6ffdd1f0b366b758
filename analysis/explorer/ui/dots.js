'use strict';
/* global d3, Colors */
// Dots blended into an array of pixels: without a graphics card, tens of thousands of dots take a
// tenth of the time of a canvas.

const Dots = (() => {
  /** Lays a disc over an image for each row.
   * @param {ImageData} image @param {object} options
   * @param {Float32Array} options.xs in CSS pixels, by row @param {Float32Array} options.ys
   * @param {Int32Array} options.order rows, the last on top
   * @param {number} options.density image pixels per CSS pixel
   * @param {number} options.radius in CSS pixels
   * @param {Pick<Scale, 'colors' | 'code'>} options.scale
   * @param {((row: number) => number) | null} [options.sizes] see Colors.sizes; null: all the same
   * @param {Uint32Array | null} [options.mask] 0 for the rows to draw; null: all
   * @param {string | null} [options.halo] color of a thin ring around each dot
   * @param {number} [options.opacity] */
  function blend(image, options) {
    const { xs, ys, order, density, radius, scale } = options;
    const { sizes = null, mask = null, halo = null, opacity = 1 } = options;
    const pixels = new Uint32Array(image.data.buffer);
    const steps = Colors.SIZES - 1;
    const factors = sizes ? d3.range(steps + 1).map((i) => 0.6 + (1.9 * i) / steps) : [1];
    const radii = factors.map((factor) => factor * radius * density);
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
  }

  /** A color as a pixel of ImageData on a little-endian machine. @param {string} color */
  function pixelOf(color) {
    const { r, g, b } = d3.rgb(color);
    return (255 << 24) | (b << 16) | (g << 8) | r;
  }

  /**
   * Coverage of the pixels under a disc, 0 to 256, in a square with 2 reach + 1 pixels a side.
   * @typedef {{ reach: number, cover: Int32Array }} Disc
   * @param {number} r
   * @param {number} opacity
   * @returns {Disc}
   */
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

  /** @param {Uint32Array} pixels @param {ImageData} image @param {Disc} disc @param {number} x
   * @param {number} y @param {number} color */
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

  /** 0 … n - 1, always in the same random order, so that no group hides the others.
   * @param {number} n */
  const shuffledRows = (n) =>
    d3.shuffler(d3.randomLcg(0.5))(Int32Array.from({ length: n }, (_, row) => row));

  /** Rows from the farthest to the nearest, in 256 layers. @param {Float32Array} depth */
  function rowsByDepth(depth) {
    const [low, high] = d3.extent(depth).map(Number);
    const layers = Uint8Array.from(depth, (value) => (255 * (value - low)) / (high - low || 1));
    const starts = new Int32Array(257);
    for (const layer of layers) starts[layer + 1]++;
    for (let layer = 0; layer < 256; layer++) starts[layer + 1] += starts[layer];
    const rows = new Int32Array(depth.length);
    for (let row = 0; row < rows.length; row++) rows[starts[layers[row]]++] = row;
    return rows;
  }

  return Object.freeze({ blend, pixelOf, shuffledRows, rowsByDepth });
})();
