'use strict';
/* global Format */
/* exported explorer */
// Reads the report's data. A piece of it is a script with one call explorer.provide(key, value),
// because scripts, unlike fetch, work from file://. A single file holds all pieces from the start.

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

  /** @type {Record<string, any>} */
  const arrays = {
    float32: Float32Array, float64: Float64Array, int32: Int32Array, uint16: Uint16Array,
    uint8: Uint8Array,
  };

  /** @param {string} key @param {any} value */
  function provide(key, value) {
    pieces.set(key, value);
    resolvers.get(key)?.(value);
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
      script.src = addressOf(path);
      script.onerror = () => {
        waiting.delete(key);
        reject(new Error(`${addressOf(path)} is missing or cannot be read.`));
      };
      document.head.append(script);
      resolvers.set(key, resolve);
    });
    waiting.set(key, promise);
    return promise;
  }

  /** @param {string[]} path within data/ */
  const addressOf = (path) => ['data', ...path.map(encodeURIComponent)].join('/');

  /** @param {string} base64 */
  function bytesOf(base64) {
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
    const values = Float32Array.from(codes, (code) => (code === missing ? NaN : code));
    return Object.assign(values, { shape });
  }

  /** Values are decoded when they are first read. @param {any} description @returns {Column} */
  function makeColumn(description) {
    let { values } = description;
    const column = { ...description, label: Format.label(description.name), cache: {} };
    return Object.defineProperty(column, 'values', {
      enumerable: true,
      get: () => (values.base64 === undefined ? values : (values = decode(values))),
      set(replacement) {
        values = replacement;
        column.cache = {};
      },
    });
  }

  /** @param {string} name @param {any} piece see ViewPiece @returns {View} */
  function makeView(name, piece) {
    /** @type {Map<string | null, Column>} */
    const columns = new Map();
    /** @type {Map<string, Map<number, number>>} */
    const rows = new Map(); // by value, by column
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
        const value = column.values[row];
        if (column.kind === 'category') return column.categories?.[value] ?? null;
        if (column.kind === 'boolean') return value === 255 ? null : value === 1;
        return Number.isNaN(value) ? null : value;
      },
      format: (name, row) => Format.value(known(name), view.value(name, row)),
      rowOf(id, column = 'image_id') {
        let known = rows.get(column);
        if (!known) {
          const values = /** @type {number[]} */ (Array.from(view.values(column)));
          // The first row counts: several objects are in one image.
          known = new Map(values.map((value, row) => /** @type {const} */ ([value, row])).reverse());
          rows.set(column, known);
        }
        return known.get(Number(id)) ?? -1;
      },
      addColumn(description) {
        const column = makeColumn(description);
        columns.set(column.name, column);
        view.columns = [...columns.values()];
        return column;
      },
    };
    piece.columns.forEach(view.addColumn);
    for (const key of /** @type {const} */ (['map_2d', 'map_3d'])) {
      if (piece[key]) view[key] = decode(piece[key]);
    }
    return view;
  }

  /** The view of that name, without its findings. @param {string} name */
  function load(name) {
    const known = views.get(name);
    if (known) return known;
    const made = need(`view/${name}`, name, 'view.js').then((piece) => {
      pieces.delete(`view/${name}`); // frees the base64 text of its columns
      return makeView(name, piece);
    });
    made.catch(() => views.delete(name));
    views.set(name, made);
    return made;
  }

  /** Loads what the first screen does not need: similar samples, findings. @param {View} view */
  function loadRest(view) {
    const parts = (view.pieces ?? []).map(({ key, file }) => need(key, view.name, file));
    view.rest ??= Promise.all(parts).then((found) => {
      Object.assign(view, ...found, { loaded: true });
      if (view.similar) {
        const { index, distance } = /** @type {any} */ (view.similar);
        view.similar = { index: decode(index), distance: decode(distance) };
      }
      return view;
    });
    return view.rest;
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

  return { provide, need, decode, load, loadRest, picture };
})();

const explorer = { provide: Data.provide };
