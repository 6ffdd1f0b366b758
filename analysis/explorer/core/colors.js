'use strict';
/* global d3, Bins, State, Statistics */
// Colors and sizes of dots. The colors themselves are in ui/palette.css: eight for categories,
// distinct for color-blind people (Okabe and Ito 2008), and one for all others and missing values.
// Numbers get viridis, without the end that is lost against the background.

const Colors = (() => {
  const SHOWN = 8; // categories with a color of their own
  const STEPS = 64; // colors of numbers
  const SIZES = 8; // sizes of dots
  /** @type {Map<string, string>} */
  const known = new Map();

  /** A variable of the style sheets in the present theme. @param {string} name */
  function css(name) {
    const root = document.documentElement;
    const key = `${root.dataset.theme} ${name}`;
    // Cached: reading a variable makes the browser compute all styles.
    if (!known.has(key)) {
      const text = getComputedStyle(root).getPropertyValue(name).trim();
      const [, light, dark] = /^light-dark\((.*), (.*)\)$/.exec(text) ?? [text, text, text];
      known.set(key, root.dataset.theme === 'dark' ? dark : light);
    }
    return known.get(key) ?? '';
  }

  /** @param {View} view @param {string} name @returns {Scale} */
  function scale(view, name) {
    const column = /** @type {Column} */ (view.column(name));
    return column.kind === 'number' ? numberScale(column) : categoryScale(view, name);
  }

  /** @param {View} view @param {string} name @returns {Scale} */
  function categoryScale(view, name) {
    const { cache } = /** @type {Column} */ (view.column(name));
    const { codes, values } = Bins.of(view, name);
    const coded = values.map((entry, rank) => ({
      ...entry,
      code: rank < SHOWN && entry.value !== null ? rank : SHOWN,
    }));
    const byBin = coded.map((entry) => entry.code);
    cache.colors ??= Uint8Array.from(codes, (bin) => byBin[bin]);
    const colors = d3.range(1, SHOWN + 1).map((k) => css(`--category-${k}`));
    return {
      colors: [...colors, css('--category-other')],
      codes: cache.colors,
      values: coded,
    };
  }

  /** @param {Column} column @returns {Scale} */
  function numberScale({ cache, values }) {
    const [low, high] = (cache.domain ??= Statistics.percentiles(values, [0.02, 0.98]));
    const factor = (STEPS - 1) / (high - low || 1);
    const [first, last] = State.isDark() ? [0.15, 1] : [0, 0.94];
    const ramp = d3.quantize((t) => d3.interpolateViridis(first + (last - first) * t), STEPS);
    cache.colors ??= codesOf(values, (value) => Math.round((value - low) * factor), STEPS - 1, STEPS);
    return { colors: [...ramp, css('--category-other')], codes: cache.colors, low, high };
  }

  /** A code from 0 to `most` for each value. @param {ArrayLike<number>} values
   * @param {(value: number) => number} code @param {number} most
   * @param {number} missing code of NaN */
  function codesOf(values, code, most, missing) {
    const codes = new Uint8Array(values.length);
    for (let row = 0; row < codes.length; row++) {
      const value = values[row];
      codes[row] = value === value ? Math.max(0, Math.min(most, code(value))) : missing;
    }
    return codes;
  }

  /** The size of each row, 0 to SIZES - 1; areas grow with the value, missing values are smallest.
   * @param {View} view @param {string} name @returns {Uint8Array} */
  function sizes(view, name) {
    const { kind, cache, values } = /** @type {Column} */ (view.column(name));
    if (kind !== 'number') {
      const bins = Bins.of(view, name);
      const names = bins.values.map(({ value }) => String(value));
      const rank = d3.rank(/** @type {any} */ (names));
      const most = Math.max(1, bins.size - 1);
      const bySize = Array.from(rank, (place) => Math.round(((SIZES - 1) * place) / most));
      return (cache.sizes ??= Uint8Array.from(bins.codes, (bin) => bySize[bin]));
    }
    const [low, high] = Statistics.percentiles(values, [0, 0.98]);
    const share = (/** @type {number} */ value) => (value - low) / (high - low || 1);
    const size = (/** @type {number} */ value) =>
      share(value) > 0 ? Math.round((SIZES - 1) * Math.sqrt(Math.min(1, share(value)))) : 0;
    return (cache.sizes ??= codesOf(values, size, SIZES - 1, 0));
  }

  return { SIZES, css, scale, sizes };
})();
