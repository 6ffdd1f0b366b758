'use strict';
/* global State */
// What to do about a wrong label. scripts/apply_decisions.py applies the corrections of an exported
// file; segmentation/data/corrections/decisions.py describes them.

const Corrections = (() => {
  const ACTIONS = ['add', 'remove', 'change'];
  /** @type {Record<string, string>} */
  const SUGGESTED = { 'missing instance': 'add', 'wrong class': 'change', 'spurious label': 'remove' };
  const COUNT = 'count_'; // columns that count the instances of a category

  /** Names of the categories of the data set. @returns {string[]} */
  const categories = () =>
    State.view.columns
      .filter(({ name }) => name.startsWith(COUNT))
      .map(({ name }) => name.slice(COUNT.length));

  /** @param {Region} region @param {string} column */
  const valueOf = ({ row }, column) =>
    State.view.column(column) ? String(State.view.value(column, row) ?? '') : '';

  /** @param {Region} region @param {string} action @param {string} category
   * @returns {Correction} */
  function make(region, action, category) {
    const isNew = action === 'add';
    return {
      action,
      category: action === 'remove' ? '' : category,
      annotation_id: isNew ? null : region.annotation_id,
      region: isNew ? region.rle : null,
      file_name: valueOf(region, 'file_name'),
      split: valueOf(region, 'source_split'),
      kind: region.kind,
      score: region.score,
    };
  }

  /** The category that a class is made of, by the label space. @param {string} name of the class
   * @returns {string | null} null if it is merged of several */
  function categoryOf(name) {
    const known = categories();
    const [only, ...others] = State.view.members?.[name] ?? [name];
    return others.length || (known.length && !known.includes(only)) ? null : only;
  }

  /** What accepting a label issue does; null if it suggests nothing, such as for an outline that
   * has to be drawn again. @param {Region} region */
  function suggested(region) {
    const action = SUGGESTED[region.kind];
    return action ? make(region, action, categoryOf(region.suggested) ?? region.suggested) : null;
  }

  /** The class is merged of several categories, so one has to be chosen. @param {Region} region */
  const isAmbiguous = (region) =>
    Boolean(suggested(region)?.category) && categoryOf(region.suggested) === null;

  /** The object gets this category; it is added if it is not annotated.
   * @param {Region} region @param {string} category */
  const withCategory = (region, category) =>
    make(region, region.annotation_id === null ? 'add' : 'change', category);

  /** The annotation is deleted; null if there is none. @param {Region} region */
  const removal = (region) => (region.annotation_id === null ? null : make(region, 'remove', ''));

  /** In words. @param {Correction | null} correction */
  function describe(correction) {
    if (!correction) return 'label is wrong';
    const { action, category, annotation_id: annotation } = correction;
    if (action === 'add') return `add ${category}`;
    return action === 'remove'
      ? `delete annotation ${annotation}`
      : `annotation ${annotation} becomes ${category}`;
  }

  /** Untrusted data as a correction; null if it is none. @param {any} entry
   * @returns {Correction | null} */
  function cleaned(entry) {
    if (typeof entry !== 'object' || entry === null || !ACTIONS.includes(entry.action)) return null;
    const { action, category, annotation_id: annotation, region } = entry;
    const isNew = action === 'add';
    const text = (/** @type {any} */ value) =>
      typeof value === 'string' ? value.slice(0, 1000) : '';
    const [height, width] = Array.isArray(region?.size) ? region.size : [];
    const hasRegion = [height, width].every(Number.isSafeInteger) && typeof region.counts === 'string';
    if (isNew ? !hasRegion : !Number.isSafeInteger(annotation)) return null;
    if (action !== 'remove' && !text(category)) return null;
    return {
      action,
      category: action === 'remove' ? '' : text(category),
      annotation_id: isNew ? null : annotation,
      region: isNew ? { size: [height, width], counts: region.counts } : null,
      file_name: text(entry.file_name),
      split: text(entry.split),
      kind: text(entry.kind),
      score: Number.isFinite(entry.score) ? entry.score : null,
    };
  }

  return Object.freeze({
    categories, suggested, isAmbiguous, withCategory, removal, describe, cleaned,
  });
})();
