'use strict';
// Data: pieces that arrive as scripts (no fetch, so that file:// works), typed arrays out of
// base64, and views, whose columns are decoded when they are first asked for.
//
// A piece is a script with one call explorer.provide(key, value). In a single file all pieces are
// inlined and already there when they are needed.
//
// A column is {name, label, role, kind, unit, description, categories, values}. Its values:
//   number    float32 or float64, NaN where missing
//   category  uint16 codes into categories, 65535 where missing
//   boolean   uint8: 0, 1, 255 where missing
//   text      list of strings

(function () {
  const pieces = new Map(); // key -> value
  const waiting = new Map(); // key -> {promise, resolve}
  const views = new Map(); // name -> promise of a view

  const arrays = {
    float32: Float32Array,
    float64: Float64Array,
    int32: Int32Array,
    uint32: Uint32Array,
    uint16: Uint16Array,
    uint8: Uint8Array,
  };

  const explorer = (window.explorer = { view: null, manifest: null });

  explorer.provide = function (key, value) {
    pieces.set(key, value);
    waiting.get(key)?.resolve(value);
  };

  // The value of a piece, loaded from `path` (relative to index.html) unless it is there.
  explorer.need = function (key, path) {
    if (pieces.has(key)) return Promise.resolve(pieces.get(key));
    if (waiting.has(key)) return waiting.get(key).promise;
    const wait = {};
    wait.promise = new Promise((resolve, reject) => {
      wait.resolve = resolve;
      const script = document.createElement('script');
      script.src = path;
      script.onerror = () => {
        waiting.delete(key);
        reject(new Error(`${path} is missing or cannot be read.`));
      };
      document.head.append(script);
    });
    waiting.set(key, wait);
    return wait.promise;
  };

  function bytesOf(base64) {
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  // A typed array (its shape is in `.shape`) of {dtype, shape, base64}, little endian. Whole
  // numbers with a number for missing values become float32 with NaN.
  explorer.decode = function ({ dtype, shape, base64, missing }) {
    let array = new arrays[dtype](bytesOf(base64).buffer);
    if (missing !== undefined) {
      const codes = array;
      array = new Float32Array(codes.length);
      for (let i = 0; i < codes.length; i++) array[i] = codes[i] === missing ? NaN : codes[i];
    }
    array.shape = shape;
    return array;
  };

  // How people read a column's name.
  function label(name) {
    if (name === 'mean_iou_foreground') return 'mean IoU';
    return name
      .replaceAll('_', ' ')
      .replace(/\biou\b/g, 'IoU')
      .replace(/^num\b/, 'number of');
  }

  function makeColumn(description) {
    // cache: what others derive from the values (orders, bins, percentiles), gone with them.
    const column = { ...description, label: label(description.name), cache: {} };
    let values = column.values;
    Object.defineProperty(column, 'values', {
      enumerable: true,
      get() {
        if (values.base64 !== undefined) values = explorer.decode(values);
        return values;
      },
      set(replacement) {
        values = replacement;
        column.cache = {};
      },
    });
    return column;
  }

  class View {
    constructor(name, data) {
      Object.assign(this, data, { name, columns: [] });
      this.byName = new Map();
      for (const column of data.columns) this.addColumn(column);
      for (const key of ['map_2d', 'map_3d']) if (this[key]) this[key] = explorer.decode(this[key]);
    }

    // Adds a column that only the browser has (decisions), or replaces one of that name.
    addColumn(description) {
      const column = makeColumn(description);
      const at = this.columns.findIndex((other) => other.name === column.name);
      if (at < 0) this.columns.push(column);
      else this.columns[at] = column;
      this.byName.set(column.name, column);
      return column;
    }

    // undefined if there is none of that name.
    column(name) {
      return this.byName.get(name);
    }

    values(name) {
      return this.byName.get(name).values;
    }

    // A row's value as filters name it: number, category's name, true, false, text, or null.
    value(name, row) {
      const column = this.byName.get(name);
      const value = column.values[row];
      if (column.kind === 'category') return column.categories[value] ?? null;
      if (column.kind === 'boolean') return value === 255 ? null : value === 1;
      return Number.isNaN(value) ? null : value;
    }

    // A row's value as people read it.
    format(name, row) {
      return explorer.format(this.byName.get(name), this.value(name, row));
    }

    // The row of an image; -1 if it is not in the view.
    rowOf(imageId) {
      if (!this.rows) {
        this.rows = new Map();
        const ids = this.values('image_id');
        for (let row = 0; row < this.n; row++) this.rows.set(Number(ids[row]), row);
      }
      return this.rows.get(Number(imageId)) ?? -1;
    }
  }

  const blobs = new Map(); // path -> URL

  // The address of a picture of a view. In a single file the piece 'files' has the pictures, as
  // "<mime>;<base64>"; each becomes a Blob once, as the same sheet is shown by many elements.
  explorer.picture = function (view, path) {
    if (path.startsWith('data:')) return path;
    const file = `${view.name}/${path}`;
    const inlined = pieces.get('files')?.[file];
    if (inlined === undefined) return `data/${file.split('/').map(encodeURIComponent).join('/')}`;
    if (!blobs.has(file)) {
      const [type, base64] = inlined.split(';');
      blobs.set(file, URL.createObjectURL(new Blob([bytesOf(base64)], { type })));
    }
    return blobs.get(file);
  };

  // Whether all values of a number column are whole.
  explorer.isWhole = function (column) {
    column.cache.whole ??= column.values.every(
      (value) => value !== value || Number.isInteger(value),
    );
    return column.cache.whole;
  };

  // A value (see View.value) of a column as people read it.
  explorer.format = function (column, value) {
    if (value === null || value === undefined) return '–';
    if (column.kind === 'boolean') return value ? 'yes' : 'no';
    if (column.kind !== 'number') return String(value);
    if (column.role === 'id') return String(value);
    return explorer.isWhole(column) ? thousands(value) : explorer.short(value);
  };

  const thousands = d3.format(',d');
  const fixed = [d3.format('.3f'), d3.format('.2f'), d3.format('.1f'), d3.format(',.0f')];

  // A number in few digits: three decimals below 1, none from 100 on.
  explorer.short = function (value) {
    if (value === null || !Number.isFinite(value)) return '–';
    const size = Math.abs(value);
    if (size === 0) return '0';
    if (size < 0.001) return value.toExponential(1);
    return fixed[size < 1 ? 0 : size < 10 ? 1 : size < 100 ? 2 : 3](value);
  };

  // A difference in few digits, with its sign.
  explorer.signed = (value) =>
    (value > 0 ? '+' : value < 0 ? '−' : '') + explorer.short(Math.abs(value));

  // The view of that name: its data, not yet shown (explorer.showView shows it).
  explorer.load = function (name) {
    if (!views.has(name)) {
      const path = `data/${encodeURIComponent(name)}/view.js`;
      const made = explorer.need(`view/${name}`, path).then((data) => {
        pieces.delete(`view/${name}`); // the text of its columns is no longer needed
        return new View(name, data);
      });
      made.catch(() => views.delete(name));
      views.set(name, made);
    }
    return views.get(name);
  };

  // The view with its further pieces (similar samples, findings): they are not needed to show the
  // map, so they are asked for after it.
  explorer.whole = function (view) {
    view.whole ??= Promise.all(
      (view.pieces ?? []).map(({ key, file }) => {
        const path = `data/${encodeURIComponent(view.name)}/${encodeURIComponent(file)}`;
        return explorer.need(key, path);
      }),
    ).then((parts) => {
      Object.assign(view, ...parts, { loaded: true });
      if (view.similar) {
        const { index, distance } = view.similar;
        view.similar = { index: explorer.decode(index), distance: explorer.decode(distance) };
      }
      return view;
    });
    return view.whole;
  };
})();
