'use strict';
/* global Associations, Confusion, Dom, Drift, Duplicates, Format, Grayscale, HeatMaps, LabelNext,
   Objects, Review, Scores, Slices, State */
// The page of findings: what was analyzed, each finding a click away from its samples.

/** @type {Page} */
const Findings = (() => {
  const { h } = Dom;

  /** @type {Record<string, Section>} */
  const SECTIONS = {
    issues: Review,
    scores: Scores,
    slices: Slices,
    associations: Associations,
    confusion: Confusion,
    objects: Objects,
    grayscale: Grayscale,
    duplicates: Duplicates,
    drift: Drift,
    label_next: LabelNext,
    heatmaps: HeatMaps,
  };

  const tabs = h('div.segments.line.panel', { role: 'radiogroup', 'aria-label': 'Findings' }, [
    Object.keys(SECTIONS).map((key) =>
      h('button', { role: 'radio', 'data-section': key, onclick: () => choose(key) }),
    ),
  ]);
  const content = h('div.findings-content');

  function chosen() {
    const key = State.read('finding') ?? '';
    return Object.hasOwn(SECTIONS, key) ? key : 'issues';
  }

  /** @param {string} key */
  function choose(key) {
    State.save('finding', key);
    draw();
  }

  function draw() {
    const { view } = State;
    for (const tab of tabs.querySelectorAll('button')) {
      const key = tab.dataset.section ?? '';
      const { title, of, count } = SECTIONS[key];
      tab.setAttribute('aria-checked', String(key === chosen()));
      tab.replaceChildren(title);
      if (of(view) && count) tab.append(h('span.muted', Format.count(count(view))));
    }
    const section = SECTIONS[chosen()];
    // Redrawing must not move the keyboard focus away from the button that was pressed.
    const active = /** @type {HTMLElement?} */ (document.activeElement)?.dataset.key;
    const parts = section.of(view)
      ? section.draw(view, draw)
      : [Dom.missing(section.command, view), ...(section.extra?.(view) ?? [])];
    Dom.replace(content, ...parts);
    const again = active && content.querySelector(`[data-key="${active}"]`);
    if (again instanceof HTMLElement) again.focus();
  }

  return {
    id: 'findings',
    title: 'Findings',
    build(container) {
      container.append(h('header.page-head.line', h('h2', 'Findings'), tabs), content);
    },
    update(events) {
      if (events.has('view') || events.has('appearance')) draw();
      else if (events.has('decisions') && chosen() === 'issues') draw();
    },
  };
})();
