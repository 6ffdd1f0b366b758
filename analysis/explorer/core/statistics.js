'use strict';
/* global d3 */
// Means and quantiles of columns, without their missing values.

const Statistics = (() => {
  const ENOUGH = 8192; // values for a percentile or a small plot

  /** The known values in ascending order, or those of evenly spaced rows if there are more than
   * enough. @param {ArrayLike<number>} values */
  function some(values) {
    const step = Math.ceil(values.length / ENOUGH);
    const chosen = d3.range(0, values.length, step).map((i) => values[i]);
    return Float64Array.from(chosen.filter((value) => !Number.isNaN(value))).sort();
  }

  /** Quantiles of some of the values. @param {ArrayLike<number>} values
   * @param {number[]} shares in [0, 1] @returns {number[]} [0, 1] if no value is known */
  function percentiles(values, shares) {
    const sorted = some(values);
    return sorted.length ? quantiles(sorted, shares) : [0, 1];
  }

  /** The least and the greatest value; zeros without values. @param {ArrayLike<number>} values
   * @param {number} [first] only this one and every `step`-th after it @param {number} [step] */
  function ends(values, first = 0, step = 1) {
    let [low, high] = [Infinity, -Infinity];
    for (let i = first; i < values.length; i += step) {
      const value = values[i];
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return low <= high ? [low, high] : [0, 0];
  }

  /** Linear interpolation between ascending values.
   * @param {Float64Array | Float32Array} sorted @param {number[]} shares in [0, 1] */
  const quantiles = (sorted, shares) =>
    shares.map((share) => d3.quantileSorted(/** @type {any} */ (sorted), share) ?? NaN);

  /** @param {Column} column of numbers
   * @param {ArrayLike<number> | null} [rows] which rows count; default: all
   * @returns {number | null} null without values */
  function mean({ cache, values }, rows = null) {
    if (!rows && cache.mean !== undefined) return cache.mean;
    let [sum, known] = [0, 0];
    const n = rows ? rows.length : values.length;
    for (let i = 0; i < n; i++) {
      const value = values[rows ? rows[i] : i];
      if (value !== value) continue;
      sum += value;
      known++;
    }
    const result = known ? sum / known : null;
    if (!rows) cache.mean = result;
    return result;
  }

  /** Some values of a number column, see above; kept. @param {Column} column */
  const sample = ({ cache, values }) => /** @type {Float64Array} */ (
    cache.sample ??= some(values).filter(Number.isFinite)
  );

  /** The share of a column's values below one, ties counted half.
   * @param {Column} column @param {number} value */
  function rank({ values }, value) {
    let [below, equal, known] = [0, 0, 0];
    for (let row = 0; row < values.length; row++) {
      const other = values[row];
      if (!Number.isFinite(other)) continue;
      known++;
      if (other < value) below++;
      else if (other === value) equal++;
    }
    return (below + equal / 2) / known;
  }

  return { percentiles, quantiles, ends, mean, sample, rank };
})();
