'use strict';
/* global d3, Events, Format, Messages, Sorting, Texts */
/* exported explorer */
// Reads the report's data. A piece of it is a script that calls explorer.provide(key, value),
// because scripts, unlike fetch, work from file://. A single file holds all pieces from the start.
// The values of a column are a piece, which is loaded when the column is first needed: see `when`.

const Data = (() => {
  /** @type {Map<string, any>} */
  const pieces = new Map();
  /** @type {Map<string, Promise<any>>} */
  const waiting = new Map(); // pieces that are being loaded
  /** @type {Map<string, (value: any) => void>} */
  const resolvers = new Map(); // of their promises
  /** @type {Map<string, Promise<View>>} */
  const views = new Map();
  /** @type {Map<string, string>} */
  const blobs = new Map(); // URL by path
  let loading = 0; // scripts

  /** @type {Record<string, any>} */
  const arrays = {
    float32: Float32Array, float64: Float64Array, int32: Int32Array, uint32: Uint32Array,
    uint16: Uint16Array, uint8: Uint8Array,
  };

  /** @param {string} key @param {any} value */
  function provide(key, value) {
    pieces.set(key, value);
    resolvers.get(key)?.(value);
    waiting.delete(key); // a promise keeps its value
    resolvers.delete(key);
  }

  /** A piece that is there, which is then forgotten. @param {string} key */
  function take(key) {
    const piece = pieces.get(key);
    if (piece === undefined) throw new Error(`${key} is read before it is loaded.`);
    pieces.delete(key);
    return piece;
  }

  /** The value of a piece; loads its script if necessary.
   * @param {string} key @param {...string} path of the script within data/
   * @returns {Promise<any>} */
  function need(key, ...path) {
    if (pieces.has(key)) return Promise.resolve(pieces.get(key));
    const known = waiting.get(key);
    if (known) return known;
    const promise = new Promise((resolve, reject) => {
      const script = document.createElement('script');
      const fail = (/** @type {string} */ what) => {
        waiting.delete(key);
        reject(new Error(`${addressOf(path)} ${what}`));
      };
      script.src = addressOf(path);
      script.onload = () => {
        finish(script);
        // A script that ends before its end runs without an effect.
        if (resolvers.delete(key)) fail('is damaged: write the report again.');
      };
      script.onerror = () => {
        finish(script);
        fail('is missing or cannot be read.');
      };
      loading++;
      showLoading();
      document.head.append(script);
      resolvers.set(key, resolve);
    });
    waiting.set(key, promise);
    return promise;
  }

  /** @param {HTMLScriptElement} script */
  function finish(script) {
    script.remove(); // frees its text
    loading--;
    // Later than what waits for the piece, which may load more.
    setTimeout(showLoading);
  }

  /** For screen readers and tests. */
  const showLoading = () =>
    document.getElementById('main-content')?.setAttribute('aria-busy', String(loading > 0));

  /** @param {string[]} path within data/ */
  const addressOf = (path) => ['data', ...path.map(encodeURIComponent)].join('/');

  /** @param {string} base64 @returns {Uint8Array<ArrayBuffer>} */
  function bytesOf(base64) {
    const native = /** @type {any} */ (Uint8Array);
    if (native.fromBase64) return native.fromBase64(base64); // browsers since 2025
    const text = atob(base64);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    return bytes;
  }

  /** Integers with a number for missing values become float32 with NaN.
   * @param {Encoded} encoded @returns {Decoded} */
  function decode({ dtype, shape, base64, missing }) {
    const codes = new arrays[dtype](bytesOf(base64).buffer);
    if (missing === undefined) return Object.assign(codes, { shape });
    const values = new Float32Array(codes.length);
    for (let i = 0; i < values.length; i++) values[i] = codes[i] === missing ? NaN : codes[i];
    return Object.assign(values, { shape });
  }

  /** Values are decoded when they are first read. @param {any} description with values, unless they
   * are a piece @param {string} view @param {number} number of the column @returns {Column} */
  function makeColumn({ values, ...description }, view, number) {
    const key = `column/${view}/${number}`;
    const column = {
      ...description,
      label: Format.label(description.name),
      cache: {},
      isLoaded: () => values !== undefined || pieces.has(key),
      load: () => need(key, view, 'columns', `${number}.js`),
    };
    function read() {
      const piece = take(key);
      return piece.ends ? new Texts(piece.text, decode(piece.ends)) : decode(piece);
    }
    return Object.defineProperty(column, 'values', {
      get: () => (values ??= read()),
      set(replacement) {
        values = replacement;
        column.cache = {};
      },
    });
  }

  /** Calls `act` with all of these columns loaded: at once, if they are.
   * @param {View} view @param {(string | null | undefined)[]} names those that it lacks are ignored
   * @param {() => void} act */
  function when(view, names, act) {
    const waits = columns(view, names);
    if (waits) waits.then(act).catch(Messages.fail);
    else act();
  }

  /** Loads columns; null if they already are. @param {View} view
   * @param {(string | null | undefined)[]} names those that it lacks are ignored */
  function columns(view, names) {
    const missing = names.flatMap((name) => view.column(name ?? null) ?? [])
      .filter((column) => !column.isLoaded());
    return missing.length ? Promise.all(missing.map((column) => column.load())) : null;
  }

  /** @param {string} name @param {any} piece see ViewPiece @returns {View} */
  function makeView(name, piece) {
    /** @type {Map<string | null, Column>} */
    const columns = new Map();
    /** @type {Map<number, Record<string, { index: Decoded, distance: Decoded }>>} */
    const blocks = new Map(); // of similar samples
    /** @param {string} name */
    const known = (name) => /** @type {Column} */ (columns.get(name));

    /** @type {View} */
    const view = {
      ...piece,
      name,
      columns: [],
      column: (name) => columns.get(name),
      values: (name) => known(name).values,
      value(name, row) {
        const column = known(name);
        if (column.kind === 'text') return column.values.at(row);
        const value = column.values[row];
        if (column.kind === 'category') return column.categories?.[value] ?? null;
        if (column.kind === 'boolean') return value === 255 ? null : value === 1;
        return Number.isNaN(value) ? null : value;
      },
      format: (name, row) => Format.value(known(name), view.value(name, row)),
      rowOf(id, column = 'image_id') {
        const { cache, values } = known(column);
        cache.rows ??= Sorting.rowsBy(values);
        // The first row counts: several objects are in one image.
        const place = d3.bisector((/** @type {number} */ row) => values[row]).left(cache.rows, Number(id));
        const row = cache.rows[place];
        return values[row] === Number(id) ? row : -1;
      },
      similarBy: 'all',
      similarTo(row) {
        if (!view.similar) return null;
        const number = Math.floor(row / view.similar.rows);
        const key = `similar/${name}/${number}`;
        if (pieces.has(key)) {
          const parts = Object.entries(take(key)).map(([part, { index, distance }]) =>
            [part, { index: decode(index), distance: decode(distance) }]);
          blocks.set(number, Object.fromEntries(parts));
        }
        const block = blocks.get(number)?.[view.similarBy];
        if (!block) {
          const loaded = need(key, name, 'similar', `${number}.js`);
          loaded.then(() => Events.emit('similar')).catch(Messages.fail);
          return null;
        }
        const [, k] = block.index.shape;
        const at = (row % view.similar.rows) * k;
        return {
          rows: block.index.subarray(at, at + k).filter((other) => other >= 0),
          distances: block.distance.subarray(at, at + k),
        };
      },
      addColumn(description) {
        const column = makeColumn(description, name, columns.size);
        columns.set(column.name, column);
        view.columns = [...columns.values()];
        return column;
      },
    };
    piece.columns.forEach(view.addColumn);
    for (const key of /** @type {const} */ (['map_2d', 'map_3d'])) {
      if (piece[key]) view[key] = decode(piece[key]);
    }
    if (piece.similar) view.similar = { ...piece.similar, nearest: decode(piece.similar.nearest) };
    return view;
  }

  /** The view of that name, without its findings. @param {string} name */
  function load(name) {
    const known = views.get(name);
    if (known) return known;
    const made = need(`view/${name}`, name, 'view.js').then((piece) => {
      pieces.delete(`view/${name}`); // frees the base64 text of its maps
      return makeView(name, piece);
    });
    made.catch(() => views.delete(name));
    views.set(name, made);
    return made;
  }

  /** Loads what the first screen does not need: findings. @param {View} view */
  function loadRest(view) {
    const { name, has_findings: exist } = view;
    if (view.rest) return view.rest;
    const found = exist ? need(`findings/${name}`, name, 'findings.js') : Promise.resolve({});
    const rest = found.then((findings) => Object.assign(view, findings, { loaded: true }));
    // So that one can try again.
    rest.catch((error) => Object.assign(view, { rest: undefined, failure: error.message }));
    view.rest = rest;
    return rest;
  }

  /** The address of an image file of a view. A single file holds the images in its piece `files`,
   * as "<mime>;<base64>"; each becomes a Blob once, since many elements show the same sheet.
   * @param {View} view @param {string} path */
  function picture(view, path) {
    if (path.startsWith('data:')) return path;
    const file = `${view.name}/${path}`;
    const inlined = pieces.get('files')?.[file];
    if (inlined === undefined) return addressOf(file.split('/'));
    const known = blobs.get(file);
    if (known) return known;
    const [type, base64] = inlined.split(';');
    const url = URL.createObjectURL(new Blob([bytesOf(base64)], { type }));
    blobs.set(file, url);
    return url;
  }

  return { provide, need, take, decode, columns, when, load, loadRest, picture };
})();

const explorer = { provide: Data.provide };
