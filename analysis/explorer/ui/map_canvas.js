'use strict';
/* global Colors, Dom, Dots, MapCamera, State */
// The pixels of a map. An image of all dots in gray is kept, and a filter blends only the dots that
// pass over it. Rings and outlines have a canvas of their own.

class MapCanvas {
  dots = Dom.h('canvas.fill', { 'aria-hidden': 'true' });
  marks = Dom.h('canvas.fill', { 'aria-hidden': 'true' });
  #density = 1;
  #image = new ImageData(1, 1);
  /** @type {Uint32Array | null} pixels with all dots in gray, until something moves */
  #ground = null;

  /** Returns whether the size has changed.
   * @param {number} width @param {number} height in CSS pixels */
  resize(width, height) {
    const [w, tall] = [width, height].map((side) => Math.round(side * devicePixelRatio));
    if (this.dots.width === w && this.dots.height === tall) return false;
    this.#density = devicePixelRatio;
    for (const canvas of [this.dots, this.marks]) Object.assign(canvas, { width: w, height: tall });
    this.#image = new ImageData(w, tall);
    return true;
  }

  /** Dots or their background have moved or changed. */
  forget() {
    this.#ground = null;
  }

  /** @param {View} view @param {MapCamera} camera
   * @param {Uint16Array | null} mask 0 for rows that pass
   * @param {number} most dots that are looked at, chosen at random */
  drawDots(view, camera, mask, most) {
    const { color, size } = State.appearance;
    const image = this.#image;
    const pixels = new Uint32Array(image.data.buffer);
    const surface = Colors.css('--surface');
    const crowded = view.n > MapCamera.CROWD; // translucent, and without halo
    const { xs, ys, order } = camera;
    const column = view.column(color);
    const scale = column
      ? Colors.scale(view, column.name)
      : { colors: [Colors.css('--category-other')], codes: null }; // the legend says it
    const dot = { xs, ys, order, density: this.#density, radius: camera.radius(view) };
    const all = !mask || MapCanvas.#isEmpty(mask);
    if (!all && this.#ground) pixels.set(this.#ground);
    else pixels.fill(Dots.pixelOf(surface));
    if (!all && !this.#ground) {
      Dots.blend(image, { ...dot, colors: [Colors.css('--dot-rejected')] });
      this.#ground = pixels.slice();
    }
    Dots.blend(image, {
      ...dot,
      order: order.subarray(0, most),
      ...scale,
      sizes: size && view.column(size) ? Colors.sizes(view, size) : null,
      mask: all ? null : mask,
      halo: crowded ? null : surface,
      opacity: crowded ? 0.75 : 0.92,
    });
    this.dots.getContext('2d')?.putImageData(image, 0, 0);
  }

  /** A loop, as this runs at each step of a brush. @param {Uint16Array} mask */
  static #isEmpty(mask) {
    for (let row = 0; row < mask.length; row++) if (mask[row] !== 0) return false;
    return true;
  }

  /** An outline; rings around the hovered sample, the open one, those similar to it and those near
   * to a new image; and a cross where that image would be.
   * @param {View} view @param {MapCamera} camera
   * @param {{ selected: number | null, hovered: number | null, outline: Point[] | null,
   *   near?: number[], cross?: Point | null }} marks in pixels */
  drawMarks(view, camera, { selected, hovered, outline, near = [], cross = null }) {
    const drawing = /** @type {CanvasRenderingContext2D} */ (this.marks.getContext('2d'));
    drawing.setTransform(this.#density, 0, 0, this.#density, 0, 0);
    drawing.clearRect(0, 0, camera.width, camera.height);
    const [accent, text] = [Colors.css('--accent'), Colors.css('--text')];
    const stroke = (/** @type {number} */ width, /** @type {string} */ color) => {
      drawing.lineWidth = width;
      drawing.strokeStyle = color;
      drawing.stroke();
    };
    const ring = (/** @type {number} */ row, /** @type {number} */ extra) => {
      const radius = camera.radius(view) + extra;
      drawing.beginPath();
      drawing.arc(camera.xs[row], camera.ys[row], radius, 0, 2 * Math.PI);
    };
    if (outline && outline.length > 1) {
      drawing.beginPath();
      for (const point of outline) drawing.lineTo(...point);
      drawing.closePath();
      drawing.fillStyle = Colors.css('--accent-faint');
      drawing.fill();
      stroke(1.5, accent);
    }
    if (selected !== null) {
      for (const row of view.similarTo(selected)?.rows ?? []) {
        ring(row, 2);
        stroke(1.25, text);
      }
      ring(selected, 4);
      stroke(2.5, accent);
    }
    for (const row of near) {
      ring(row, 2);
      stroke(1.5, text);
    }
    if (hovered !== null) {
      ring(hovered, 3);
      stroke(2, text);
    }
    if (cross) {
      const [x, y] = cross;
      drawing.beginPath();
      drawing.moveTo(x - 12, y);
      drawing.lineTo(x + 12, y);
      drawing.moveTo(x, y - 12);
      drawing.lineTo(x, y + 12);
      stroke(8, Colors.css('--surface'));
      stroke(3.5, text);
    }
  }
}
