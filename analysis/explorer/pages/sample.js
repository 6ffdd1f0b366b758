'use strict';
/* global Corrections, Data, Decisions, Dom, Events, Format, Order, Picture, SampleFacts, State */
// The panel of one sample: its image with overlays, its label issues, its similar samples, and its
// numbers among those of all samples.
//
// Keys while it is open: left and right (through the samples in the table's order), x (exclude),
// o (overlay on and off), 1 to 9 (choose an overlay), Escape.

const Sample = (() => {
  const { h } = Dom;
  const FIRST_ISSUES = 4;

  let place = -1; // in the order, of the sample that was last in it while the panel was open
  /** @type {number | null} */
  let placed = null; // its row
  /** @type {HTMLElement | null} */
  let focused = null; // before the panel was opened
  let isOverlayOn = true;
  /** @type {Region | null} */
  let pointedAt = null; // the label issue whose outline is drawn
  /** @type {number | null} */
  let expanded = null; // the row whose label issues are all shown
  /** @type {{ row: number, view: View } | null} */
  let explained = null; // whose reason the field has
  let given = ''; // the field's value before something is typed

  const panel = /** @type {HTMLElement} */ (document.getElementById('sample'));
  /** @param {string} name @param {string} title @param {() => void} onclick @param {string} text */
  const button = (name, title, onclick, text) =>
    h(`button.button.sample-${name}`, { 'aria-label': title, title, onclick }, text);

  const title = h('h2.cut', { dir: 'auto' });
  const where = h('p.where.muted', { 'aria-live': 'polite' });
  const previous = button('previous', 'Previous sample (left)', () => step(-1), '‹');
  const next = button('next', 'Next sample (right)', () => step(1), '›');
  const exclude = button('exclude', 'Exclude from training (x)', toggleExclude, 'Exclude');
  const reason = h('input.grow', {
    type: 'text',
    maxlength: 1000,
    placeholder: 'Reason',
    dir: 'auto',
    'aria-label': 'Reason to exclude it',
    onchange: saveReason,
  });
  const close = button('close', 'Close (Escape)', State.closeSample, '×');
  const stage = h('div.stage-place');
  const strip = h('div.layers', { role: 'radiogroup', 'aria-label': 'Overlay' });
  const opacity = Dom.slider('Overlay opacity', { min: 0, max: 1, step: 0.05 }, (value) =>
    State.setAppearance({ opacity: value }),
  );
  const legend = h('div');
  const issues = h('section.issues');
  const similar = h('section.similar');
  const facts = h('div.facts');
  const keys = [
    ['←', '→', 'samples'],
    ['1', '9', 'overlays'],
    ['o', 'overlay on and off'],
    ['x', 'exclude'],
    ['Esc', 'close'],
  ].map((entry) => h('span', entry.slice(0, -1).map((key) => h('kbd', key)), ` ${entry.at(-1)}`));
  const body = h('div.sample-body.grow', [
    h('div.pictures', [
      stage,
      h('div.stage-tools.line', legend, h('label.opacity.check.inline-flex.muted', 'Overlay', opacity)),
      strip,
      issues,
      similar,
      h('p.keys.line.muted', keys),
    ]),
    facts,
  ]);
  panel.append(
    h('header.head.line', previous, next, h('div.grow', title, where), reason, exclude, close),
    body,
  );

  /** The open sample and its view; null if none is open. */
  const open = () =>
    State.view && State.selected !== null ? { row: State.selected, view: State.view } : null;

  function update() {
    const sample = open();
    if (!sample) {
      if (panel.hidden) return;
      saveReason();
      explained = null;
      panel.hidden = true;
      [place, placed] = [-1, null];
      focused?.focus();
      focused = null;
      return;
    }
    if (panel.hidden) {
      focused = document.activeElement instanceof HTMLElement ? document.activeElement : null;
      panel.hidden = false;
      panel.focus({ preventScroll: true });
    } else if (explained?.row !== sample.row && document.activeElement?.matches('.samples-scroll')) {
      panel.focus({ preventScroll: true }); // another tile was clicked: the keys are for it
    }
    const { view, row } = sample;
    // It may be of another sample, or of a view that was shown before.
    const isHere = pointedAt?.row === row && view.label_issues?.includes(pointedAt);
    if (!isHere) pointedAt = null;
    body.scrollTop = 0;
    updateHead();
    updateStage();
    updateIssues();
    updateSimilar();
    facts.replaceChildren();
    Data.when(view, SampleFacts.needs(view), () => {
      const now = open();
      if (now?.row !== row || now.view !== view) return; // another one is open
      facts.replaceChildren(...SampleFacts.all(view, row));
    });
  }

  /** Saves what was typed, for the sample it was typed for. */
  function saveReason() {
    const decision = explained?.view === State.view ? Decisions.of(explained.row) : null;
    if (explained && decision?.exclude && reason.value !== given) {
      given = reason.value;
      Decisions.exclude(explained.row, true, { reason: given.trim() });
    }
  }

  function updateSimilar() {
    const sample = open();
    if (sample) Dom.replace(similar, ...SampleFacts.similar(sample.view, sample.row));
  }

  function updateHead() {
    const sample = open();
    if (!sample) return;
    const { view, row } = sample;
    const order = Order.rows();
    const found = order.indexOf(row);
    if (found >= 0) [place, placed] = [found, row];
    else place = Math.min(place, order.length); // the filters may have removed more than this one
    const { column, descending } = State.sort;
    const sorted = `by ${view.column(column)?.label} ${descending ? '↓' : '↑'}`;
    title.textContent = view.format('file_name', row);
    where.textContent =
      (view.rows_are === 'objects' ? `object ${view.format(view.key, row)} in ` : '') +
      `image ${view.format('image_id', row)}, ` +
      (found < 0
        ? 'removed by the filters'
        : `${Format.count(found + 1)} of ${Format.count(order.length)} ${sorted}`);
    const decision = Decisions.of(row);
    Dom.press(exclude, Boolean(decision?.exclude));
    exclude.textContent = decision?.exclude ? 'Excluded' : 'Exclude';
    reason.hidden = !decision?.exclude;
    const isAnother = explained?.row !== row || explained.view !== view;
    if (isAnother) saveReason();
    explained = sample;
    if (isAnother || document.activeElement !== reason) {
      reason.value = decision?.reason ?? '';
      given = reason.value;
    }
    previous.disabled = place <= 0;
    next.disabled = neighbor(1) === undefined;
  }

  /** The row before or after in the order. The next row has taken the place of one that the filters
   * have removed. One that was never in the order, such as a similar one, stands for the one before
   * it.
   * @param {number} direction */
  function neighbor(direction) {
    const order = Order.rows();
    const isRemoved = placed === State.selected && order[place] !== placed;
    return order[direction > 0 && isRemoved ? place : place + direction];
  }

  /** @param {number} direction */
  function step(direction) {
    const row = neighbor(direction);
    if (row !== undefined) State.openSample(row);
  }

  function toggleExclude() {
    const sample = open();
    if (!sample) return;
    const { kind, score } = pointedAt ?? {};
    const because = pointedAt ? { reason: Decisions.reasonOf(pointedAt), kind, score } : {};
    Decisions.exclude(sample.row, !Decisions.of(sample.row)?.exclude, because);
  }

  function updateStage() {
    const sample = open();
    if (!sample) return;
    const { view, row } = sample;
    const layers = Picture.layersOf(view, row);
    const wanted = State.read('layer') ?? 'prediction';
    const chosen = layers.find(({ id }) => id === wanted) ?? layers[0];
    const shown = isOverlayOn ? chosen : layers[0];
    const strength = State.appearance.opacity;
    const regions = pointedAt ? [pointedAt] : [];
    stage.replaceChildren(Picture.make(view, row, shown, { opacity: strength, regions }));
    opacity.value = String(strength);
    legend.replaceChildren(Picture.legend(view, shown));
    const hasFocus = strip.contains(document.activeElement);
    const buttons = layers.map((layer, index) =>
      h('button.stack.soft.wrap', {
        role: 'radio',
        'aria-checked': String(layer === chosen),
        title: index < 9 ? `${layer.label} (${index + 1})` : layer.label,
        onclick: () => chooseLayer(layer),
      }, [
        Picture.make(view, row, layer, { opacity: 0.8 }),
        h('span', { dir: 'auto' }, layer.label),
      ]),
    );
    strip.replaceChildren(...buttons);
    if (hasFocus) requestAnimationFrame(() => buttons[layers.indexOf(chosen)].focus());
  }

  /** @param {Layer} layer */
  function chooseLayer(layer) {
    isOverlayOn = true;
    State.save('layer', layer.id);
    updateStage();
  }

  function updateIssues() {
    const sample = open();
    issues.replaceChildren();
    const mine = State.view.label_issues?.filter(({ row }) => row === sample?.row) ?? [];
    if (!mine.length) return;
    // The end of a long list is hardly suspicious.
    const shown = expanded === sample?.row ? mine : mine.slice(0, FIRST_ISSUES);
    const showAll = () => {
      expanded = State.selected;
      updateIssues();
    };
    issues.append(h('h3', 'Label issues'), ...shown.map(issueLine));
    issues.append(Dom.more(mine.length - shown.length, showAll) ?? '');
  }

  /** @param {Region} region */
  function issueLine(region) {
    const verdict = Decisions.verdictOf(region);
    const onclick = () => {
      pointedAt = region === pointedAt ? null : region;
      updateStage();
      updateIssues();
    };
    const suggested = Corrections.isAmbiguous(region) ? null : Corrections.suggested(region);
    const chosen = verdict === 'accept' ? Decisions.correctionOf(region) : null;
    const verdicts = {
      accept: Corrections.describe(chosen ?? suggested),
      reject: 'the label is correct',
    };
    return h('div.issue-line', [
      h('button.button.issue.grow', { 'aria-pressed': String(region === pointedAt), onclick }, [
        h('strong', region.kind),
        ` ${Format.percent(region.probability)}: `,
        Decisions.reasonOf(region),
        chosen && h('span.muted', ` (${Corrections.describe(chosen)})`),
      ]),
      Object.entries(verdicts).map(([name, title]) =>
        h(`button.button.verdict.${name}`, {
          'aria-pressed': String(verdict === name),
          title,
          onclick: () => Decisions.judge(region, verdict === name ? null : name, suggested),
        }, [
          name,
        ]),
      ),
    ]);
  }

  /** Opens the sample of a label issue with its outline. @param {Region} region */
  function openIssue(region) {
    pointedAt = region;
    expanded = region.row;
    if (State.selected === region.row) update();
    else State.openSample(region.row);
  }

  document.addEventListener('keydown', (event) => {
    const sample = open();
    if (!sample || event.ctrlKey || event.metaKey || event.altKey) return;
    // A brush or the gallery has used the key, or a dialog is open.
    if (event.defaultPrevented || document.querySelector('dialog[open]')) return;
    const { key, target } = event;
    const isInput = target instanceof Element && target.matches('input');
    const withKeys = 'input:not([type=range]), textarea, select, [role=tab]';
    const isTyping = target instanceof Element && target.matches(withKeys);
    if (key === 'Escape') State.closeSample();
    else if (isTyping) return;
    else if (key === 'ArrowRight' && !isInput) step(1);
    else if (key === 'ArrowLeft' && !isInput) step(-1);
    else if (key === 'x') toggleExclude();
    else if (key === 'o') {
      isOverlayOn = !isOverlayOn;
      updateStage();
    } else if (/^[1-9]$/.test(key)) {
      const layer = Picture.layersOf(sample.view, sample.row)[Number(key) - 1];
      if (!layer) return;
      chooseLayer(layer);
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  Events.on('sample view', update);
  Events.on('similar', updateSimilar);
  Events.on('filters sort', updateHead);
  Events.on('appearance', updateStage);
  Events.on('decisions', () => {
    updateHead();
    updateIssues();
  });

  return { openIssue };
})();
