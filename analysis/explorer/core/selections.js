'use strict';
/* global Events, Filters, Messages, State */
// Saved views: named sets of samples, stored in the browser under the fingerprint of the data set,
// shown as a filter (so a link has them), and exported as a file that other commands read:
//
//   {"fingerprint": …, "views": [{"name": "dark streets", "ids": [17, 25]}]}

const Selections = (() => {
  const SCHEMA_VERSION = 1;
  const LONGEST = 200; // characters of a name

  /** @type {Map<string, number[]>} */
  let all = new Map(); // ids by name
  /** @type {string | null} */
  let readFor = null; // fingerprint

  const storageKey = () => `explorer.selections.${State.view.fingerprint}`;
  const isId = (/** @type {any} */ id) => Number.isSafeInteger(id) && id >= 0;

  /** Names and ids of an untrusted list. @param {any} views
   * @throws {Error} if an entry is none */
  function parse(views) {
    if (!Array.isArray(views)) throw new Error("This file has no list 'views'.");
    return views.map((entry) => {
      const name = typeof entry?.name === 'string' ? entry.name.trim() : '';
      if (!name || name.length > LONGEST) throw new Error('A saved view has no usable name.');
      if (!Array.isArray(entry.ids) || !entry.ids.every(isId)) {
        throw new Error(`The saved view “${name.slice(0, 40)}” has no list of image ids.`);
      }
      return /** @type {[string, number[]]} */ ([name, [...new Set(entry.ids)].sort((a, b) => a - b)]);
    });
  }

  /** The saved views, ids by name. */
  function saved() {
    const { fingerprint } = State.view;
    if (readFor === fingerprint) return all;
    [readFor, all] = [fingerprint, new Map()];
    try {
      all = new Map(parse(JSON.parse(localStorage.getItem(storageKey()) ?? '[]')));
    } catch (error) {
      Messages.fail(error, 'Saved views could not be read: ');
    }
    return all;
  }

  const list = () => [...saved()].map(([name, ids]) => ({ name, ids }));

  /** Returns whether they could be stored; if not, a message says it. */
  function changed() {
    let isStored = true;
    try {
      localStorage.setItem(storageKey(), JSON.stringify(list()));
    } catch (error) {
      isStored = false;
      Messages.fail(error, 'Saved views could not be stored; export them to keep them: ');
    }
    Events.emit('selections');
    return isStored;
  }

  // Another window with a report on the same data has changed them.
  addEventListener('storage', (event) => {
    if (!State.view || event.key !== storageKey()) return;
    readFor = null;
    Events.emit('selections');
  });

  /** Saves the images of the rows that pass the filters; replaces a saved view of the same name.
   * @param {string} name @throws {Error} if the name or the selection is empty */
  function save(name) {
    const all = State.view.values('image_id');
    const ids = Array.from(Filters.rows(), (row) => Number(all[row]));
    if (!ids.length) throw new Error('No sample passes the filters.');
    const [[known, sorted]] = parse([{ name, ids }]);
    saved().set(known, sorted);
    changed();
  }

  /** @param {string} name */
  function remove(name) {
    saved().delete(name);
    changed();
  }

  /** Shows only these images, or their objects. @param {string} name */
  function show(name) {
    const ids = new Set(saved().get(name));
    /** @type {number[]} */
    const rows = [];
    State.view.values('image_id').forEach((/** @type {number} */ id, /** @type {number} */ row) => {
      if (ids.has(id)) rows.push(row);
    });
    Filters.clear();
    Filters.set('selection', { kind: 'rows', rows, label: name });
  }

  /** The document that the gate and training read. */
  function exported() {
    const { fingerprint, run, split, step } = State.view;
    const runs = [{ workdir: run, split, step }];
    return { schema_version: SCHEMA_VERSION, fingerprint, runs, views: list() };
  }

  /** The same as a table, a line per view and image. */
  function csv() {
    const { view } = State;
    // A spreadsheet would take such a text for a formula.
    const harmless = (/** @type {string} */ text) => (/^[=+\-@\t\r]/.test(text) ? `'${text}` : text);
    const cell = (/** @type {any} */ value) => `"${harmless(String(value)).replaceAll('"', '""')}"`;
    const lines = list().flatMap(({ name, ids }) =>
      ids.map((id) => {
        const row = view.rowOf(id);
        const file = row < 0 ? '' : (view.value('file_name', row) ?? '');
        return `${cell(name)},${id},${cell(file)}`;
      }),
    );
    return ['view,image_id,file_name', ...lines, ''].join('\r\n');
  }

  /** Adds the views of an exported file; they replace those of the same names.
   * @param {any} file @returns {number | null} how many saved views the file has; null if they are
   *   added but could not be stored, which a message says
   * @throws {Error} if it is another kind of file, or of another data set */
  function add(file) {
    const found = parse(file?.views);
    if (![undefined, State.view.fingerprint].includes(file.fingerprint)) {
      throw new Error('This file belongs to another data set.');
    }
    for (const [name, ids] of found) saved().set(name, ids);
    return changed() ? found.length : null;
  }

  return Object.freeze({ saved, save, remove, show, exported, csv, add });
})();
