'use strict';
// Label issues, one by one: accept (the label is wrong), reject (it is fine), or leave the image
// out of training, with a reason. Keys: a, r, x, left, right; u takes a verdict back.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const STAGES = ['none', 'truth', 'prediction'];
  const THUMB = 56; // px
  const LISTED = 100; // images excluded last

  // Regions that are gone through: of the chosen kind, most suspicious first.
  function queueOf(view) {
    const kind = explorer.readState('kind');
    const kinds = new Set(view.label_issues.map((region) => region.kind));
    return kinds.has(kind)
      ? view.label_issues.filter((region) => region.kind === kind)
      : view.label_issues;
  }

  function placeIn(queue) {
    const place = Number(explorer.readState('issue') ?? 0);
    return Math.max(0, Math.min(queue.length - 1, Number.isInteger(place) ? place : 0));
  }

  function go(place) {
    explorer.saveState('issue', place);
    explorer.emit('decisions'); // draws the page anew
  }

  // The first one after `place` that has no verdict, else the next.
  function following(queue, place) {
    const open = queue.findIndex((region, index) => index > place && !explorer.verdictOf(region));
    return open < 0 ? Math.min(place + 1, queue.length - 1) : open;
  }

  function judge(verdict) {
    const queue = queueOf(explorer.view);
    const place = placeIn(queue);
    explorer.judge(queue[place], verdict);
    if (verdict) go(following(queue, place));
  }

  function toggleExclude() {
    const queue = queueOf(explorer.view);
    const region = queue[placeIn(queue)];
    const exclude = !explorer.decisionOf(region.row)?.exclude;
    const typed = document.getElementById('reason')?.value.trim();
    explorer.exclude(region.row, exclude, {
      reason: typed || explorer.reasonOf(region),
      kind: region.kind,
      score: region.score,
    });
  }

  function step(direction) {
    const queue = queueOf(explorer.view);
    go(Math.max(0, Math.min(queue.length - 1, placeIn(queue) + direction)));
  }

  explorer.drawReview = function (view) {
    if (!view.label_issues.length) return [h('p', { class: 'empty' }, 'No label is suspicious.')];
    const queue = queueOf(view);
    const place = placeIn(queue);
    return [
      tools(view, queue),
      h('div', { class: 'review' }, current(view, queue, place), decisions(view)),
    ];
  };

  function tools(view, queue) {
    const counts = d3.rollup(
      view.label_issues,
      (regions) => regions.length,
      (one) => one.kind,
    );
    const judged = queue.filter((region) => explorer.verdictOf(region)).length;
    const options = [...counts].map(([kind, count]) => [
      kind,
      `${kind} (${d3.format(',')(count)})`,
    ]);
    const total = view.label_issues_total ?? view.label_issues.length;
    const all = `all kinds (${d3.format(',')(view.label_issues.length)})`;
    return h(
      'div',
      { class: 'page-tools' },
      explorer.select('Kind', [['', all], ...options], explorer.readState('kind') ?? '', (kind) => {
        explorer.saveState('kind', kind || null);
        go(0);
      }),
      h('progress', { value: judged, max: queue.length, 'aria-label': 'judged' }),
      h(
        'span',
        { class: 'unit' },
        `${d3.format(',')(judged)} of ${d3.format(',')(queue.length)} judged`,
        total > view.label_issues.length
          ? `, the most suspicious of ${d3.format(',')(total)} regions`
          : '',
      ),
    );
  }

  function current(view, queue, place) {
    const region = queue[place];
    const verdict = explorer.verdictOf(region);
    const decision = explorer.decisionOf(region.row);
    const layers = explorer.layersOf(view, region.row).filter(({ id }) => STAGES.includes(id));
    const button = (name, key, label, act, pressed) =>
      h(
        'button',
        {
          type: 'button',
          class: `button verdict ${name}`,
          'aria-pressed': String(pressed),
          onclick: act,
          title: `${label} (${key})`,
          'aria-keyshortcuts': key,
          'data-key': key,
        },
        h('span', {}, label),
        h('kbd', {}, key),
      );
    return h(
      'article',
      { class: 'issue-card', 'data-place': place },
      h(
        'header',
        {},
        explorer.iconButton('left', 'Previous issue (left)', () => step(-1), {
          'data-key': 'left',
        }),
        h(
          'span',
          { class: 'where', 'aria-live': 'polite' },
          `${d3.format(',')(place + 1)} of ${d3.format(',')(queue.length)}`,
        ),
        explorer.iconButton('right', 'Next issue (right)', () => step(1), { 'data-key': 'right' }),
        h('h3', {}, region.kind, h('span', { class: 'unit' }, `score ${region.score.toFixed(2)}`)),
        h(
          'button',
          {
            type: 'button',
            class: 'link',
            dir: 'auto',
            onclick: () => explorer.openIssue(region),
          },
          view.format('file_name', region.row),
        ),
      ),
      h(
        'div',
        { class: 'stages' },
        layers.map((layer) =>
          h(
            'figure',
            {},
            explorer.stage(view, region.row, layer, { opacity: 0.65, regions: [region] }),
            h('figcaption', {}, layer.label),
          ),
        ),
      ),
      h(
        'p',
        { class: 'issue-words', dir: 'auto' },
        explorer.reasonOf(region),
        region.confidence !== null &&
          h(
            'span',
            { class: 'unit' },
            `; the network’s mean probability of ${region.suggested} there: ` +
              explorer.percent(region.confidence),
          ),
      ),
      h(
        'div',
        { class: 'verdicts' },
        button('accept', 'a', 'Label is wrong', () => judge('accept'), verdict === 'accept'),
        button('reject', 'r', 'Label is fine', () => judge('reject'), verdict === 'reject'),
        button(
          'exclude',
          'x',
          decision?.exclude ? 'Excluded' : 'Exclude image',
          toggleExclude,
          Boolean(decision?.exclude),
        ),
        h(
          'label',
          { class: 'reason' },
          'because',
          h('input', {
            id: 'reason',
            type: 'text',
            maxlength: 1000,
            placeholder: explorer.reasonOf(region),
            value: decision?.reason || null,
            dir: 'auto',
            onchange: (event) => {
              if (decision?.exclude) {
                explorer.exclude(region.row, true, { reason: event.target.value.trim() });
              }
            },
          }),
        ),
      ),
      h(
        'p',
        { class: 'keys' },
        h('kbd', {}, '←'),
        h('kbd', {}, '→'),
        ' go through them, ',
        h('kbd', {}, 'u'),
        ' takes a verdict back',
      ),
    );
  }

  function decisions(view) {
    const counts = explorer.countDecisions();
    const choose = h('input', {
      type: 'file',
      accept: '.json,application/json',
      hidden: true,
      id: 'import-decisions',
      onchange: async (event) => {
        const [file] = event.target.files;
        event.target.value = '';
        if (!file) return;
        try {
          const count = explorer.importDecisions(await file.text());
          explorer.notify(`${file.name}: decisions on ${count} images are here now.`);
        } catch (error) {
          explorer.notify(`${file.name}: ${error.message}`);
        }
      },
    });
    const excluded = explorer.excludedRows();
    const listed = excluded.slice(-LISTED).reverse();
    const others = counts.exclude - listed.length;
    const clear = () => {
      if (window.confirm('Forget all decisions on this data set?')) explorer.clearDecisions();
    };
    return h(
      'aside',
      { class: 'decisions', 'aria-label': 'Decisions' },
      h('h3', {}, 'Your decisions'),
      h(
        'p',
        { class: 'decision-counts' },
        Object.entries({ exclude: 'excluded', accept: 'with wrong labels', reject: 'fine' }).map(
          ([name, label]) =>
            h(
              'span',
              { class: 'stat' },
              h('b', { 'data-count': name }, d3.format(',')(counts[name])),
              h('span', { class: 'stat-name' }, label),
            ),
        ),
      ),
      h(
        'div',
        { class: 'buttons' },
        h(
          'button',
          {
            type: 'button',
            class: 'button primary',
            id: 'export-decisions',
            onclick: explorer.exportDecisions,
          },
          'Export exclude.json',
        ),
        h('button', { type: 'button', class: 'button', onclick: () => choose.click() }, 'Import …'),
        choose,
        h('button', { type: 'button', class: 'link', onclick: clear }, 'Forget all'),
      ),
      h(
        'p',
        { class: 'note' },
        'Decisions stay in this browser. ',
        h('code', {}, 'scripts/train.py … --config.data.exclude=exclude.json'),
        ' trains without the images excluded.',
      ),
      h(
        'ul',
        { class: 'excluded' },
        listed.map((row) =>
          h(
            'li',
            {},
            h(
              'button',
              {
                type: 'button',
                class: 'thumb',
                onclick: () => explorer.openSample(row),
                'aria-label': `Open ${view.format('file_name', row)}`,
              },
              explorer.thumbnail(row, { size: THUMB, view, overlay: 'none' }),
            ),
            h(
              'div',
              {},
              h('span', { class: 'unit', dir: 'auto' }, view.format('file_name', row)),
              h('span', { dir: 'auto' }, explorer.decisionOf(row).reason || 'no reason given'),
            ),
            explorer.iconButton('close', `Do not exclude ${view.format('file_name', row)}`, () =>
              explorer.exclude(row, false),
            ),
          ),
        ),
      ),
      others > 0 && h('p', { class: 'unit' }, `and ${d3.format(',')(others)} more`),
    );
  }

  document.addEventListener('keydown', (event) => {
    if (!explorer.isReviewing() || explorer.selected !== null) return;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches('input, textarea, select, [role=tab]')) return;
    if (!explorer.view.label_issues?.length) return;
    const acts = {
      a: () => judge('accept'),
      r: () => judge('reject'),
      u: () => judge(null),
      x: toggleExclude,
      ArrowLeft: () => step(-1),
      ArrowRight: () => step(1),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
})();
