'use strict';
/* global d3 */
// Means and quantiles of columns, without their missing values.

const Statistics = (() => {
  const ENOUGH = 8192; // values for a percentile

  /** Quantiles of the values, or of evenly spaced ones if there are more than enough.
   * @param {ArrayLike<number>} values @param {number[]} shares in [0, 1]
   * @returns {number[]} [0, 1] if no value is known */
  function percentiles(values, shares) {
    const step = Math.ceil(values.length / ENOUGH);
    const some = d3.range(0, values.length, step).map((i) => values[i]);
    const sorted = Float64Array.from(some.filter((value) => !Number.isNaN(value))).sort();
    return sorted.length ? quantiles(sorted, shares) : [0, 1];
  }

  /** Linear interpolation between ascending values.
   * @param {Float64Array | Float32Array} sorted @param {number[]} shares in [0, 1] */
  const quantiles = (sorted, shares) =>
    shares.map((share) => d3.quantileSorted(/** @type {any} */ (sorted), share) ?? NaN);

  /** @param {Column} column of numbers
   * @param {((row: number) => boolean) | null} [includes] which rows count; default: all
   * @returns {number | null} null without values */
  function mean({ cache, values }, includes = null) {
    if (!includes) return (cache.mean ??= d3.mean(values) ?? null);
    return d3.mean(values, (value, row) => (includes(row) ? Number(value) : NaN)) ?? null;
  }

  /** The known values of a number column in ascending order. @param {Column} column */
  function sorted(column) {
    column.cache.sorted ??= Float32Array.from(column.values).filter(Number.isFinite).sort();
    return /** @type {Float32Array} */ (column.cache.sorted);
  }

  /** The share of a column's values below one, ties counted half.
   * @param {Column} column @param {number} value */
  function rank(column, value) {
    const values = sorted(column);
    const known = Math.fround(value);
    return (d3.bisectLeft(values, known) + d3.bisectRight(values, known)) / 2 / values.length;
  }

  return { percentiles, quantiles, mean, sorted, rank };
})();
