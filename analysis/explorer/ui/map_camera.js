'use strict';
/* global d3, Dots, Geometry, Statistics */
// Where the dots of a map are on the screen.

class MapCamera {
  static PADDING = 28; // pixels around the dots
  static CROWD = 5000; // dots, from which on each counts for little
  static AT_ONCE = 250_000; // dots that are drawn at once; the others follow

  width = 0; // pixels
  height = 0;
  zoom = d3.zoomIdentity;
  /** @type {Turn} */
  turn = null;
  xs = new Float32Array(0); // pixels, by row
  ys = new Float32Array(0);
  /** @type {Int32Array} */
  order = new Int32Array(0); // rows as they are drawn
  /** @type {{ center: number[], scale: number } | null} of the map before zooming */
  #fitted = null;

  /** Fits the dots into the window again at the next `locate`. */
  reset() {
    this.#fitted = null;
    this.order = new Int32Array(0);
  }

  /** @param {number} width @param {number} height */
  resize(width, height) {
    Object.assign(this, { width, height });
    this.#fitted = null;
  }

  /** Fits all dots into the window; on the 3-D map, however it is turned. @param {View} view */
  #fit(view) {
    const { points, size } = Geometry.coordinates(view, this.turn);
    const ends = d3.range(size).map((axis) => Statistics.ends(points, axis, size));
    const center = ends.map(([low, high]) => (low + high) / 2);
    const space = [this.width, this.height].map((pixels) => pixels - 2 * MapCamera.PADDING);
    if (!this.turn) {
      const scales = space.map((pixels, axis) => pixels / (ends[axis][1] - ends[axis][0] || 1));
      return { center, scale: Math.min(...scales) };
    }
    let farthest = 0;
    for (let i = 0; i < points.length; i += 3) {
      const [x, y, z] = [points[i] - center[0], points[i + 1] - center[1], points[i + 2] - center[2]];
      farthest = Math.max(farthest, Math.hypot(x, y, z));
    }
    return { center, scale: Math.min(...space) / 2 / (farthest || 1) };
  }

  /** Scale and shifts from what Geometry.projector gives to pixels. */
  toPixels() {
    const { center, scale: unzoomed } = this.#fitted ?? { center: [0, 0], scale: 1 };
    const scale = unzoomed * this.zoom.k;
    const [x, y] = Geometry.projector(this.turn)(center[0], center[1], center[2]);
    return {
      scale,
      x: this.zoom.applyX(this.width / 2) - x * scale,
      y: this.zoom.applyY(this.height / 2) + y * scale,
    };
  }

  /** Finds the pixels of all rows, and the order to draw them in. @param {View} view */
  locate(view) {
    this.#fitted ??= this.#fit(view);
    if (this.xs.length !== view.n) {
      [this.xs, this.ys] = [new Float32Array(view.n), new Float32Array(view.n)];
    }
    const { xs, ys, turn } = this;
    const { scale, x, y } = this.toPixels();
    const { points, size } = Geometry.coordinates(view, turn);
    const [right, up, near] = Geometry.axes(turn);
    const depth = turn && new Float32Array(view.n);
    for (let row = 0; row < view.n; row++) {
      const at = size * row;
      const [a, b, c] = [points[at], points[at + 1], turn ? points[at + 2] : 0];
      xs[row] = x + (right[0] * a + right[1] * b + right[2] * c) * scale;
      ys[row] = y - (up[0] * a + up[1] * b + up[2] * c) * scale;
      if (depth) depth[row] = near[0] * a + near[1] * b + near[2] * c;
    }
    if (depth) this.order = Dots.rowsByDepth(depth);
    else if (this.order.length !== view.n) {
      this.order = Dots.shuffledRows(view.n, view.n > MapCamera.CROWD ? 16 : 1);
    }
  }

  /** The radius of a dot in pixels. @param {View} view */
  radius(view) {
    const crowd = Math.min(5, Math.max(1, 14 * view.n ** -0.2));
    const window = Math.sqrt(Math.min(this.width, this.height) / 600);
    return crowd * window * Math.min(3, this.zoom.k ** 0.35);
  }

  /** The row of the dot nearest to a point; null if none is within reach.
   * @param {View} view @param {Point} point in pixels @param {Uint16Array | null} mask */
  nearest(view, [x, y], mask) {
    const { xs, ys } = this;
    /** @type {number | null} */
    let best = null;
    let least = Math.max(9, this.radius(view) + 4) ** 2;
    for (let row = 0; row < xs.length; row++) {
      const [dx, dy] = [xs[row] - x, ys[row] - y];
      const distance = dx * dx + dy * dy;
      if (distance < least && !(mask && mask[row])) [best, least] = [row, distance];
    }
    return best;
  }

  /** A polygon of pixels in map units. @param {Point[]} path @returns {Point[]} */
  toMap(path) {
    const { scale, x, y } = this.toPixels();
    const short = (/** @type {number} */ value) => Number(value.toPrecision(6));
    return path.map(([px, py]) => [short((px - x) / scale), short((y - py) / scale)]);
  }

  /** The polygon of a filter in pixels; null if it was drawn on a map that is turned otherwise.
   * @param {Filter | null} filter @returns {Point[] | null} */
  outline(filter) {
    if (!filter || String(filter.turn ?? '') !== String(this.turn ?? '')) return null;
    const { scale, x, y } = this.toPixels();
    return (filter.points ?? []).map(([a, b]) => [x + a * scale, y - b * scale]);
  }

  /** Where a point of the map is seen, in pixels. @param {number[]} point x, y (and z in 3-D)
   * @returns {Point} */
  see([a, b, c]) {
    const { scale, x, y } = this.toPixels();
    const [right, up] = Geometry.projector(this.turn)(a, b, c);
    return [x + right * scale, y - up * scale];
  }

  /** Turns the 3-D map by angles in radians.
   * @param {number} yaw @param {number} pitch @param {Turn} [from] */
  rotate(yaw, pitch, from = this.turn) {
    if (from) this.turn = [from[0] + yaw, Math.max(-1.57, Math.min(1.57, from[1] + pitch))];
  }
}
