'use strict';
// The page of findings: what the statistics say, each a click away from its samples. Sections that
// were not analysed say which command does it.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const WORST = 44; // px, of a slice's worst samples
  const MOST_Q = 0.05;
  const FEW = 10; // effective images, below which intervals are too narrow
  const MOST_CATEGORIES = 15; // shown before "more", by called class

  const METRICS = {
    loss: 'loss (nats per pixel)',
    mean_iou_foreground: 'mean IoU of the foreground',
    loss_given_size: 'loss, given how much of each class there is',
    mean_iou_foreground_given_size: 'mean IoU, given how much of each class there is',
  };

  let tabs;
  let content;

  const { percent } = explorer;
  const column = (view, name) => view.column(name)?.label ?? name.replaceAll('_', ' ');
  const note = (...texts) => h('p', { class: 'note' }, ...texts);

  // Shows the samples of a column's values from low to high.
  explorer.showRange = function (name, low, high) {
    const known = explorer.view.column(name);
    if (!known) return explorer.notify(`This view has no column ${name}.`);
    if (known.kind === 'number') {
      explorer.setFilter(name, { kind: 'range', column: name, low, high });
    } else {
      const all = known.kind === 'boolean' ? [false, true] : known.categories;
      const values = all.filter((_, code) => code >= low && code <= high);
      explorer.setFilter(name, { kind: 'set', column: name, values });
    }
    return explorer.showPage('explore');
  };

  function showCategory(category) {
    const name = `count_${category}`;
    const most = d3.max(explorer.view.column(name)?.values ?? [1]);
    return explorer.showRange(name, 1, most);
  }

  function showSlice(text) {
    const name = `slice: ${text}`;
    if (!explorer.view.column(name)) return explorer.notify(`This view has no column “${name}”.`);
    explorer.setFilter(name, { kind: 'set', column: name, values: [true] });
    return explorer.showPage('explore');
  }

  // ---------------------------------------------------------------- slices

  function slices(view) {
    const found = Object.entries(view.slices).filter(([, result]) => result.slices.length);
    if (!found.length)
      return [note('No slice was confirmed in the half that was kept for testing.')];
    return [
      note(
        'Conditions under which the network does worse than elsewhere, searched for in one half ' +
          'of the images and confirmed in the other; in at most 5 % of data sets in which nothing ' +
          'matters is any reported. A click shows the samples.',
      ),
      ...found.map(([metric, result]) =>
        h(
          'section',
          {},
          h('h3', {}, METRICS[metric] ?? metric),
          explorer.intervalTable(
            result.slices,
            [
              {
                head: 'where',
                cell: (slice) => h('span', { class: 'condition', dir: 'auto' }, slice.text),
              },
              { head: 'worst', cell: (slice) => worst(view, slice) },
              { head: 'images', number: true, cell: (slice) => d3.format(',')(slice.size) },
              { head: 'there', number: true, cell: (slice) => explorer.short(slice.mean) },
              {
                head: 'elsewhere',
                number: true,
                cell: (slice) => explorer.short(slice.mean_elsewhere),
              },
              {
                head: 'p',
                number: true,
                title: 'permutation test, adjusted for all slices tested (max-T)',
                cell: (slice) => explorer.probability(slice.p),
              },
            ],
            {
              head: 'worse by, 95 % interval',
              value: (slice) => slice.excess,
              interval: (slice) => slice.interval,
              reference: 0,
            },
            {
              label: (slice) => `Show the ${slice.size} samples where ${slice.text}`,
              act: (slice) => showSlice(slice.text),
            },
          ),
        ),
      ),
    ];
  }

  function worst(view, slice) {
    return h(
      'span',
      { class: 'thumbs' },
      (slice.worst ?? [])
        .filter((row) => row >= 0)
        .map((row) =>
          h(
            'button',
            {
              type: 'button',
              class: 'thumb',
              'aria-label': `Open ${view.format('file_name', row)}`,
              onclick: (event) => {
                event.stopPropagation();
                explorer.openSample(row);
              },
            },
            explorer.thumbnail(row, { size: WORST, view }),
          ),
        ),
    );
  }

  // ---------------------------------------------------------------- associations

  function associations(view) {
    const { associations: all, num_tests: tests, significant } = view.associations;
    const metrics = [...new Set(all.map((row) => row.metric))];
    const wanted = explorer.readState('metric');
    const metric = metrics.includes(wanted) ? wanted : metrics[0];
    const every = explorer.readState('insignificant') === 'shown';
    const rows = all
      .filter(
        (row) => row.metric === metric && (every || row.q <= MOST_Q || row.partial_q <= MOST_Q),
      )
      .sort((a, b) => Math.abs(b.rho) - Math.abs(a.rho));
    const curve = h('div', { class: 'curve-place', 'aria-live': 'polite' });
    const table = explorer.intervalTable(
      rows,
      [
        {
          head: 'column',
          cell: (row) =>
            h(
              'span',
              { dir: 'auto', title: view.column(row.column)?.description },
              column(view, row.column),
            ),
        },
        { head: 'mean in bins', cell: (row) => explorer.sparkline(row.bins) },
        { head: 'images', number: true, cell: (row) => d3.format(',')(row.n) },
        {
          head: 'q',
          number: true,
          title: 'p-value corrected for all tests (Benjamini-Hochberg)',
          cell: (row) => explorer.probability(row.q),
        },
        {
          head: 'ρ given size',
          number: true,
          title:
            'rank correlation given how much of the picture ' +
            'the class, or the background, covers',
          cell: (row) => (row.partial_rho === null ? '–' : explorer.signed(row.partial_rho)),
        },
        { head: 'q', number: true, cell: (row) => explorer.probability(row.partial_q) },
      ],
      {
        head: 'rank correlation ρ, 95 % interval',
        value: (row) => row.rho,
        interval: (row) => row.interval,
        reference: 0,
        faint: (row) => !(row.q <= MOST_Q),
      },
      {
        label: (row) => `Show the curve of ${metric} over ${row.column}`,
        act: (row) => {
          explorer.saveState('column', row.column);
          drawCurve();
        },
      },
    );
    function drawCurve() {
      const name = explorer.readState('column');
      const row = rows.find((one) => one.column === name) ?? rows[0];
      if (!row) return curve.replaceChildren();
      const lines = table.querySelectorAll('tbody tr');
      rows.forEach((one, index) => lines[index].classList.toggle('chosen', one === row));
      const size =
        row.partial_rho === null
          ? ''
          : ` Given ${column(view, row.confounder)}: ρ ` +
            `${explorer.signed(row.partial_rho)} ${explorer.interval(
              row.partial_interval,
              explorer.signed,
            )}, q ${explorer.probability(row.partial_q)}.`;
      return curve.replaceChildren(
        h('h3', {}, `${column(view, metric)} over ${column(view, row.column)}`),
        explorer.binnedCurve(row.bins, {
          column: column(view, row.column),
          metric: column(view, metric),
          act: (bin) => explorer.showRange(row.column, bin.low, bin.high),
        }),
        note(
          `ρ ${explorer.signed(row.rho)} ${explorer.interval(row.interval, explorer.signed)}, q ` +
            `${explorer.probability(row.q)}, ${d3.format(',')(row.n)} images.${size} From the first ` +
            `bin to the last ${explorer.signed(row.difference)} (${explorer.signed(row.effect)} ` +
            'standard deviations). A click on a bin shows its samples.',
        ),
      );
    }
    drawCurve();
    const tools = h(
      'div',
      { class: 'page-tools' },
      explorer.select(
        'Metric',
        metrics.map((name) => [name, column(view, name)]),
        metric,
        (value) => {
          explorer.saveState('metric', value);
          draw();
        },
      ),
      h(
        'label',
        { class: 'check' },
        h('input', {
          type: 'checkbox',
          checked: every,
          onchange: (event) => {
            explorer.saveState('insignificant', event.target.checked ? 'shown' : null);
            draw();
          },
        }),
        'also those that may be chance',
      ),
    );
    return [
      note(`${significant} of ${tests} tests are significant at a false-discovery rate of 5 %.`),
      tools,
      h('div', { class: 'two-columns' }, table, curve),
    ];
  }

  function grayscale(view) {
    return [
      note(
        'The network also saw a desaturated copy of each photograph that is not gray: what ' +
          'losing colour alone does to it.',
      ),
      explorer.intervalTable(
        view.grayscale_copies,
        [
          { head: 'metric', cell: (row) => column(view, row.metric) },
          { head: 'images', number: true, cell: (row) => d3.format(',')(row.n) },
          { head: 'in colour', number: true, cell: (row) => explorer.short(row.colour) },
          { head: 'gray', number: true, cell: (row) => explorer.short(row.gray) },
          { head: 'got worse', number: true, cell: (row) => percent(row.worse) },
          { head: 'q', number: true, cell: (row) => explorer.probability(row.q) },
        ],
        {
          head: 'gray minus colour, 95 % interval',
          value: (row) => row.difference,
          interval: (row) => row.interval,
          reference: 0,
          faint: (row) => !(row.q <= MOST_Q),
        },
      ),
    ];
  }

  // ---------------------------------------------------------------- confusion

  function confusion(view) {
    const { base, rows } = view.confusion;
    return [
      note(
        'What the pixels of other true categories are taken for, where the category is ' +
          `completely annotated. Faint: fewer than ${FEW} effective images, so that the interval ` +
          'is too narrow. ' +
          'Dashed: how often background without any annotation is called so. A click shows the ' +
          'images with the category.',
      ),
      ...Object.entries(base).map(([called, { share, interval }]) => {
        const mine = rows.filter((row) => row.called === called && row.share !== null);
        if (!mine.length) return null;
        const table = (shown) =>
          explorer.intervalTable(
            shown,
            [
              { head: 'category', cell: (row) => h('span', { dir: 'auto' }, row.category) },
              { head: 'labelled', cell: (row) => row.label },
              {
                head: 'images (effective)',
                number: true,
                cell: (row) => `${row.images} (${explorer.short(row.effective_images)})`,
              },
              { head: 'instances', number: true, cell: (row) => d3.format(',')(row.instances) },
              {
                head: 'called so',
                number: true,
                title: 'share of the instances, by most of their pixels',
                cell: (row) => percent(row.instance_share),
              },
              {
                head: 'of all errors',
                number: true,
                title: 'share of all pixels wrongly called so',
                cell: (row) => percent(row.wrong_share),
              },
            ],
            {
              head: `pixels called ${called}, 95 % interval`,
              value: (row) => row.share,
              interval: (row) => row.interval,
              reference: share,
              format: (share) => `${Math.round(100 * share)} %`,
              faint: (row) => row.effective_images < FEW,
            },
            {
              label: (row) => `Show the images with ${row.category}`,
              act: (row) => showCategory(row.category),
            },
          );
        const place = h('div', {}, table(mine.slice(0, MOST_CATEGORIES)));
        const more =
          mine.length > MOST_CATEGORIES &&
          h(
            'button',
            {
              type: 'button',
              class: 'link',
              onclick: (event) => {
                place.replaceChildren(table(mine));
                event.target.remove();
              },
            },
            `${mine.length - MOST_CATEGORIES} more`,
          );
        return h(
          'section',
          {},
          h('h3', {}, `Called ${called}`),
          note(
            `${percent(share)} ${explorer.interval(interval, percent)} of the background without ` +
              'any annotation is called so.',
          ),
          place,
          more,
        );
      }),
    ];
  }

  // ---------------------------------------------------------------- heat-maps

  // Maps that know nothing of the network, or only its answer.
  const BASELINES = ['random', 'centre', 'edges', 'prediction'];
  const CURVES = {
    deletion: 'left when the highest places are blurred first (lower is better)',
    insertion: 'there when they are uncovered first (higher is better)',
  };

  function heatMaps(view) {
    const kinds = { class: 'the class', cluster: 'the membership of the cluster' };
    return [
      note(
        'Whether heat-maps show what the network goes by: how much of its score is left, or ' +
          'there again, on average, while their places are blurred or uncovered one after the ' +
          'other. Faint: maps that know nothing of the network, or only its answer. One that is ' +
          'no better than they are is not to be believed.',
      ),
      ...Object.entries(kinds)
        .filter(([kind]) => view.saliency[kind])
        .map(([kind, name]) => {
          const { images, methods } = view.saliency[kind];
          return h(
            'section',
            {},
            h('h3', {}, `Heat-maps for ${name}, on ${images} images`),
            h(
              'div',
              { class: 'halves' },
              Object.entries(CURVES).map(([curve, meaning]) =>
                h(
                  'div',
                  {},
                  h('h4', {}, meaning),
                  explorer.intervalTable(
                    Object.entries(methods),
                    [
                      { head: 'map', cell: ([method]) => method },
                      {
                        head: 'area',
                        number: true,
                        cell: (row) => explorer.short(row[1][curve].area.mean),
                      },
                    ],
                    {
                      head: 'mean, 95 % interval',
                      value: (row) => row[1][curve].area.mean,
                      interval: (row) => row[1][curve].area.interval,
                      faint: ([method]) => BASELINES.includes(method),
                    },
                  ),
                ),
              ),
            ),
          );
        }),
    ];
  }

  // ---------------------------------------------------------------- page

  const sum = (metrics) => d3.sum(Object.values(metrics), (result) => result.slices.length);

  // there(view): what the section is about, or undefined if it was not analysed; count of it.
  const SECTIONS = {
    issues: {
      title: 'Label issues',
      there: (view) => view.label_issues,
      command: 'label_issues',
      count: (view) => view.label_issues_total ?? view.label_issues.length,
      draw: (view) => explorer.drawReview(view),
    },
    slices: {
      title: 'Slices',
      there: (view) => view.slices,
      command: 'slices',
      draw: slices,
      count: (view) => sum(view.slices),
    },
    associations: {
      title: 'Associations',
      there: (view) => view.associations?.associations,
      command: 'associations',
      draw: associations,
      count: (view) => view.associations.significant,
    },
    confusion: {
      title: 'Confusion',
      there: (view) => view.confusion?.rows,
      command: 'confusion',
      draw: confusion,
    },
    grayscale: {
      title: 'Without colour',
      there: (view) => view.grayscale_copies,
      command: 'associations',
      draw: grayscale,
    },
    heatmaps: {
      title: 'Heat-maps',
      there: (view) => view.saliency,
      command: 'saliency',
      draw: heatMaps,
    },
  };

  const chosen = () => {
    const section = explorer.readState('finding');
    return Object.hasOwn(SECTIONS, section) ? section : 'issues';
  };

  function build(container) {
    tabs = h('div', { class: 'segments', role: 'radiogroup', 'aria-label': 'Findings' });
    content = h('div', { class: 'findings-content' });
    container.append(h('header', { class: 'page-head' }, h('h2', {}, 'Findings'), tabs), content);
    tabs.append(
      ...Object.keys(SECTIONS).map((key) =>
        h('button', {
          type: 'button',
          role: 'radio',
          'data-section': key,
          onclick: () => {
            explorer.saveState('finding', key);
            draw();
          },
        }),
      ),
    );
  }

  function draw() {
    const { view } = explorer;
    const key = chosen();
    for (const tab of tabs.children) {
      const { title, there, count } = SECTIONS[tab.dataset.section];
      tab.setAttribute('aria-checked', String(tab.dataset.section === key));
      tab.replaceChildren(
        title,
        there(view) && count ? h('span', { class: 'unit' }, d3.format(',')(count(view))) : '',
      );
    }
    const section = SECTIONS[key];
    if (section.there(view)) {
      // Who goes through issues by keyboard stays on the button that was pressed.
      const { key: button } = document.activeElement?.dataset ?? {};
      content.replaceChildren(...[section.draw(view)].flat().filter(Boolean));
      if (button) content.querySelector(`[data-key="${button}"]`)?.focus();
    } else {
      content.replaceChildren(
        h(
          'p',
          { class: 'empty' },
          view.loaded
            ? `This was not analysed: python -m analysis.${section.command} does it.`
            : 'Being loaded …',
        ),
      );
    }
  }

  function update(events) {
    if (events.has('view') || events.has('appearance')) draw();
    else if (events.has('decisions') && chosen() === 'issues') draw();
  }

  // Whether label issues are gone through now.
  explorer.isReviewing = () => explorer.page === 'findings' && chosen() === 'issues';

  explorer.addPage({ id: 'findings', title: 'Findings', build, update });
})();
