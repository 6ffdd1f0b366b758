'use strict';
// The samples that are nearest to a new image in embedding space, and where it would be on a map.

const Neighbors = (() => {
  /** The nearest of some points. @param {Decoded} points of all samples, `[n, d]`
   * @param {Float32Array} embedding of the image, `[d]` @param {number} count @returns {Near} */
  function find(points, embedding, count) {
    const [n, d] = points.shape;
    const all = Float64Array.from({ length: n }, (_, row) => {
      let sum = 0;
      for (let k = 0; k < d; k++) sum += (points[row * d + k] - embedding[k]) ** 2;
      return Math.sqrt(sum);
    });
    const order = Array.from(all.keys()).sort((a, b) => all[a] - all[b] || a - b);
    const rows = order.slice(0, count);
    return { rows, distances: rows.map((row) => all[row]) };
  }

  /** The mean of the samples' places, weighted by 1 / distance²: maps of this kind (t-SNE) have no
   * formula that would place a new image.
   * @param {Decoded} places of all samples, `[n, 2 or 3]` @param {Near} near */
  function place(places, { rows, distances }) {
    const size = places.shape[1];
    const weights = distances.map((distance) => 1 / (distance ** 2 + 1e-6));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const sumOf = (/** @type {number} */ axis) =>
      rows.reduce((sum, row, i) => sum + weights[i] * places[row * size + axis], 0);
    return Array.from({ length: size }, (_, axis) => sumOf(axis) / total);
  }

  return { find, place };
})();
