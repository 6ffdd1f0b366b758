'use strict';
/* global d3, Bins, Dom, Geometry, Statistics */
// Names of clusters on a map, placed so that they cover neither each other nor the edge.

class MapNames {
  static MOST = 24;
  static SHIFTS = d3.cross([0, -0.6, 0.6, -1.1, 1.1, -1.7, 1.7], [0, -0.3, 0.3]); // down, aside

  /** @typedef {{ left: number, top: number, width: number, height: number }} Box */

  element = Dom.h('div.map-names');
  #onName;
  /** @type {Column | null} the column whose names are there */
  #column = null;
  /** @type {{ button: HTMLElement, flat: number[], solid: number[] | null }[]} with both centers */
  #labels = [];
  /** @type {Box[]} */
  #sizes = [];

  /** @param {(column: string, value: Value) => void} onName a name was clicked */
  constructor(onName) {
    this.#onName = onName;
  }

  /** @param {View} view @param {Column | null} column null: none @param {MapCamera} camera */
  draw(view, column, camera) {
    if (column !== this.#column) this.#make(view, column);
    const { scale, x, y } = camera.toPixels();
    const project = Geometry.projector(camera.turn);
    /** @type {Box[]} */
    const taken = [];
    this.#labels.forEach(({ button, flat, solid }, i) => {
      const [a, b, c] = (camera.turn && solid) || flat;
      const [px, py] = project(a, b, c);
      const spot = MapNames.#spot([x + px * scale, y - py * scale], this.#sizes[i], camera, taken);
      button.hidden = !spot;
      if (!spot) return;
      taken.push(spot);
      button.style.transform = `translate(${spot.left}px, ${spot.top}px)`;
    });
  }

  /** @param {View} view @param {Column | null} column */
  #make(view, column) {
    this.#column = column;
    const values = column ? Bins.of(view, column.name).values : [];
    this.#labels = values
      .filter(({ value }) => value !== null)
      .slice(0, MapNames.MOST)
      .map(({ value, label }, bin) => {
        const { name } = /** @type {Column} */ (column);
        const title = `Show only ${label}`;
        const onclick = () => this.#onName(name, value);
        const button = Dom.h('button.wrap', { tabindex: -1, title, onclick }, label);
        return { button, ...MapNames.#centers(view, name, bin) };
      });
    this.element.replaceChildren(...this.#labels.map(({ button }) => button));
    this.#sizes = this.#labels.map(({ button }) => {
      const { offsetWidth: width, offsetHeight: height } = button;
      return { left: 0, top: 0, width, height };
    });
  }

  /** Medians of a group's places on both maps, of evenly spaced rows if it is large.
   * @param {View} view @param {string} name @param {number} bin */
  static #centers(view, name, bin) {
    const { cache } = /** @type {Column} */ (view.column(name));
    cache.centers ??= new Map();
    if (!cache.centers.has(bin)) {
      const rows = Bins.members(view, name)[bin];
      const medians = (/** @type {Decoded} */ points, /** @type {number} */ size) =>
        d3.range(size).map((axis) => {
          const places = new Float32Array(rows.length);
          for (let i = 0; i < places.length; i++) places[i] = points[size * rows[i] + axis];
          return Statistics.percentiles(places, [0.5])[0];
        });
      cache.centers.set(bin, {
        flat: medians(/** @type {Decoded} */ (view.map_2d), 2),
        solid: view.map_3d ? medians(view.map_3d, 3) : null,
      });
    }
    return cache.centers.get(bin);
  }

  /** The nearest free place for a name; null if there is none.
   * @param {Point} point @param {Box} size @param {MapCamera} camera @param {Box[]} taken */
  static #spot([x, y], { width, height }, camera, taken) {
    if (x < 0 || y < 0 || x > camera.width || y > camera.height) return null;
    for (const [down, aside] of MapNames.SHIFTS) {
      const left = Math.max(4, Math.min(camera.width - width - 4, x + (aside - 0.5) * width));
      const top = y + (down - 0.5) * height;
      const free = taken.every(
        (other) =>
          left + width + 2 < other.left ||
          other.left + other.width + 2 < left ||
          top + height < other.top ||
          other.top + other.height < top,
      );
      if (free && top > 0 && top + height < camera.height) return { left, top, width, height };
    }
    return null;
  }
}
