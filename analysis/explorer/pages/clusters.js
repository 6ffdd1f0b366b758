'use strict';
/* global Bins, Colors, Columns, Data, Dom, Filters, Format, Picture, Plots, State, Summary,
   Thumbnail */
// The page of clusters: their exemplars, how their images differ from all others, and the saliency
// of their membership.

/** @type {Page} */
const Clusters = (() => {
  const { h } = Dom;
  const THUMB = 92; // pixels
  const FACTS = 8; // shown at first
  const SOME = 8; // images of a group without exemplars

  /** @type {Record<string, { list: 'clusters' | 'density_clusters', label: string }>} */
  const PARTITIONS = {
    cluster: { list: 'clusters', label: 'k-means: all images' },
    density_cluster: { list: 'density_clusters', label: 'HDBSCAN: dense groups only' },
  };
  const EXEMPLARS = { exemplars: 'nearest to the centroid', diverse: 'most diverse' };

  const tools = h('div.page-tools.line');
  const cards = h('div.cards');
  const note = h('p.soft'); // what is approximate
  /** @type {Node} */
  let overlay;
  /** @type {{ element: HTMLElement, rows: Int32Array }[]} */
  let counts = []; // which show how many rows pass

  /** @param {HTMLElement} container */
  function build(container) {
    overlay = Thumbnail.overlayControl();
    const text =
      'Groups of images that are close in embedding space, found without labels, and how each ' +
      'differs from all other images.';
    const head = h('header.page-head.line', h('h2', 'Clusters'), h('p.soft', text), note);
    container.append(head, tools, cards);
  }

  /** @param {Set<string>} events */
  function update(events) {
    if (events.has('view') || events.has('appearance')) draw();
    else showPassing();
  }

  function showPassing() {
    for (const { element, rows } of counts) {
      let passing = 0;
      for (const row of rows) if (Filters.mask[row] === 0) passing++;
      element.textContent =
        passing === rows.length ? '' : `${Format.count(passing)} pass the filters`;
    }
  }

  /** What was chosen, if it is known, else the first that is.
   * @param {string} key @param {string[]} known */
  function chosen(key, known) {
    const value = State.read(key);
    return value !== null && known.includes(value) ? value : known[0];
  }

  function draw() {
    const { view } = State;
    counts = [];
    note.textContent = view.notes?.clusters ?? '';
    const partitions = Object.keys(PARTITIONS).filter(
      (column) => view[PARTITIONS[column].list]?.length && view.column(column),
    );
    if (!partitions.length) {
      tools.replaceChildren();
      cards.replaceChildren(Dom.missing('clusters', view));
      return;
    }
    const groups = partitions.map((name) => [name, PARTITIONS[name].label]);
    const column = chosen('partition', partitions);
    const which = chosen('exemplars', Object.keys(EXEMPLARS));
    const hasSaliency = State.read('shared') === 'shown';
    const save = (/** @type {string} */ key) => (/** @type {string | null} */ value) => {
      State.save(key, value);
      draw();
    };
    Dom.replace(
      tools,
      Dom.select('Groups', groups, column, save('partition')),
      Dom.select('Exemplars', Object.entries(EXEMPLARS), which, save('exemplars')),
      overlay,
      Dom.check('saliency of membership: orange for, purple against', hasSaliency, (on) =>
        save('shared')(on ? 'shown' : null),
      ),
    );
    if (!view.column(column)?.isLoaded()) {
      Data.when(view, [column], () => view === State.view && draw());
      return;
    }
    const { categories = [] } = /** @type {Column} */ (view.column(column));
    const { values } = Bins.of(view, column);
    const members = Bins.members(view, column);
    cards.replaceChildren(
      ...(view[PARTITIONS[column].list] ?? []).map((cluster) => {
        const name = categories[cluster.id];
        const rows = members[values.findIndex(({ value }) => value === name)] ?? new Int32Array(0);
        const exemplars = which === 'diverse' ? cluster.diverse : cluster.exemplars;
        // Dense groups have no centroid: some of their images.
        const shown = exemplars.length ? exemplars : [...rows.subarray(0, SOME)];
        const thumbs = shown.map((row) => exemplar(view, row, hasSaliency));
        return card(view, column, cluster, rows, thumbs);
      }),
    );
    showPassing();
  }

  /** @param {View} view @param {string} column @param {Cluster} cluster
   * @param {Int32Array} rows @param {Node[]} exemplars */
  function card(view, column, cluster, rows, exemplars) {
    const { id, size, stability, heat_map: heatMap } = cluster;
    const name = view.column(column)?.categories?.[id] ?? cluster.name;
    const showOn = (/** @type {string} */ page) => () => {
      Filters.only(column, name);
      State.showPage(page);
    };
    const src = heatMap && Data.picture(view, heatMap);
    const count = h('span.muted');
    counts.push({ element: count, rows });
    const scale = Colors.scale(view, column);
    const background = rows.length ? scale.colors[scale.codes[rows[0]]] : '';
    const text = [
      `${Format.count(size)} images`,
      Format.percent(size / view.n),
      stability !== null && `stability ${stability.toFixed(2)}`,
    ].filter(Boolean);
    return h('article.card.stack.panel', [
      h('header', [
        h('h3.wrap', { dir: 'auto' }, h('span.swatch', { style: { background } }), name),
        h('p.muted', `${text.join(', ')} `, count),
      ]),
      h('div.card-pictures', [
        h('div.thumbs', exemplars),
        src &&
          h('figure', [
            h('img.heat-map', { src, alt: `mean saliency of ${name}`, width: 96, height: 96 }),
            h('figcaption.muted', 'mean of all members'),
          ]),
      ]),
      means(view, rows),
      description(view, cluster),
      h('footer.flex', [
        h('button.button.primary', { onclick: showOn('explore') }, 'Show on the map'),
        h('button.button', { onclick: showOn('samples') }, 'Show samples'),
      ]),
    ]);
  }

  /** @param {View} view @param {number} row @param {boolean} hasSaliency */
  function exemplar(view, row, hasSaliency) {
    const layer =
      hasSaliency && Picture.layersOf(view, row).find(({ id }) => id === 'saliency: cluster');
    const picture = layer
      ? Picture.make(view, row, layer, { opacity: 0.8 })
      : Thumbnail.make(row, { size: THUMB, view });
    return Thumbnail.button(view, row, picture);
  }

  /** @param {View} view @param {Int32Array} rows */
  function means(view, rows) {
    const columns = Columns.headline(view).slice(0, 4);
    return h('p.line', columns.map((column) =>
      Summary.mean(
        column,
        rows,
        `Mean ${column.label} of the cluster, and of all samples`,
      ),
    ));
  }

  /** How the images of a cluster differ from all others.
   * @param {View} view @param {Cluster} cluster */
  function description(view, cluster) {
    const rows = (cluster.description ?? []).map(({ column, kind, inside, outside, effect, q }) => {
      const format = kind === 'share' ? Format.percent : Format.short;
      const label = column.startsWith('count_')
        ? `with ${column.slice('count_'.length)}`
        : (view.column(column)?.label ?? column);
      return h('tr', [
        h('th.wrap', { scope: 'row', dir: 'auto', title: view.column(column)?.description }, label),
        h('td.number', format(inside)),
        h('td.number.muted', format(outside)),
        h('td', Plots.effectBar(effect)),
        h('td.number', Format.signed(effect)),
        h('td.number.muted', Format.probability(q)),
      ]);
    });
    if (!rows.length) return h('p.empty', 'No metadata column differs significantly (q ≤ 0.01).');
    const head = (/** @type {string} */ text, title = '') =>
      h('th.number', { scope: 'col', title }, text);
    const body = h('tbody', rows.slice(0, FACTS));
    const table = h('table.fact-table', [
      h('thead', h('tr', [
        h('th.wrap', { scope: 'col' }, 'differs in'),
        head('here', 'median, or share of the images'),
        head('others'),
        h('th'),
        head('effect', 'rank-biserial correlation, or difference of the shares'),
        head('q', 'p-value adjusted for all clusters and columns (Benjamini-Hochberg)'),
      ])),
      body,
    ]);
    const more = Dom.more(rows.length - FACTS, () => body.append(...rows.slice(FACTS)));
    return h('div', table, more);
  }

  return { id: 'clusters', title: 'Clusters', build, update };
})();
