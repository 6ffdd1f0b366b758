'use strict';
/* global d3, Corrections, Decisions, Dom, Files, Format, Messages, Picture, Sample, State, Thumbnail */
// The section of label issues: one after the other is accepted (with what it suggests, as another
// category, or by deleting the label), rejected (the label is correct), or its image excluded from
// training, with a reason. Keys: a, c, d, r, x, left and right; u undoes a verdict.

/** @type {Section} */
const Review = (() => {
  const { h } = Dom;
  const STAGES = ['none', 'truth', 'prediction'];
  const THUMB = 56; // pixels
  const LISTED = 100; // excluded images, the latest

  /** Draws the page that contains this section. */
  let redraw = () => {};

  const LIKELY = 0.5; // as in analysis/label_issues
  const CAVEAT =
    'Probabilities were calibrated on drawn scenes with planted errors. On photographs they order ' +
    'the issues, and the expected number of errors is only a rough guess.';

  /** The regions to review: of the chosen kind, most probable first. @returns {Region[]} */
  function queue() {
    const issues = State.view.label_issues ?? [];
    const kind = State.read('kind');
    const chosen = issues.filter((region) => region.kind === kind);
    return chosen.length ? chosen : issues;
  }

  /** Where the review is in the queue. */
  function current() {
    const regions = queue();
    const saved = Number(State.read('issue') ?? 0);
    const place = Math.max(0, Math.min(regions.length - 1, Number.isInteger(saved) ? saved : 0));
    return { regions, place, region: regions[place] };
  }

  /** @param {number} place */
  function go(place) {
    State.save('issue', place);
    redraw();
  }

  /** @param {number} direction */
  function step(direction) {
    const { regions, place } = current();
    go(Math.max(0, Math.min(regions.length - 1, place + direction)));
  }

  /** Then goes to the next region without a verdict.
   * @param {string | null} verdict null undoes it @param {Correction | null} [correction] */
  function judge(verdict, correction = null) {
    const { regions, place, region } = current();
    Decisions.judge(region, verdict, correction);
    if (!verdict) return;
    const open = regions.findIndex((other, at) => at > place && !Decisions.verdictOf(other));
    go(open < 0 ? Math.min(place + 1, regions.length - 1) : open);
  }

  function accept() {
    const { region } = current();
    if (Corrections.isAmbiguous(region)) {
      Messages.notify(`Which category of ${region.suggested} is it?`);
      otherCategory()?.focus();
    } else judge('accept', Corrections.suggested(region));
  }

  function remove() {
    const removal = Corrections.removal(current().region);
    if (removal) judge('accept', removal);
  }

  const otherCategory = () =>
    /** @type {HTMLInputElement?} */ (document.getElementById('other-category'));

  /** @param {string} text that was typed or chosen */
  function chooseCategory(text) {
    const category = text.trim();
    const known = Corrections.categories();
    if (!category) return;
    if (known.length && !known.includes(category)) {
      Messages.notify(`The data set has no category “${category.slice(0, 80)}”.`);
      return;
    }
    judge('accept', Corrections.withCategory(current().region, category));
  }

  function toggleExclude() {
    const { region } = current();
    const { row, kind, score } = region;
    const typed = /** @type {HTMLInputElement?} */ (document.getElementById('reason'));
    Decisions.exclude(row, !Decisions.of(row)?.exclude, {
      reason: typed?.value.trim() || Decisions.reasonOf(region),
      kind,
      score,
    });
  }

  /** @param {View} view */
  function issueCard(view) {
    const { regions, place, region } = current();
    const { kind, probability, row, confidence, suggested, also } = region;
    const verdict = Decisions.verdictOf(region);
    const decision = Decisions.of(row);
    const layers = Picture.layersOf(view, row).filter(({ id }) => STAGES.includes(id));
    const text = Decisions.reasonOf(region);
    const chosen = Decisions.correctionOf(region);
    const proposal = Corrections.suggested(region);
    const removal = Corrections.removal(region);
    const inWords = Corrections.describe;
    const isAccepted = verdict === 'accept' && inWords(chosen) === inWords(proposal);
    const isRemoved = verdict === 'accept' && chosen?.action === 'remove';
    /** @param {string} name @param {string} key @param {string} label @param {() => void} act */
    const button = (name, key, label, act, isPressed = verdict === name) =>
      h(`button.button.verdict.inline-flex.${name}`, {
        'aria-pressed': String(isPressed),
        onclick: act,
        title: `${label} (${key})`,
        'aria-keyshortcuts': key,
        'data-key': key,
      }, [h('span', label), h('kbd', key)]);
    const reason = h('input.grow', {
      id: 'reason',
      type: 'text',
      maxlength: 1000,
      placeholder: text,
      value: decision?.reason || null,
      dir: 'auto',
      onchange: () => {
        if (decision?.exclude) Decisions.exclude(row, true, { reason: reason.value.trim() });
      },
    });
    const isExcluded = Boolean(decision?.exclude);
    const excludeLabel = isExcluded ? 'Excluded' : 'Exclude image';
    return h('article.issue-card.panel', [
      h('header.line', [
        Dom.iconButton('left', 'Previous issue (left)', () => step(-1), { 'data-key': 'left' }),
        h('span.where', { 'aria-live': 'polite' }, ofAll(place + 1, regions.length)),
        Dom.iconButton('right', 'Next issue (right)', () => step(1), { 'data-key': 'right' }),
        h('h3', kind, h('span.muted', { title: CAVEAT }, [
          `probability ${probability.toFixed(2)}`,
        ])),
        Dom.link(view.format('file_name', row), () => Sample.openIssue(region), { class: 'cut' }),
      ]),
      h('div.stages', layers.map((layer) =>
        h('figure', [
          Picture.make(view, row, layer, { opacity: 0.65, regions: [region] }),
          h('figcaption.muted', layer.label),
        ]),
      )),
      h('p.issue-words.wrap', { dir: 'auto' }, [
        text,
        confidence !== null &&
          h('span.muted', `; mean probability of ${suggested}: ${Format.percent(confidence)}`),
        also.length > 0 &&
          h('span.muted', `. Less probable on the same object: ${also.map(alternative).join(', ')}`),
      ]),
      h('div.verdicts.line', [
        button('accept', 'a', acceptLabel(proposal), accept, isAccepted),
        removal && proposal?.action !== 'remove' &&
          button('accept', 'd', 'Delete label', remove, isRemoved),
        categoryField(chosen && !isAccepted && !isRemoved ? chosen.category : ''),
        button('reject', 'r', 'Label is correct', () => judge('reject')),
        button('exclude', 'x', excludeLabel, toggleExclude, isExcluded),
        h('label.reason.flex.soft', 'Reason', reason),
      ]),
      h('p.keys.line.muted', [
        h('kbd', '←'),
        h('kbd', '→'),
        ' previous and next issue, ',
        h('kbd', 'u'),
        ' undoes a verdict',
      ]),
    ]);
  }

  /** @param {Correction | null} suggested */
  function acceptLabel(suggested) {
    const text = Corrections.describe(suggested);
    return suggested ? `Accept: ${text}` : `${text[0].toUpperCase()}${text.slice(1)}`;
  }

  /** @param {string} chosen category, if it is another than the suggested one */
  function categoryField(chosen) {
    const field = h('input', {
      id: 'other-category',
      type: 'text',
      list: 'categories',
      maxlength: 1000,
      placeholder: 'other category',
      autocomplete: 'off',
      value: chosen || null,
      dir: 'auto',
      onchange: () => field.value !== chosen && chooseCategory(field.value),
      onkeydown: (/** @type {KeyboardEvent} */ { key }) => {
        if (key !== 'Escape') return;
        field.value = chosen; // nothing is chosen
        field.blur();
      },
    });
    return h('label.other-category.inline-flex.soft', { title: 'Choose another category (c)' }, [
      h('span', 'It is'),
      field,
      h('kbd', 'c'),
      h('datalist', { id: 'categories' }, [
        Corrections.categories().map((name) => h('option', { value: name })),
      ]),
    ]);
  }

  /** @param {Region['also'][0]} other */
  const alternative = ({ kind, suggested, probability }) =>
    `${kind} (${suggested}, ${probability.toFixed(2)})`;

  /** @param {number} count @param {number} total */
  const ofAll = (count, total) => `${Format.count(count)} of ${Format.count(total)}`;

  /** @param {Region[]} issues */
  function tools(issues) {
    const { regions } = current();
    const judged = regions.filter((region) => Decisions.verdictOf(region)).length;
    const total = State.view.label_issues_total ?? issues.length;
    const kinds = d3.groups(issues, ({ kind }) => kind);
    const options = [
      ['', `all kinds (${Format.count(issues.length)})`],
      ...kinds.map(([kind, mine]) => [kind, `${kind} (${Format.count(mine.length)})`]),
    ];
    return h('div.page-tools.line', [
      Dom.select('Kind', options, State.read('kind') ?? '', (kind) => {
        State.save('kind', kind || null);
        go(0);
      }),
      h('progress', { value: judged, max: regions.length, 'aria-label': 'reviewed' }),
      h('span.muted', [
        `${ofAll(judged, regions.length)} reviewed`,
        total > issues.length && `, the most probable of ${Format.count(total)} issues`,
      ]),
      h('span.expected', { title: CAVEAT }, expected(regions)),
    ]);
  }

  /** How many errors to expect. @param {Region[]} regions */
  function expected(regions) {
    const likely = regions.map(({ probability }) => probability).filter((p) => p >= LIKELY);
    if (!likely.length) return `No issue has a probability of ${LIKELY} or more.`;
    const errors = Format.count(Math.round(d3.sum(likely)));
    const issues = likely.length === 1 ? 'issue has' : `${Format.count(likely.length)} issues have`;
    const first = `The first ${issues} a probability of ${LIKELY} or more.`;
    const caveat = 'calibrated on drawn scenes; on photographs, a rough guess';
    return `${first} Expected errors among them: ${errors} (${caveat}).`;
  }

  /** @param {View} view */
  function decisions(view) {
    const counts = Decisions.counts();
    const file = h('input', {
      type: 'file',
      accept: '.json,application/json',
      hidden: true,
      id: 'import-decisions',
      onchange: Files.opener(read),
    });
    const listed = Decisions.excludedRows().slice(-LISTED).reverse();
    const others = counts.exclude - listed.length;
    const clear = () => {
      if (confirm('Delete all decisions on this data set?')) Decisions.clear();
    };
    const labels = { exclude: 'excluded', accept: 'with wrong labels', reject: 'correct' };
    return h('aside.decisions.panel', { 'aria-label': 'Decisions' }, [
      h('h3', 'Your decisions'),
      h('p.line', Object.entries(labels).map(([name, label]) =>
        h('span.stat.inline-flex', [
          h('b', { 'data-count': name }, Format.count(counts[name])),
          h('span.muted', label),
        ]),
      ), [
        h('span.stat.inline-flex', [
          h('b', { 'data-count': 'corrections' }, Format.count(Decisions.corrections())),
          h('span.muted', 'corrections'),
        ]),
      ]),
      h('div.line', [
        h('button.button.primary', { id: 'export-decisions', onclick: exportFile }, [
          'Export exclude.json',
        ]),
        h('button.button', { onclick: () => file.click() }, 'Import …'),
        file,
        Dom.link('Delete all', clear),
      ]),
      h('p.note', [
        'Decisions stay in this browser. ',
        h('code.unbroken', '--config.data.exclude=exclude.json'),
        ' trains without the excluded images, ',
        h('code.unbroken', 'scripts/apply_decisions.py'),
        ' corrects the annotations.',
      ]),
      h('ul.excluded', listed.map((row) => excluded(view, row))),
      others > 0 && h('p.muted', `and ${Format.count(others)} more`),
    ]);
  }

  /** @param {View} view @param {number} row */
  function excluded(view, row) {
    const name = view.format('file_name', row);
    const picture = Thumbnail.make(row, { size: THUMB, view, overlay: 'none' });
    return h('li', [
      Thumbnail.button(view, row, picture),
      h('div.grow.wrap', [
        h('span.muted.three-lines', { dir: 'auto' }, name),
        h('span.three-lines', { dir: 'auto' }, Decisions.of(row)?.reason || 'no reason given'),
      ]),
      Dom.iconButton('close', `Do not exclude ${name}`, () => Decisions.exclude(row, false)),
    ]);
  }

  const exportFile = () => Files.saveJson('exclude.json', Decisions.exclusionList());

  function read(/** @type {any} */ file) {
    const count = Decisions.add(file);
    return count === null ? null : `decisions on ${count} images`;
  }

  document.addEventListener('keydown', (event) => {
    const card = /** @type {HTMLElement?} */ (document.querySelector('.issue-card'));
    // Another page, a sample or a dialog is open.
    if (!card?.offsetParent || State.selected !== null) return;
    if (document.querySelector('dialog[open]')) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (target instanceof Element && target.matches('input, textarea, select, [role=tab]')) return;
    /** @type {Record<string, () => void>} */
    const acts = {
      a: accept,
      c: () => otherCategory()?.focus(),
      d: remove,
      r: () => judge('reject'),
      u: () => judge(null),
      x: toggleExclude,
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    acts[event.key]();
  });

  return {
    title: 'Label issues',
    command: 'label_issues',
    of: (view) => view.label_issues,
    count: (view) => view.label_issues_total ?? view.label_issues?.length ?? 0,
    extra: (view) => [decisions(view)], // any image can be excluded
    draw(view, redrawPage) {
      redraw = redrawPage;
      const issues = view.label_issues ?? [];
      if (!issues.length) return [h('p.empty', 'No label is suspicious.'), decisions(view)];
      return [tools(issues), h('div.review', issueCard(view), decisions(view))];
    },
  };
})();
