'use strict';
// The page of clusters: for each its exemplars, in what its images differ from all others, and
// where the network sees what they share.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const THUMB = 92; // px
  const FACTS = 8; // shown before "more"
  const SOME = 8; // images of a group without exemplars

  const PARTITIONS = {
    cluster: { list: 'clusters', label: 'k-means: every image' },
    density_cluster: { list: 'density_clusters', label: 'HDBSCAN: dense groups only' },
  };
  const EXEMPLARS = { exemplars: 'nearest to the centre', diverse: 'as different as possible' };
  const SHARED = 'saliency: cluster';

  let tools;
  let overlay;
  let cards;
  let counts = []; // [element, rows of the cluster], to be told how many pass

  // What was chosen, if it is among what is known, else the first of that.
  function state(key, known) {
    const chosen = explorer.readState(key);
    return Object.hasOwn(known, chosen) ? chosen : Object.keys(known)[0];
  }

  function build(container) {
    tools = h('div', { class: 'page-tools' });
    overlay = explorer.overlayControl();
    cards = h('div', { class: 'cards' });
    container.append(
      h(
        'header',
        { class: 'page-head' },
        h('h2', {}, 'Clusters'),
        h(
          'p',
          {},
          'Images to which the network responds alike, grouped without labels, and how each ' +
            'group differs from all other images.',
        ),
      ),
      tools,
      cards,
    );
  }

  function update(events) {
    const { view } = explorer;
    if (events.has('view') || events.has('appearance')) draw(view);
    else tellPassing();
  }

  function tellPassing() {
    for (const [count, rows] of counts) {
      const passing = rows.reduce((sum, row) => sum + (explorer.mask[row] === 0), 0);
      count.textContent =
        passing === rows.length ? '' : `${d3.format(',')(passing)} pass the filters`;
    }
  }

  function draw(view) {
    counts = [];
    const partitions = Object.fromEntries(
      Object.entries(PARTITIONS).filter(
        ([column, { list }]) => view[list]?.length && view.column(column),
      ),
    );
    if (!Object.keys(partitions).length) {
      tools.replaceChildren();
      const loading = view.pieces?.length && !view.loaded;
      cards.replaceChildren(
        h(
          'p',
          { class: 'empty' },
          loading
            ? 'Being loaded …'
            : 'There are no clusters: python -m analysis.clusters makes them.',
        ),
      );
      return;
    }
    const column = state('partition', partitions);
    const chosen = state('exemplars', EXEMPLARS);
    const shared = explorer.readState('shared') === 'shown';
    const remember = (key) => (value) => {
      explorer.saveState(key, value);
      draw(view);
    };
    const options = (known, label) =>
      Object.entries(known).map(([key, value]) => [key, label ? value[label] : value]);
    tools.replaceChildren(
      explorer.select('Groups', options(partitions, 'label'), column, remember('partition')),
      explorer.select('Exemplars', options(EXEMPLARS), chosen, remember('exemplars')),
      overlay,
      h(
        'label',
        { class: 'check' },
        h('input', {
          type: 'checkbox',
          checked: shared,
          onchange: (event) => remember('shared')(event.target.checked ? 'shown' : null),
        }),
        'what they share: orange speaks for the cluster, purple against it',
      ),
    );
    const codes = view.values(column);
    const members = d3.rollup(
      d3.range(view.n),
      (rows) => rows,
      (row) => codes[row],
    );
    cards.replaceChildren(
      ...view[partitions[column].list].map((cluster) =>
        card(view, column, cluster, members.get(cluster.id) ?? [], cluster[chosen], shared),
      ),
    );
    tellPassing();
  }

  function card(view, column, cluster, rows, exemplars, shared) {
    // Dense groups have no centre: some of their images.
    const shown = exemplars.length ? exemplars : rows.slice(0, SOME);
    const name = view.column(column).categories[cluster.id] ?? cluster.name;
    const only = (page) => {
      explorer.setFilter(column, { kind: 'set', column, values: [name] });
      explorer.showPage(page);
    };
    const count = h('span', { class: 'unit' });
    counts.push([count, rows]);
    const spot = h('span', { class: 'swatch' });
    const scale = explorer.colorScale(view, column);
    if (rows.length) spot.style.background = scale.colors[scale.code(rows[0])];
    const stability = Number.isFinite(cluster.stability)
      ? `, stability ${cluster.stability.toFixed(2)}`
      : '';
    return h(
      'article',
      { class: 'card' },
      h(
        'header',
        {},
        h('h3', { dir: 'auto' }, spot, name),
        h(
          'p',
          { class: 'unit' },
          `${d3.format(',')(cluster.size)} images, ` +
            `${explorer.percent(cluster.size / view.n)}${stability} `,
          count,
        ),
      ),
      h(
        'div',
        { class: 'card-pictures' },
        h(
          'div',
          { class: 'thumbs' },
          shown.map((row) => exemplar(view, row, shared)),
        ),
        cluster.heat_map &&
          h(
            'figure',
            { class: 'heat-map' },
            h('img', {
              src: explorer.picture(view, cluster.heat_map),
              alt: `where in the picture the images of ${name} have what they share`,
            }),
            h('figcaption', {}, 'mean of all members'),
          ),
      ),
      means(view, rows),
      description(view, cluster),
      h(
        'footer',
        {},
        h(
          'button',
          { type: 'button', class: 'button primary', onclick: () => only('explore') },
          'Show on the map',
        ),
        h(
          'button',
          { type: 'button', class: 'button', onclick: () => only('samples') },
          'Show samples',
        ),
      ),
    );
  }

  // With what the members share where it was drawn, else a thumbnail.
  function exemplar(view, row, shared) {
    const layer = shared && explorer.layersOf(view, row).find(({ id }) => id === SHARED);
    const picture = layer
      ? explorer.stage(view, row, layer, { opacity: 0.8 })
      : explorer.thumbnail(row, { size: THUMB, view });
    const fileName = view.format('file_name', row);
    return h(
      'button',
      {
        type: 'button',
        class: 'thumb',
        title: fileName,
        'aria-label': `Open ${fileName}`,
        onclick: () => explorer.openSample(row),
      },
      picture,
    );
  }

  function means(view, rows) {
    const inside = new Set(rows);
    return h(
      'p',
      { class: 'card-means' },
      explorer
        .headlineColumns(view)
        .slice(0, 4)
        .map((name) => {
          const column = view.column(name);
          column.cache.mean ??= explorer.meanOf(column.values, () => true);
          const own = explorer.meanOf(column.values, (row) => inside.has(row));
          return h(
            'span',
            { class: 'stat', title: `mean ${column.label} of the cluster, and of all` },
            h('span', { class: 'stat-name' }, column.label),
            h('b', {}, explorer.format(column, own)),
            h('span', { class: 'stat-all' }, explorer.format(column, column.cache.mean)),
          );
        }),
    );
  }

  function description(view, cluster) {
    const rows = (cluster.description ?? []).map((fact) => {
      const share = fact.kind === 'share';
      const format = share ? explorer.percent : explorer.short;
      const column = view.column(fact.column);
      const label = fact.column.startsWith('count_')
        ? `with ${fact.column.slice('count_'.length)}`
        : (column?.label ?? fact.column);
      return h(
        'tr',
        {},
        h('th', { scope: 'row', dir: 'auto', title: column?.description }, label),
        h('td', { class: 'number' }, format(fact.inside)),
        h('td', { class: 'number unit' }, format(fact.outside)),
        h('td', {}, explorer.effectBar(fact.effect)),
        h('td', { class: 'number' }, explorer.signed(fact.effect)),
        h('td', { class: 'number unit' }, explorer.probability(fact.q)),
      );
    });
    if (!rows.length) {
      return h('p', { class: 'empty' }, 'No column of the metadata sets it apart (q ≤ 0.01).');
    }
    const head = (text, title) => h('th', { scope: 'col', class: 'number', title }, text);
    const table = h(
      'table',
      { class: 'fact-table' },
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          h('th', { scope: 'col' }, 'differs in'),
          head('here', 'median, or share of the images'),
          head('others'),
          h('th', {}),
          head('effect', 'rank-biserial correlation, or difference of the shares'),
          head('q', 'p-value corrected over all clusters and columns (Benjamini-Hochberg)'),
        ),
      ),
      h('tbody', {}, rows.slice(0, FACTS)),
    );
    const more =
      rows.length > FACTS &&
      h(
        'button',
        {
          type: 'button',
          class: 'link',
          onclick: (event) => {
            table.tBodies[0].append(...rows.slice(FACTS));
            event.target.remove();
          },
        },
        `${rows.length - FACTS} more`,
      );
    return h('div', {}, table, more);
  }

  explorer.addPage({ id: 'clusters', title: 'Clusters', build, update });
})();
