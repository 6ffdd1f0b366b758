'use strict';
// The page of two models on the same images: both maps with linked selection, where their scores
// differ, and how alike what they represent is. Differences are always the other minus this one.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const SIDES = ['this', 'other'];
  const METRICS = { iou: 'IoU over the set', image_iou: 'IoU per image' };
  const MOST_METADATA = 12;
  // Ids of filters: a polygon on the map of the shown view, as on the first page, or rows.
  const [LASSO, ROWS] = ['map', 'rows'];

  let pair = null; // {name, views: {this, other}, rows: {this, other}, result}
  let maps = {};
  let legends = {};
  let parts = null;
  let wanted = null; // name of the comparison that is being loaded

  const other = (side) => (side === 'this' ? 'other' : 'this');

  function build(container) {
    parts = {
      tools: h('div', { class: 'page-tools' }),
      maps: h('div', { class: 'map-pair' }),
      results: h('div', { class: 'findings-content' }),
    };
    container.append(
      h('header', { class: 'page-head' }, h('h2', {}, 'Two models'), parts.tools),
      parts.maps,
      parts.results,
    );
  }

  function update(events) {
    const { compare } = explorer.manifest;
    const name = explorer.readState('compare');
    const entry = compare.find((one) => one.name === name) ?? compare[0];
    if (pair?.name !== entry.name) {
      if (wanted !== entry.name) open(entry).catch(explorer.fail);
      return;
    }
    const redraw = ['view', 'appearance', 'page'].some((event) => events.has(event));
    if (redraw) drawTools();
    for (const side of SIDES) {
      if (redraw) maps[side].draw();
      else if (events.has('filters')) maps[side].drawDots();
      else maps[side].drawMarks();
    }
  }

  async function open(entry) {
    wanted = entry.name;
    parts.results.replaceChildren(h('p', { class: 'empty' }, 'Being loaded …'));
    const [result, ...views] = await Promise.all([
      explorer.need(`compare/${entry.name}`, `data/${entry.file}`),
      ...SIDES.map((side) => explorer.load(entry[side])),
    ]);
    if (wanted !== entry.name) return;
    pair = { name: entry.name, result, views: Object.fromEntries(d3.zip(SIDES, views)), rows: {} };
    const [mine, theirs] = SIDES.map((side) => explorer.decode(result.rows[side]));
    pair.rows = { this: partners('this', mine, theirs), other: partners('other', theirs, mine) };
    for (const side of SIDES) lendColumns(side);
    drawMaps();
    drawTools();
    parts.results.replaceChildren(...results(result).flat().filter(Boolean));
  }

  // The row of the same image in the other model's view, for each row of a side; -1 if it has none.
  function partners(side, rows, others) {
    const partner = new Int32Array(pair.views[side].n).fill(-1);
    rows.forEach((row, index) => (partner[row] = others[index]));
    return partner;
  }

  // Photographs are the same, so what one label space says of them can colour the other's map too.
  function lendColumns(side) {
    const view = pair.views[side];
    const lender = pair.views[other(side)];
    for (const column of lender.columns) {
      if (column.role !== 'metadata' || column.kind !== 'number' || view.column(column.name))
        continue;
      const values = Float32Array.from(pair.rows[side], (row) =>
        row < 0 ? NaN : column.values[row],
      );
      const { name, role, kind, unit } = column;
      view.addColumn({
        name,
        role,
        kind,
        unit,
        values,
        description: `${column.description ?? ''} (classes of ${lender.run_name ?? lender.name})`,
      });
    }
  }

  // ---------------------------------------------------------------- maps

  // The side that the explorer's filters are about, or null if it shows a third view.
  const shownSide = () => SIDES.find((side) => pair.views[side] === explorer.view) ?? null;

  // A row of the explorer's view as a row of a side; null if there is none.
  function rowOn(side, row) {
    const shown = shownSide();
    if (row === null || shown === null) return null;
    const found = shown === side ? row : pair.rows[shown][row];
    return found < 0 ? null : found;
  }

  // A row of a side as a row of the explorer's view; null if there is none.
  function rowShown(side, row) {
    const shown = shownSide();
    if (row === null || shown === null) return null;
    const found = shown === side ? row : pair.rows[side][row];
    return found < 0 ? null : found;
  }

  // Which rows of a side pass: images that only one model has pass if there is no filter.
  function maskOf(side) {
    const shown = shownSide();
    if (shown === null || !explorer.filters.size) return null;
    if (shown === side) return explorer.mask;
    return Uint32Array.from(pair.rows[side], (row) => (row < 0 ? 1 : explorer.mask[row]));
  }

  async function openRow(side, row) {
    const shown = rowShown(side, row);
    if (shown !== null) return explorer.openSample(shown);
    await explorer.showView(pair.views[side].name);
    return explorer.openSample(row);
  }

  // On the map of the explorer's view a lasso is itself a filter; on the other its images are.
  async function lasso(side, polygon) {
    for (const id of [LASSO, ROWS]) explorer.removeFilter(id);
    if (!polygon) return null;
    if (shownSide() === null) await explorer.showView(pair.views[side].name);
    if (shownSide() === side) return explorer.setFilter(LASSO, polygon);
    const position = explorer.projection(pair.views[side], polygon.turn);
    const rows = Array.from(pair.rows[side], (shown, row) =>
      shown >= 0 && d3.polygonContains(polygon.points, position(row)) ? shown : -1,
    );
    const label = `lasso on the map of ${title(side)}`;
    return explorer.setFilter(ROWS, { kind: 'rows', rows: rows.filter((row) => row >= 0), label });
  }

  const title = (side) => pair.views[side].run_name ?? pair.views[side].name;

  function drawMaps() {
    maps = {};
    const figures = SIDES.map((side) => {
      const view = pair.views[side];
      const place = h('div', { class: 'map-place' });
      legends[side] = h('div', { class: 'legend' });
      maps[side] = explorer.createMap(place, {
        label: `Map of ${title(side)}`,
        view: () => view,
        mask: () => maskOf(side),
        hovered: () => rowOn(side, explorer.hovered),
        selected: () => rowOn(side, explorer.selected),
        onHover: (row) => explorer.hoverSample(rowShown(side, row)),
        onOpen: (row) => openRow(side, row),
        onLasso: (polygon) => lasso(side, polygon),
        polygon: () => (shownSide() === side ? (explorer.filters.get(LASSO) ?? null) : null),
        onName: (column, value) => chooseGroup(side, column, value),
      });
      place.append(legends[side]);
      const result = pair.result[side];
      return h(
        'figure',
        { class: 'model-map' },
        h(
          'figcaption',
          {},
          h('strong', { dir: 'auto' }, title(side)),
          h(
            'span',
            { class: 'unit', dir: 'auto' },
            `${side === 'this' ? 'this one' : 'the other'}, step ` +
              `${view.step}: ${result.class_names.slice(1).join(', ')}`,
          ),
        ),
        place,
      );
    });
    parts.maps.replaceChildren(...figures);
    for (const side of SIDES) maps[side].draw();
  }

  // The images of a group on one map, shown on both.
  async function chooseGroup(side, name, value) {
    const view = pair.views[side];
    if (shownSide() === null) await explorer.showView(view.name);
    const rows = d3
      .range(view.n)
      .filter((row) => view.value(name, row) === value)
      .map((row) => rowShown(side, row))
      .filter((row) => row !== null);
    explorer.setFilter(ROWS, { kind: 'rows', rows, label: `${value} (${title(side)})` });
  }

  // Names of groups stand on the maps themselves.
  function drawLegends() {
    for (const side of SIDES) {
      const view = pair.views[side];
      const numbers = view.column(explorer.appearance.color)?.kind === 'number';
      legends[side].hidden = !numbers;
      if (numbers) explorer.drawLegend(legends[side], view, explorer.appearance.color);
    }
  }

  function drawTools() {
    drawLegends();
    const { compare } = explorer.manifest;
    const [first, second] = SIDES.map((side) => pair.views[side]);
    const both = (column) => second.column(column.name) && column.kind !== 'text';
    const { color, size } = explorer.appearance;
    const options = explorer.columnOptions(first, both);
    parts.tools.replaceChildren(
      ...[
        compare.length > 1 &&
          explorer.select(
            'Compare',
            compare.map(({ name }) => [name, name]),
            pair.name,
            (name) => {
              explorer.saveState('compare', name);
              explorer.emit('page');
            },
          ),
        explorer.select('Colour', options, color, (name) =>
          explorer.setAppearance({ color: name }),
        ),
        explorer.select('Size', [['', 'all the same'], ...options], size ?? '', (name) =>
          explorer.setAppearance({ size: name || null }),
        ),
        h(
          'span',
          { class: 'unit' },
          `${d3.format(',')(pair.result.num_images)} common images; what is ` +
            'selected on one map is selected on both',
        ),
      ].filter(Boolean),
    );
  }

  // ---------------------------------------------------------------- results

  const note = (text) => h('p', { class: 'note' }, text);
  const numbers = (head, cell, explanation) => ({ head, number: true, cell, title: explanation });
  const difference = {
    head: 'other minus this, 95 % interval',
    value: (row) => row.difference,
    interval: (row) => row.interval ?? row.difference_interval,
    reference: 0,
  };
  const labelsOf = (target) => pair.result[target].class_names.slice(1).join(', ');

  function results(result) {
    return [
      h(
        'section',
        {},
        h('h3', {}, 'Scores'),
        d3
          .groups(result.scores, (row) => row.target)
          .map(([target, rows]) => [
            note(
              `Against the labels ${labelsOf(target)}. Intervals are over images, for these two ` +
                'trainings; what another seed would give is not in them.',
            ),
            explorer.intervalTable(
              rows,
              [
                { head: 'score', cell: (row) => METRICS[row.metric] ?? row.metric },
                { head: 'class', cell: (row) => h('span', { dir: 'auto' }, row.class) },
                numbers('this', (row) => explorer.short(row.this)),
                numbers('other', (row) => explorer.short(row.other)),
                numbers('p', (row) => explorer.probability(row.p)),
                numbers(
                  'could be found',
                  (row) => explorer.short(row.minimum_detectable),
                  'smallest difference that would be found in 80 % of such comparisons',
                ),
              ],
              difference,
            ),
          ])
          .flat(),
      ),
      slices(result.slices ?? []),
      metadata(result.metadata ?? []),
      representation(result),
    ];
  }

  function slices(rows) {
    if (!rows.length) return null;
    const table = (metric, name) => [
      h('h4', {}, name),
      explorer.intervalTable(
        rows.filter((row) => Number.isFinite(row[metric]?.difference)),
        [
          {
            head: 'slice',
            cell: (row) => h('span', { class: 'condition', dir: 'auto' }, row.text),
          },
          numbers('images', (row) => d3.format(',')(row.n)),
          numbers('this', (row) => explorer.short(row[metric].this)),
          numbers('other', (row) => explorer.short(row[metric].other)),
        ],
        {
          ...difference,
          value: (row) => row[metric].difference,
          interval: (row) => row[metric].interval,
        },
        { label: (row) => `Show the samples: ${row.text}`, act: (row) => showSlice(row.text) },
      ),
    ];
    return h(
      'section',
      {},
      h('h3', {}, 'In the slices of this model'),
      h(
        'div',
        { class: 'halves' },
        h('div', {}, table('iou', 'mean IoU of the foreground')),
        h('div', {}, table('loss', 'loss')),
      ),
    );
  }

  // Slices are columns of this model's view; without one, all images.
  async function showSlice(text) {
    if (explorer.view !== pair.views.this) await explorer.showView(pair.views.this.name);
    const name = `slice: ${text}`;
    if (explorer.view.column(name)) {
      explorer.setFilter(name, { kind: 'set', column: name, values: [true] });
    } else explorer.clearFilters();
    parts.maps.scrollIntoView({ block: 'start' });
  }

  function metadata(rows) {
    const found = rows.filter((row) => row.q <= 0.05).slice(0, MOST_METADATA);
    return h(
      'section',
      {},
      h('h3', {}, 'With which metadata the difference goes'),
      found.length
        ? explorer.intervalTable(
            found,
            [
              {
                head: 'column',
                cell: (row) => pair.views.this.column(row.column)?.label ?? row.column,
              },
              { head: 'what', cell: (row) => row.metric.replace('iou', 'IoU') },
              { head: 'mean in bins', cell: (row) => explorer.sparkline(row.bins) },
              numbers('images', (row) => d3.format(',')(row.n)),
              numbers('q', (row) => explorer.probability(row.q)),
            ],
            {
              head: 'rank correlation ρ, 95 % interval',
              value: (row) => row.rho,
              interval: (row) => row.interval,
              reference: 0,
            },
          )
        : note('With none, at a false-discovery rate of 5 %.'),
    );
  }

  function representation(result) {
    const { neighbours, layers, separation } = result;
    const sections = [];
    const alike = h('div', { class: 'halves' });
    if (neighbours) {
      alike.append(
        h(
          'section',
          {},
          h('h3', {}, 'Neighbourhoods'),
          explorer.intervalTable(
            [
              {
                name: `of the ${neighbours.k} nearest the same`,
                value: neighbours.overlap,
                interval: neighbours.overlap_interval,
              },
              {
                name: 'Jaccard index',
                value: neighbours.jaccard,
                interval: neighbours.jaccard_interval,
              },
            ],
            [
              { head: 'in the embeddings', cell: (row) => row.name },
              numbers('', (row) => explorer.short(row.value)),
            ],
            {
              head: 'share, 95 % interval (dashed: by chance)',
              value: (row) => row.value,
              interval: (row) => row.interval,
              reference: neighbours.chance,
            },
          ),
        ),
      );
    }
    if (layers?.length) {
      alike.append(
        h(
          'section',
          {},
          h('h3', {}, 'Layers'),
          h(
            'div',
            { class: 'curve-place' },
            h(
              'p',
              { class: 'layer-legend' },
              h(
                'span',
                { class: 'key layer-cka' },
                'CKA, 1: the same ' + 'up to rotation and scale',
              ),
              h(
                'span',
                { class: 'key layer-overlap' },
                'share of the nearest images that are the same',
              ),
            ),
            explorer.layerCurves(layers),
          ),
        ),
      );
    }
    if (alike.children.length) sections.push(alike);
    if (separation?.length) {
      sections.push(
        h(
          'section',
          {},
          h('h3', {}, 'How well the classes are told apart'),
          note(
            'Images full of the first class against images full of the second: AUROC of a linear ' +
              'probe and of the nearest neighbours, and the silhouette.',
          ),
          explorer.intervalTable(
            separation,
            [
              { head: 'labels', cell: (row) => h('span', { dir: 'auto' }, labelsOf(row.target)) },
              { head: 'in', cell: (row) => row.space },
              { head: 'by', cell: (row) => row.method },
              numbers('images', (row) => `${row.first} and ${row.second}`),
              numbers('this', (row) => explorer.short(row.this)),
              numbers('other', (row) => explorer.short(row.other)),
            ],
            difference,
          ),
        ),
      );
    }
    return sections;
  }

  explorer.addPage({
    id: 'models',
    title: 'Two models',
    build,
    update,
    shown: () => explorer.manifest.compare?.length > 0,
  });
})();
