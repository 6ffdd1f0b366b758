'use strict';
/* global Bins, Format, State */
// The columns that lists, selects and tables show, and their order.

const Columns = (() => {
  /** @type {[string, string[]][]} */
  const groups = [
    ['Metrics', ['metric']],
    ['Clusters and slices', ['cluster', 'slice']],
    ['Image and annotations', ['metadata']],
    ['Label issues and decisions', ['issue', 'decision']],
    ['Identifiers', ['id']],
  ];

  /** Columns in groups of similar ones; `role` is the first role of a group.
   * @param {View} view @param {(column: Column) => unknown} [keep] */
  const grouped = (view, keep = () => true) =>
    groups
      .map(([label, roles]) => ({
        label,
        role: roles[0],
        columns: view.columns.filter((column) => roles.includes(column.role) && keep(column)),
      }))
      .filter(({ columns }) => columns.length);

  /** The same for Dom.select. @param {View} view @param {(column: Column) => unknown} [keep] */
  const options = (view, keep) =>
    grouped(view, keep).map(({ label, columns }) => ({
      label,
      options: columns.map((column) => [column.name, column.label]),
    }));

  /** Loss and IoUs. @param {View} view */
  const headline = (view) =>
    ['loss', 'iou', 'mean_iou_foreground', ...view.class_names.slice(1).map((name) => `iou_${name}`)]
      .map((name) => /** @type {Column} */ (view.column(name)))
      .filter(Boolean);

  /** Whether the view has several parts, such as splits, together. @param {View} view */
  const hasParts = (view) => (view.column('split')?.categories?.length ?? 0) > 1;

  /** The share of a metric's variance that a column explains. The report says it, since it takes all
   * values; it does not of columns that this page adds.
   * @param {View} view @param {string} name @param {string} metric */
  const explained = (view, name, metric) =>
    view.column(name)?.explained?.[metric] ?? Bins.explained(view, name, metric);

  /** Those that every page reads. @param {View} view */
  const always = (view) => [
    ...['image_id', 'file_name', 'split', 'source_split', 'aspect_ratio', 'cluster', view.key],
    ...headline(view).map(({ name }) => name),
  ];

  /** For the table, with the metadata that explain most of the loss. @param {View} view */
  function usual(view) {
    const explaining = view.columns
      .filter(({ role, kind }) => role === 'metadata' && kind !== 'text')
      .map(({ name }) => ({ name, share: explained(view, name, 'loss') }))
      .sort((a, b) => b.share - a.share)
      .slice(0, 6);
    return [
      'file_name',
      ...(view.rows_are === 'objects' ? ['class', 'predicted'] : []),
      ...(hasParts(view) ? ['split', 'novelty'] : []),
      'cluster',
      ...headline(view).map(({ name }) => name),
      'label_issue_kind',
      'label_issue_probability',
      'decision',
      ...explaining.map(({ name }) => name),
    ];
  }

  /** Names of the columns of the table: those that were chosen, or the usual ones.
   * @param {View} view @returns {string[]} */
  function shown(view) {
    try {
      const names = JSON.parse(State.read('columns') ?? 'null');
      if (Array.isArray(names)) return names;
    } catch {
      // A damaged link: the usual columns.
    }
    return usual(view);
  }

  /** The label of a column, which the view may lack. @param {View} view @param {string} name */
  const label = (view, name) => view.column(name)?.label ?? Format.label(name);

  return { grouped, options, headline, hasParts, explained, always, shown, label };
})();
