'use strict';
// Colours of a column: eight that are told apart without full colour vision (Okabe and Ito 2008)
// for categories, the rest is "other"; viridis for numbers, without the end that the background
// hides.

(function () {
  const explorer = window.explorer;
  const SHOWN = 8;

  const palettes = {
    light: ['#0072b2', '#e69f00', '#009e73', '#d55e00', '#cc79a7', '#56b4e9', '#8c6d1f', '#3b3b4f'],
    dark: ['#4aa3df', '#f0b429', '#1fbf92', '#f07f3c', '#e39bc3', '#8fd0f5', '#c5a550', '#d8d8e6'],
  };
  const others = { light: '#a9b0ba', dark: '#6b7380' };

  // {categories: eight colours, other} of the present theme.
  explorer.palette = function () {
    const theme = explorer.isDark() ? 'dark' : 'light';
    return { categories: palettes[theme], other: others[theme] };
  };

  // From 0 (least) to 1 (most).
  explorer.rampColor = function (share) {
    const t = Math.min(1, Math.max(0, share));
    return d3.interpolateViridis(explorer.isDark() ? 0.15 + 0.85 * t : 0.94 * t);
  };

  // How a column is coloured: {kind, colors, code(row), …}. code indexes colors; the last colour is
  // that of other and missing values.
  //   categories: values [{value, label, code, count}], most frequent first
  //   numbers: low, high (2nd and 98th percentile; what lies beyond has the colour of the end)
  explorer.colorScale = function (view, name) {
    const column = view.column(name);
    return column.kind === 'number' ? numberScale(view, column) : categoryScale(view, column);
  };

  function categoryScale(view, column) {
    const { categories, other } = explorer.palette();
    const { codes, values } = explorer.binsOf(view, column.name);
    const coded = values.map((entry, rank) => ({
      ...entry,
      code: rank < SHOWN && entry.value !== null ? rank : SHOWN,
    }));
    const byBin = coded.map((entry) => entry.code);
    return {
      kind: 'category',
      colors: [...categories, other],
      code: (row) => byBin[codes[row]],
      values: coded,
    };
  }

  const STEPS = 64;

  function numberScale(view, column) {
    column.cache.domain ??= percentiles(column.values, [0.02, 0.98]);
    const [low, high] = column.cache.domain;
    const values = column.values;
    const factor = (STEPS - 1) / (high - low || 1);
    return {
      kind: 'number',
      colors: [
        ...d3.range(STEPS).map((i) => explorer.rampColor(i / (STEPS - 1))),
        explorer.palette().other,
      ],
      code(row) {
        const value = values[row];
        if (value !== value) return STEPS;
        return Math.max(0, Math.min(STEPS - 1, Math.round((value - low) * factor)));
      },
      low,
      high,
    };
  }

  const ENOUGH = 8192;

  // Quantiles of the values that are there, of evenly spaced ones where they are more than enough;
  // [0, 1] if there is none.
  function percentiles(values, shares) {
    const step = Math.ceil(values.length / ENOUGH);
    const some = [];
    for (let i = 0; i < values.length; i += step) if (values[i] === values[i]) some.push(values[i]);
    if (!some.length) return [0, 1];
    const sorted = Float64Array.from(some).sort();
    return shares.map((share) => d3.quantileSorted(sorted, share));
  }
  explorer.percentiles = percentiles;
})();
