'use strict';
// Values in bins, once per column, and what of the samples that pass is in each bin.

(function () {
  const explorer = window.explorer;
  const WANTED = 20; // bins of a number

  // How a column is binned: {codes, size, …}; codes[row] is the row's bin.
  //   categories and booleans: values [{value, label, count}], most frequent first, missing last
  //   numbers: edges (size + 1 numbers), low, high (least and greatest value), whole; missing values
  //     have the code `size`. Whole numbers of a short range have a bin each. Where few values lie
  //     far out, the last bin takes all from its lower edge on (open).
  explorer.binsOf = function (view, name) {
    const column = view.column(name);
    column.cache.bins ??= column.kind === 'number' ? numberBins(column) : categoryBins(view, column);
    return column.cache.bins;
  };

  function categoryBins(view, column) {
    const names =
      column.kind === 'boolean' ? [false, true] : column.categories;
    const raw = Uint16Array.from(column.values, (code) => Math.min(code, names.length));
    const counts = new Int32Array(names.length + 1);
    for (const code of raw) counts[code]++;
    const codesInOrder = d3
      .range(names.length + 1)
      .filter((code) => counts[code] > 0)
      .sort((a, b) => (a === names.length) - (b === names.length) || counts[b] - counts[a]);
    const rank = new Uint16Array(names.length + 1);
    codesInOrder.forEach((code, i) => (rank[code] = i));
    return {
      codes: raw.map((code) => rank[code]),
      size: codesInOrder.length,
      values: codesInOrder.map((code) => {
        const value = names[code] ?? null;
        const label = value === null ? 'none' : explorer.format(column, value);
        return { value, label, count: counts[code] };
      }),
    };
  }

  function numberBins(column) {
    const { values } = column;
    let [low, high, whole] = [Infinity, -Infinity, true];
    for (let row = 0; row < values.length; row++) {
      const value = values[row];
      if (value < low) low = value;
      if (value > high) high = value;
      if (value === value && value !== Math.floor(value)) whole = false;
    }
    if (low > high) low = high = 0;
    const [, most] = explorer.percentiles(values, [0, 0.99]);
    const open = high - low > 3 * (most - low) && most > low;
    const top = open ? most : high;
    let edges;
    if (whole) {
      const step = Math.ceil((top - low + 1) / WANTED) || 1;
      edges = d3.range(low - 0.5, top + 0.5 + step - 1e-9, step);
    } else if (top > low) {
      const step = d3.tickStep(low, top, WANTED);
      const first = Math.floor(low / step);
      edges = d3.range(first, Math.ceil(top / step - 1e-9) + 1).map((i) => i * step);
    } else edges = [low - 0.5, low + 0.5];
    const size = edges.length - 1;
    const factor = size / (edges[size] - edges[0]);
    const codes = new Uint8Array(values.length);
    for (let row = 0; row < values.length; row++) {
      const bin = Math.floor((values[row] - edges[0]) * factor);
      codes[row] = bin >= size ? size - 1 : bin >= 0 ? bin : values[row] < edges[0] ? 0 : size;
    }
    return { codes, size, edges, low, high, whole, open };
  }

  // Per bin of a column, of the rows that pass all filters but the column's own: counts, and of a
  // metric the sums, sums of squares and numbers of values (Float64Arrays; the last is of missing
  // values if the column is a number). With `all`, of all rows.
  explorer.summarise = function (view, name, metric = null, all = false) {
    const { codes, size } = explorer.binsOf(view, name);
    const [counts, sums, squares, known] = [0, 0, 0, 0].map(() => new Float64Array(size + 1));
    const others = all ? 0 : ~explorer.filterBit(name);
    const { mask } = explorer;
    const values = metric && view.values(metric);
    for (let row = 0; row < codes.length; row++) {
      if (mask[row] & others) continue;
      const bin = codes[row];
      counts[bin]++;
      if (!values) continue;
      const value = values[row];
      if (value !== value) continue;
      sums[bin] += value;
      squares[bin] += value * value;
      known[bin]++;
    }
    return { counts, sums, squares, known };
  };

  // Share of a metric's variance that a column's bins explain, in [0, 1], less what chance would
  // (ε², Kelley 1935); 0 if there is nothing to explain.
  explorer.explained = function (view, name, metric) {
    const { sums, squares, known } = explorer.summarise(view, name, metric, true);
    const n = d3.sum(known);
    const groups = known.filter((count) => count > 0).length;
    const total = d3.sum(squares) - d3.sum(sums) ** 2 / n;
    if (n <= groups || !(total > 0)) return 0;
    const within = d3.sum(squares, (square, bin) => (known[bin] ? square - sums[bin] ** 2 / known[bin] : 0));
    return Math.max(0, 1 - (within / (n - groups)) / (total / (n - 1)));
  };
})();
