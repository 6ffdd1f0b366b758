'use strict';
// Decisions about images and their suspicious labels, kept in the browser under the data set's
// fingerprint, so that every report on the same data has the same ones.
//
//   image id -> {exclude, reason, kind, score, regions}
//     exclude   whether training is to leave the image out
//     reason    a sentence
//     kind, score   of the label issue that gave the reason; null if none did
//     regions   key of a region (see regionKey) -> 'accept' (the label is wrong) or 'reject' (fine)
//
// As the column 'decision' of a view: 'exclude', else 'accept' if a region is accepted, else
// 'reject' if one is rejected, else missing.

(function () {
  const explorer = window.explorer;
  const SCHEMA_VERSION = 1; // of exclude.json, as analysis/label_issues/stage.py writes it
  const NAMES = ['exclude', 'accept', 'reject'];
  const VERDICTS = ['accept', 'reject'];
  const MISSING = 65535;
  let decisions = new Map();
  let readFor = null; // fingerprint

  const storageKey = () => `explorer.decisions.${explorer.view.fingerprint}`;

  function summary({ exclude, regions }) {
    if (exclude) return 'exclude';
    return VERDICTS.find((verdict) => Object.values(regions).includes(verdict)) ?? null;
  }

  // What storage or a file says about an image, with only what is known to this page, or null.
  function cleaned(entry) {
    if (typeof entry !== 'object' || entry === null) return null;
    const regions = Object.entries(entry.regions ?? {}).filter(([, verdict]) =>
      VERDICTS.includes(verdict),
    );
    const text = (value) => (typeof value === 'string' ? value : null);
    const result = {
      exclude: entry.exclude === true,
      reason: text(entry.reason) ?? '',
      kind: text(entry.kind),
      score: Number.isFinite(entry.score) ? entry.score : null,
      regions: Object.fromEntries(regions),
    };
    return summary(result) ? result : null;
  }

  function isImageId(text) {
    return /^\d+$/.test(text) && Number.isSafeInteger(Number(text));
  }

  function read() {
    decisions = new Map();
    readFor = explorer.view.fingerprint;
    try {
      for (const [id, entry] of Object.entries(
        JSON.parse(localStorage.getItem(storageKey())) ?? {},
      )) {
        const known = isImageId(id) && cleaned(entry);
        if (known) decisions.set(Number(id), known);
      }
    } catch (error) {
      explorer.notify(`Decisions of earlier visits cannot be read: ${error.message}`);
    }
  }

  function changed() {
    try {
      localStorage.setItem(storageKey(), JSON.stringify(Object.fromEntries(decisions)));
    } catch (error) {
      explorer.notify(`This browser does not keep decisions; export them. (${error.message})`);
    }
    fill();
    explorer.columnChanged('decision');
    explorer.emit('decisions');
  }

  // Writes the decisions into the view's column.
  function fill() {
    const { view } = explorer;
    const values = new Uint16Array(view.n).fill(MISSING);
    for (const [id, entry] of decisions) {
      const row = view.rowOf(id);
      if (row >= 0) values[row] = NAMES.indexOf(summary(entry));
    }
    view.column('decision').values = values;
  }

  // Gives the shown view its column of decisions; before filters are set that may ask for it.
  explorer.prepareDecisions = function () {
    const { view } = explorer;
    if (readFor !== view.fingerprint) read();
    if (!view.column('decision')) {
      view.addColumn({
        name: 'decision',
        role: 'decision',
        kind: 'category',
        unit: '',
        categories: NAMES,
        description: 'your decision on the image: exclude, or accept or reject its label issues',
        values: new Uint16Array(view.n),
      });
    }
    fill();
  };

  const idOf = (row) => Number(explorer.view.values('image_id')[row]);

  // {exclude, reason, kind, score, regions} of a row, or null.
  explorer.decisionOf = (row) => decisions.get(idOf(row)) ?? null;

  // Excludes the image of a row from training, or takes that back.
  //   because: {reason, kind, score}; what is left out stays as it is
  explorer.exclude = function (row, exclude, because = {}) {
    const forgotten = { reason: '', kind: null, score: null };
    change(row, (entry) => Object.assign(entry, exclude ? because : forgotten, { exclude }));
  };

  // 'accept' or 'reject' for a region of view.label_issues; null takes it back.
  explorer.judge = function (region, verdict) {
    change(region.row, (entry) => {
      if (verdict) entry.regions[explorer.regionKey(region)] = verdict;
      else delete entry.regions[explorer.regionKey(region)];
      if (!entry.exclude) Object.assign(entry, { kind: region.kind, score: region.score });
    });
  };

  // The verdict on a region, or null.
  explorer.verdictOf = (region) =>
    decisions.get(idOf(region.row))?.regions[explorer.regionKey(region)] ?? null;

  function change(row, edit) {
    const id = idOf(row);
    const entry = structuredClone(
      decisions.get(id) ?? {
        exclude: false,
        reason: '',
        kind: null,
        score: null,
        regions: {},
      },
    );
    edit(entry);
    const known = cleaned(entry);
    if (known) decisions.set(id, known);
    else decisions.delete(id);
    changed();
  }

  // Names a region so that another run's report on the same data finds it: by its annotation, or
  // where there is none by its place in 32 × 32 fields.
  explorer.regionKey = function (region) {
    const [left, top, right, bottom] = region.box;
    const place = [(left + right) / 2, (top + bottom) / 2].map((at) => Math.round(at * 32));
    return `${region.kind}: ${region.annotation_id ?? place.join(' ')}`;
  };

  // Why a region is suspicious, in the words of analysis/label_issues/stage.py.
  explorer.reasonOf = function (region) {
    const place = `${region.area.toFixed(1)} % of the picture`;
    if (region.kind === 'missing instance') {
      return `${region.suggested} seen in ${place} where ${region.given} is labelled`;
    }
    if (region.kind === 'sloppy outline') {
      return `outline of annotation ${region.annotation_id} (${region.given}, ${place})`;
    }
    if (region.kind === 'ambiguous') {
      return `${place}, in which the network cannot decide`;
    }
    return (
      `annotation ${region.annotation_id} (${place}) is labelled ${region.given} and looks ` +
      `like ${region.suggested}`
    );
  };

  // How many images there are of each decision: {exclude, accept, reject}.
  explorer.countDecisions = function () {
    const counts = Object.fromEntries(NAMES.map((name) => [name, 0]));
    for (const entry of decisions.values()) counts[summary(entry)] += 1;
    return counts;
  };

  // Rows of the shown view that are excluded.
  explorer.excludedRows = () =>
    [...decisions]
      .filter(([, entry]) => entry.exclude)
      .map(([id]) => explorer.view.rowOf(id))
      .filter((row) => row >= 0);

  // The document that --config.data.exclude takes; with all decisions, for importing them again.
  explorer.exclusionList = function () {
    const { view } = explorer;
    const entries = [...decisions].sort((a, b) => a[0] - b[0]);
    const excluded = entries.filter(([, entry]) => entry.exclude);
    const fileName = (id) => (view.rowOf(id) < 0 ? null : view.value('file_name', view.rowOf(id)));
    return {
      schema_version: SCHEMA_VERSION,
      fingerprint: view.fingerprint,
      runs: [{ workdir: view.run, split: view.split, step: view.step }],
      ids: excluded.map(([id]) => id),
      images: excluded.map(([id, { kind, score, reason }]) => ({
        image_id: id,
        file_name: fileName(id),
        kind,
        score,
        reason,
      })),
      decisions: Object.fromEntries(entries),
    };
  };

  explorer.exportDecisions = function () {
    const text = `${JSON.stringify(explorer.exclusionList(), null, 2)}\n`;
    const url = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
    const link = explorer.h('a', { href: url, download: 'exclude.json' });
    link.click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  };

  // Adds the decisions of a file's text: an export of this page, or any exclude.json. What the file
  // says about an image replaces what was decided before.
  // Returns how many images it speaks of; raises an Error if it is something else.
  explorer.importDecisions = function (text) {
    let document;
    try {
      document = JSON.parse(text);
    } catch (error) {
      throw new Error(`This file is not JSON: ${error.message}`);
    }
    if (typeof document !== 'object' || document === null || !Array.isArray(document.ids)) {
      throw new Error("This file has no list 'ids' of image ids.");
    }
    if (document.fingerprint !== explorer.view.fingerprint) {
      throw new Error(
        'This file was made for another data set: fingerprint ' +
          `${String(document.fingerprint).slice(0, 40)} instead of ${explorer.view.fingerprint}.`,
      );
    }
    const wrong = document.ids.find((id) => !Number.isSafeInteger(id) || id < 0);
    if (wrong !== undefined) throw new Error(`${String(wrong).slice(0, 40)} is not an image id.`);
    const reasons = new Map(
      (Array.isArray(document.images) ? document.images : []).map((image) => [
        image?.image_id,
        image,
      ]),
    );
    const found = new Map(
      document.ids.map((id) => [id, cleaned({ ...reasons.get(id), regions: {}, exclude: true })]),
    );
    for (const [id, entry] of Object.entries(document.decisions ?? {})) {
      const known = isImageId(id) && cleaned(entry);
      if (known) found.set(Number(id), known);
    }
    for (const [id, entry] of found) decisions.set(id, entry);
    changed();
    return found.size;
  };

  explorer.clearDecisions = function () {
    decisions.clear();
    changed();
  };

  // Another window with a report on the same data has changed them.
  window.addEventListener('storage', (event) => {
    if (!explorer.view || event.key !== storageKey()) return;
    read();
    fill();
    explorer.columnChanged('decision');
    explorer.emit('decisions');
  });
})();
