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
    const { codes, values } = Bins.of(view, name);
    const coded = values.map((entry, rank) => ({
      ...entry,
      code: rank < SHOWN && entry.value !== null ? rank : SHOWN,
    }));
    const byBin = coded.map((entry) => entry.code);
    const colors = d3.range(1, SHOWN + 1).map((k) => css(`--category-${k}`));
    return {
      colors: [...colors, css('--category-other')],
      code: (row) => byBin[codes[row]],
      values: coded,
    };
  }

  /** @param {Column} column @returns {Scale} */
  function numberScale({ cache, values }) {
    const [low, high] = (cache.domain ??= Statistics.percentiles(values, [0.02, 0.98]));
    const factor = (STEPS - 1) / (high - low || 1);
    const [first, last] = State.isDark() ? [0.15, 1] : [0, 0.94];
    const ramp = d3.quantize((t) => d3.interpolateViridis(first + (last - first) * t), STEPS);
    return {
      colors: [...ramp, css('--category-other')],
      code(row) {
        const value = values[row];
        if (value !== value) return STEPS;
        return Math.max(0, Math.min(STEPS - 1, Math.round((value - low) * factor)));
      },
      low,
      high,
    };
  }

  /** A function of the row: its size, 0 to SIZES - 1; areas grow with the value, missing values are
   * smallest.
   * @param {View} view @param {string} name @returns {(row: number) => number} */
  function sizes(view, name) {
    const { kind, cache, values } = /** @type {Column} */ (view.column(name));
    if (kind !== 'number') {
      const bins = Bins.of(view, name);
      const names = bins.values.map(({ value }) => String(value));
      const rank = d3.rank(/** @type {any} */ (names));
      const most = Math.max(1, bins.size - 1);
      return (row) => Math.round(((SIZES - 1) * rank[bins.codes[row]]) / most);
    }
    const [low, high] = (cache.sizes ??= Statistics.percentiles(values, [0, 0.98]));
    return (row) => {
      const share = (values[row] - low) / (high - low || 1);
      return share > 0 ? Math.round((SIZES - 1) * Math.sqrt(Math.min(1, share))) : 0;
    };
  }

  return { SIZES, css, scale, sizes };
})();
