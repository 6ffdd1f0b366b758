'use strict';
/* global d3 */
// Numbers and values as text; – if they are missing.

const Format = (() => {
  const [three, two, one, none] = ['.3f', '.2f', '.1f', ',.0f'].map((text) => d3.format(text));

  /** With a comma between thousands. */
  const count = d3.format(',d');

  /** In few digits: three decimals below 1, none from 100 on.
   * @param {number | null | undefined} value */
  function short(value) {
    if (!Number.isFinite(value)) return '–';
    const number = Number(value);
    const size = Math.abs(number);
    if (size === 0) return '0';
    if (size < 0.001) return number.toExponential(1);
    return (size < 1 ? three : size < 10 ? two : size < 100 ? one : none)(number);
  }

  /** @param {number | null} value a difference, which gets its sign */
  const signed = (value) =>
    value === null ? '–' : (value > 0 ? '+' : value < 0 ? '−' : '') + short(Math.abs(value));

  /** @param {number | null | undefined} value a share; with a decimal below 10 % */
  function percent(value) {
    if (value === null || value === undefined) return '–';
    return `${(Math.abs(value) < 0.0995 ? one : none)(100 * value)} %`;
  }

  /** @param {number | null | undefined} value a p-value or q-value */
  function probability(value) {
    if (value === null || value === undefined) return '–';
    return value < 0.001 ? '< 0.001' : value.toFixed(3);
  }

  /** @param {Interval | null} ends @param {(value: number) => string} [format] */
  const interval = (ends, format = short) =>
    ends ? `[${format(ends[0])}, ${format(ends[1])}]` : '';

  /** @param {number} low @param {number} high @param {(value: number) => string} [format] */
  const range = (low, high, format = short) =>
    low === high ? format(low) : `${format(low)} – ${format(high)}`;

  /** @param {Column} column of numbers @returns {boolean} */
  const isWhole = ({ cache, values }) => (cache.whole ??= areWhole(values));

  /** @param {ArrayLike<number>} values */
  function areWhole(values) {
    for (let row = 0; row < values.length; row++) {
      const value = values[row];
      if (value === value && !Number.isInteger(value)) return false;
    }
    return true;
  }

  /** @param {Column} column @param {Value | undefined} value of it, as View.value gives it */
  function value(column, value) {
    if (value === null || value === undefined) return '–';
    if (column.kind === 'boolean') return value ? 'yes' : 'no';
    if (column.kind !== 'number' || column.role === 'id') return String(value);
    // The mean of whole numbers need not be one.
    const isCount = isWhole(column) && Number.isInteger(value);
    return isCount ? count(Number(value)) : short(Number(value));
  }

  /** @param {string} name of a column */
  function label(name) {
    if (name === 'mean_iou_foreground') return 'mean IoU';
    return name
      .replaceAll('_', ' ')
      .replace(/\biou\b/g, 'IoU')
      .replace(/^num\b/, 'number of');
  }

  return {
    count, short, signed, percent, probability, interval, range, isWhole, value, label,
  };
})();
