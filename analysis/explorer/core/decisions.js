'use strict';
/* global Corrections, Events, Filters, Messages, State */
// Decisions on images and their suspicious labels. The browser stores them under the fingerprint of
// the data set, so that all reports on the same data share them. A view shows them as its column
// `decision`: 'exclude', else 'accept' if a region is accepted, else 'reject' if one is rejected.

const Decisions = (() => {
  const SCHEMA_VERSION = 1; // of exclude.json, as analysis/label_issues writes it
  const VERDICTS = ['accept', 'reject'];
  const NAMES = ['exclude', ...VERDICTS];
  const BLANK = { exclude: false, reason: '', kind: null, score: null };
  const MISSING = 65535;

  /** The decision on an image. `regions` has verdicts by key of a region (see regionKey): 'accept'
   * if the label is wrong, 'reject' if it is correct; `corrections` what to do about accepted ones.
   * Files of older reports have none. `kind` and `score` are those of the label issue behind the
   * decision.
   * @typedef {{ exclude: boolean, reason: string, kind: string | null, score: number | null,
   *   regions: Record<string, string>, corrections: Record<string, Correction> }} Decision */

  /** @type {Map<number, Decision>} */
  let decisions = new Map(); // by image id
  /** @type {string | null} */
  let readFor = null; // fingerprint
  /** @type {Set<View>} */
  const prepared = new Set(); // views that have been shown, which have the column

  const storageKey = () => `explorer.decisions.${State.view.fingerprint}`;

  /** @param {Decision} decision @returns {string | null} */
  function summary({ exclude, regions }) {
    if (exclude) return 'exclude';
    return VERDICTS.find((verdict) => Object.values(regions).includes(verdict)) ?? null;
  }

  /** Untrusted data as a decision; null if it contains none. @param {any} entry */
  function cleaned(entry) {
    if (typeof entry !== 'object' || entry === null) return null;
    const regions = Object.entries(entry.regions ?? {}).filter(([, verdict]) =>
      VERDICTS.includes(verdict),
    );
    /** @type {[string, Correction][]} */
    const corrections = [];
    for (const [key, verdict] of regions) {
      const given = Object(entry.corrections);
      const correction = Object.hasOwn(given, key) ? Corrections.cleaned(given[key]) : null;
      if (verdict === 'accept' && correction) corrections.push([key, correction]);
    }
    /** @type {Decision} */
    const result = {
      exclude: entry.exclude === true,
      reason: typeof entry.reason === 'string' ? entry.reason : '',
      kind: typeof entry.kind === 'string' ? entry.kind : null,
      score: Number.isFinite(entry.score) ? entry.score : null,
      regions: Object.fromEntries(regions),
      corrections: Object.fromEntries(corrections),
    };
    return summary(result) ? result : null;
  }

  /** Decisions by image id, of an untrusted object. @param {any} entries */
  function* known(entries) {
    for (const [id, entry] of Object.entries(entries ?? {})) {
      const isId = /^\d+$/.test(id) && Number.isSafeInteger(Number(id));
      const decision = isId && cleaned(entry);
      if (decision) yield /** @type {[number, Decision]} */ ([Number(id), decision]);
    }
  }

  function read() {
    decisions = new Map();
    readFor = State.view.fingerprint;
    try {
      decisions = new Map(known(JSON.parse(localStorage.getItem(storageKey()) ?? '{}')));
    } catch (error) {
      Messages.fail(error, 'Saved decisions could not be read: ');
    }
  }

  /** Returns whether they could be stored; if not, a message says it. */
  function changed() {
    let isStored = true;
    try {
      localStorage.setItem(storageKey(), JSON.stringify(Object.fromEntries(decisions)));
    } catch (error) {
      isStored = false;
      Messages.fail(error, 'Decisions could not be saved; export them to keep them: ');
    }
    show();
    return isStored;
  }

  function show() {
    fill();
    Filters.refresh('decision');
    Events.emit('decisions');
  }

  /** Writes the decisions into the column of each view: the maps of two may be side by side. */
  function fill() {
    for (const view of prepared) {
      if (view.fingerprint !== readFor) continue;
      const values = new Uint16Array(view.n).fill(MISSING);
      const ids = view.values('image_id');
      for (let row = 0; row < ids.length && decisions.size; row++) {
        const entry = decisions.get(ids[row]);
        if (entry) values[row] = NAMES.indexOf(summary(entry) ?? '');
      }
      /** @type {Column} */ (view.column('decision')).values = values;
    }
  }

  /** Gives a view its column of decisions, before filters are set that may need it.
   * @param {View} [view] */
  function prepare(view = State.view) {
    if (readFor !== State.view.fingerprint) read();
    if (!prepared.has(view)) {
      prepared.add(view);
      view.addColumn({
        name: 'decision',
        role: 'decision',
        kind: 'category',
        unit: '',
        categories: NAMES,
        description: 'your decision: exclude the image, accept or reject its label issues',
        values: new Uint16Array(view.n).fill(MISSING),
      });
    }
    fill();
  }

  // Another window with a report on the same data has changed them.
  addEventListener('storage', (event) => {
    if (!State.view || event.key !== storageKey()) return;
    read();
    show();
  });

  /** @param {number} row */
  const idOf = (row) => Number(State.view.values('image_id')[row]);

  /** The decision on the image of a row. @param {number} row */
  const of = (row) => decisions.get(idOf(row)) ?? null;

  /** Excludes an image from training, or undoes that.
   * @param {number} row @param {boolean} exclude
   * @param {Partial<Decision>} [because] reason, kind, score; those left out stay as they are */
  function exclude(row, exclude, because = {}) {
    change(row, (entry) => Object.assign(entry, exclude ? because : BLANK, { exclude }));
  }

  /** @param {Region} region @param {string | null} verdict null removes it
   * @param {Correction | null} [correction] what to do about a wrong label */
  function judge(region, verdict, correction = null) {
    const key = regionKey(region);
    change(region.row, (entry) => {
      for (const old of [key, olderKey(region)]) {
        delete entry.corrections[old];
        delete entry.regions[old];
      }
      if (verdict) entry.regions[key] = verdict;
      if (verdict === 'accept' && correction) entry.corrections[key] = correction;
      if (!entry.exclude) Object.assign(entry, { kind: region.kind, score: region.score });
    });
  }

  /** @param {Region} region */
  const verdictOf = (region) => of(region.row)?.regions[keyOf(region)] ?? null;

  /** What to do about an accepted region; null if nothing was chosen. @param {Region} region */
  const correctionOf = (region) => of(region.row)?.corrections[keyOf(region)] ?? null;

  /** How many annotations the decisions change. */
  const corrections = () =>
    [...decisions.values()].reduce((sum, entry) => sum + Object.keys(entry.corrections).length, 0);

  /** @param {number} row @param {(entry: Decision) => void} edit */
  function change(row, edit) {
    const entry = structuredClone(of(row)) ?? { ...BLANK, regions: {}, corrections: {} };
    edit(entry);
    if (summary(entry)) decisions.set(idOf(row), entry);
    else decisions.delete(idOf(row));
    changed();
  }

  /** A name by which the report of another run on the same data finds a region: its annotation, or
   * without one its place on a 32 × 32 grid and the class that is seen there.
   * @param {Region} region */
  const regionKey = (region) =>
    olderKey(region) + (region.annotation_id === null ? ` ${region.suggested}` : '');

  /** The key that the decision on a region has. @param {Region} region */
  function keyOf(region) {
    const key = regionKey(region);
    return of(region.row)?.regions[key] ? key : olderKey(region);
  }

  /** The key in decisions of older reports, without the class. @param {Region} region */
  function olderKey({ kind, box: [left, top, right, bottom], annotation_id: annotation }) {
    const place = [(left + right) / 2, (top + bottom) / 2].map((at) => Math.round(at * 32));
    return `${kind}: ${annotation ?? place.join(' ')}`;
  }

  /** Why a region is suspicious, in the words of analysis/label_issues. @param {Region} region */
  function reasonOf({ kind, area, given, suggested, annotation_id: annotation }) {
    const place = `${area.toFixed(1)} % of the image`;
    /** @type {Record<string, string>} */
    const reasons = {
      'missing instance': `${suggested} seen in ${place} where ${given} is labeled`,
      'sloppy outline': `outline of annotation ${annotation} (${given}, ${place})`,
      ambiguous: `the network is uncertain on ${place}`,
    };
    const other = `annotation ${annotation} (${place}) is labeled ${given} and looks like`;
    return reasons[kind] ?? `${other} ${suggested}`;
  }

  /** How many images have each decision. @returns {Record<string, number>} */
  function counts() {
    const result = Object.fromEntries(NAMES.map((name) => [name, 0]));
    for (const entry of decisions.values()) result[summary(entry) ?? ''] += 1;
    return result;
  }

  /** Rows of the view that are excluded. */
  const excludedRows = () =>
    [...decisions]
      .filter(([, entry]) => entry.exclude)
      .map(([id]) => State.view.rowOf(id))
      .filter((row) => row >= 0);

  /** The document for --config.data.exclude. Its `decisions` are for scripts/apply_decisions.py,
   * and let this page import it again. */
  function exclusionList() {
    const { view } = State;
    const entries = [...decisions].sort((a, b) => a[0] - b[0]);
    const excluded = entries.filter(([, entry]) => entry.exclude);
    return {
      schema_version: SCHEMA_VERSION,
      fingerprint: view.fingerprint,
      runs: [{ workdir: view.run, split: view.split, step: view.step }],
      ids: excluded.map(([id]) => id),
      images: excluded.map(([id, { kind, score, reason }]) => {
        const row = view.rowOf(id);
        const fileName = row < 0 ? null : view.value('file_name', row);
        return { image_id: id, file_name: fileName, kind, score, reason };
      }),
      decisions: Object.fromEntries(entries),
    };
  }

  /** Adds the decisions of a file: an export of this page, or any exclude.json. They replace
   * earlier decisions on the same images.
   * @param {any} file @returns {number | null} how many images have a decision in the file; null if
   *   they are added but could not be stored, which a message says
   * @throws {Error} if it is another kind of file, or of another data set */
  function add(file) {
    if (typeof file !== 'object' || file === null || !Array.isArray(file.ids)) {
      throw new Error("This file has no list 'ids' of image ids.");
    }
    if (file.fingerprint !== State.view.fingerprint) {
      throw new Error(
        'This file belongs to another data set: its fingerprint is ' +
          `${String(file.fingerprint).slice(0, 40)}, not ${State.view.fingerprint}.`,
      );
    }
    const wrong = file.ids.find((/** @type {any} */ id) => !Number.isSafeInteger(id) || id < 0);
    if (wrong !== undefined) throw new Error(`${String(wrong).slice(0, 40)} is not an image id.`);
    const images = Array.isArray(file.images) ? file.images : [];
    const reasons = new Map(images.map((/** @type {any} */ image) => [image?.image_id, image]));
    const entries = file.ids.map((/** @type {number} */ id) => [
      id,
      cleaned({ ...reasons.get(id), regions: {}, exclude: true }),
    ]);
    const found = new Map([...entries, ...known(file.decisions)]);
    for (const [id, entry] of found) decisions.set(id, entry);
    return changed() ? found.size : null;
  }

  function clear() {
    decisions.clear();
    changed();
  }

  return Object.freeze({
    prepare, of, exclude, judge, verdictOf, correctionOf, corrections, reasonOf, counts, excludedRows,
    exclusionList, add, clear,
  });
})();
