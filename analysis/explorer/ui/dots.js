'use strict';
/* global d3, Colors */
// Dots blended into an array of pixels: without a graphics card, tens of thousands of dots take a
// tenth of the time of a canvas.

const Dots = (() => {
  const LEAST = 20; // of 256: less coverage is not seen, and corners are half of the smallest discs

  /** Lays a disc over an image for each row.
   * @param {ImageData} image @param {object} options
   * @param {Float32Array} options.xs in CSS pixels, by row @param {Float32Array} options.ys
   * @param {Int32Array} options.order rows, the last on top
   * @param {number} options.density image pixels per CSS pixel
   * @param {number} options.radius in CSS pixels
   * @param {string[]} options.colors
   * @param {Uint8Array | null} [options.codes] color by row; null: all have the first one
   * @param {Uint8Array | null} [options.sizes] see Colors.sizes; null: all the same
   * @param {Uint16Array | null} [options.mask] 0 for the rows to draw; null: all
   * @param {string | null} [options.halo] color of a thin ring around each dot
   * @param {number} [options.opacity] */
  function blend(image, options) {
    const { xs, ys, order, density, radius } = options;
    const { codes = null, sizes = null, mask = null, halo = null, opacity = 1 } = options;
    const pixels = new Uint32Array(image.data.buffer);
    const steps = Colors.SIZES - 1;
    const factors = sizes ? d3.range(steps + 1).map((i) => 0.6 + (1.9 * i) / steps) : [1];
    const radii = factors.map((factor) => factor * radius * density);
    const discs = radii.map((r) => disc(r, opacity, image.width));
    const halos = halo === null ? null : radii.map((r) => disc(r + 0.8 * density, 1, image.width));
    const haloColor = halo === null ? 0 : pixelOf(halo);
    const colors = options.colors.map(pixelOf);
    for (let i = 0; i < order.length; i++) {
      const row = order[i];
      if (mask && mask[row] !== 0) continue;
      const x = Math.round(xs[row] * density);
      const y = Math.round(ys[row] * density);
      const step = sizes ? sizes[row] : 0;
      if (halos) blendDisc(pixels, image, halos[step], x, y, haloColor);
      blendDisc(pixels, image, discs[step], x, y, colors[codes ? codes[row] : 0]);
    }
  }

  /** A color as a pixel of ImageData on a little-endian machine. @param {string} color */
  function pixelOf(color) {
    const { r, g, b } = d3.rgb(color);
    return (255 << 24) | (b << 16) | (g << 8) | r;
  }

  /**
   * Coverage of the pixels under a disc, 1 to 256, and where they are: beside, below and, in an image
   * of this width, after the middle.
   * @typedef {{ reach: number, cover: Int32Array, x: Int32Array, y: Int32Array,
   *   after: Int32Array }} Disc
   * @param {number} r
   * @param {number} opacity
   * @param {number} width
   * @returns {Disc}
   */
  function disc(r, opacity, width) {
    const reach = Math.ceil(r + 0.5);
    const side = d3.range(-reach, reach + 1);
    const covered = d3.cross(side, side, (y, x) => {
      const share = Math.max(0, Math.min(1, r + 0.5 - Math.hypot(x, y)));
      return [Math.round(256 * opacity * share), x, y, y * width + x];
    }).filter(([cover]) => cover > LEAST);
    const [cover, x, y, after] = [0, 1, 2, 3].map((i) => Int32Array.from(covered, (at) => at[i]));
    return { reach, cover, x, y, after };
  }

  /** @param {Uint32Array} pixels @param {ImageData} image @param {Disc} disc @param {number} x
   * @param {number} y @param {number} color */
  function blendDisc(pixels, { width, height }, { reach, cover, x: dx, y: dy, after }, x, y, color) {
    if (x < -reach || y < -reach || x >= width + reach || y >= height + reach) return;
    const isCut = x < reach || y < reach || x >= width - reach || y >= height - reach;
    const middle = y * width + x;
    const redBlue = color & 0xff00ff;
    const green = color & 0xff00;
    for (let k = 0; k < cover.length; k++) {
      if (isCut && isOutside(x + dx[k], y + dy[k], width, height)) continue;
      const i = middle + after[k];
      const a = cover[k];
      const below = pixels[i];
      const b = 256 - a;
      pixels[i] =
        0xff000000 |
        (((Math.imul(redBlue, a) + Math.imul(below & 0xff00ff, b)) >>> 8) & 0xff00ff) |
        (((Math.imul(green, a) + Math.imul(below & 0xff00, b)) >>> 8) & 0xff00);
    }
  }

  /** @param {number} x @param {number} y @param {number} width @param {number} height */
  const isOutside = (x, y, width, height) => x < 0 || y < 0 || x >= width || y >= height;

  /** 0 … n - 1, always in the same random order, so that no group hides the others. In a crowd, runs
   * of rows stay together: the processor reads neighboring rows several times as fast as others.
   * @param {number} n @param {number} run */
  function shuffledRows(n, run) {
    const runs = Int32Array.from(d3.range(Math.ceil(n / run)), (number) => number * run);
    const rows = new Int32Array(n);
    let count = 0;
    for (const first of d3.shuffler(d3.randomLcg(0.5))(runs)) {
      for (let row = first; row < Math.min(n, first + run); row++) rows[count++] = row;
    }
    return rows;
  }

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
