'use strict';
// The panel of one sample: what the network was given, what it said and where it is wrong; its
// numbers among those of all samples; what is like it; its label issues.
//
// Keys while it is open: left and right (the order of the table, among what passes the filters),
// x (exclude), o (overlay on and off), 1 to 9 (what lies over the picture), Escape.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const SHOWN_SIMILAR = 12;
  const FIRST_ISSUES = 4;

  let panel = null;
  let parts = null;
  let place = 0; // in the order, of the sample that was last shown
  let before = null; // what had the focus when the panel was opened
  let overlayOn = true;
  let pointedAt = null; // the label issue whose outline is drawn
  let allIssuesOf = null; // the row whose whole list of issues is shown

  // ---------------------------------------------------------------- pictures

  const detailsOf = (view, row) => view.pictures?.details?.[row] ?? null;

  // What can lie over the picture of a row: [{id, label, path}], path null for the picture alone
  // and for overlays that only thumbnails have.
  explorer.layersOf = function (view, row) {
    const details = detailsOf(view, row);
    const layers = [{ id: 'none', label: 'picture', path: null }];
    const simple = [
      ['truth', 'ground truth'],
      ['prediction', 'prediction'],
      ['error', 'errors'],
    ];
    for (const [id, label] of simple) {
      if (details ? details[id] : view.pictures?.sheets[0]?.[id]) {
        layers.push({ id, label, path: details?.[id] ?? null });
      }
    }
    if (details?.loss) layers.push({ id: 'loss', label: 'loss', path: details.loss });
    for (const group of ['classes', 'saliency']) {
      for (const [name, path] of Object.entries(details?.[group] ?? {})) {
        const label = group === 'classes' ? `probability: ${name}` : `what speaks for ${name}`;
        layers.push({ id: `${group}: ${name}`, label, path });
      }
    }
    return layers;
  };

  // A picture of a row with a layer and outlines of label issues over it, as wide as its place.
  explorer.stage = function (view, row, layer, { opacity = 1, regions = [] } = {}) {
    const details = detailsOf(view, row);
    const stage = h('div', { class: 'stage' });
    const ratio = view.column('aspect_ratio')?.values[row];
    if (ratio > 0) stage.style.setProperty('--ratio', ratio);
    const image = (path, name) =>
      h('img', { class: name, src: explorer.picture(view, path), alt: '', draggable: 'false' });
    if (details) {
      stage.append(image(details.image, 'base'));
      if (layer.path) {
        const over = image(layer.path, 'layer');
        over.style.opacity = String(opacity);
        stage.append(over);
      }
    } else if (view.pictures) stage.append(...enlarged(view, row, layer.id, opacity));
    for (const region of regions) {
      if (region.mask) stage.append(image(region.mask, 'outline'));
      else stage.append(boxOf(region));
    }
    stage.setAttribute('role', 'img');
    stage.setAttribute('aria-label', `${view.format('file_name', row)}: ${layer.label}`);
    return stage;
  };

  // The thumbnail and an overlay out of their sheets, as large as their place.
  function enlarged(view, row, overlay, opacity) {
    const { columns, per_sheet: perSheet, sheets } = view.pictures;
    const number = Math.floor(row / perSheet);
    const [x, y] = [(row % perSheet) % columns, Math.floor((row % perSheet) / columns)];
    const lines = Math.ceil(Math.min(perSheet, view.n - number * perSheet) / columns);
    const along = (at, count) => `${count > 1 ? (100 * at) / (count - 1) : 0}%`;
    return [
      ['image', 1],
      [overlay, opacity],
    ]
      .filter(([name]) => sheets[number][name])
      .map(([name, strength]) => {
        const layer = h('div', { class: name === 'image' ? 'base' : 'layer' });
        layer.style.backgroundImage = `url("${explorer.picture(view, sheets[number][name])}")`;
        layer.style.backgroundSize = `${100 * columns}% ${100 * lines}%`;
        layer.style.backgroundPosition = `${along(x, columns)} ${along(y, lines)}`;
        layer.style.opacity = String(strength);
        return layer;
      });
  }

  function boxOf({ box: [left, top, right, bottom] }) {
    const percent = (share) => `${100 * share}%`;
    const { svg } = explorer;
    return svg(
      'svg',
      { class: 'outline' },
      svg('rect', {
        x: percent(left),
        y: percent(top),
        width: percent(right - left),
        height: percent(bottom - top),
      }),
    );
  }

  function swatch(color, label) {
    const spot = h('span', { class: 'swatch' });
    spot.style.background = color;
    return h('span', { class: 'key' }, spot, label);
  }

  // What the colours of a layer mean.
  explorer.layerLegend = function (view, layer) {
    const legend = h('div', { class: 'layer-legend' });
    const pictures = view.pictures ?? {};
    if (layer.id === 'truth' || layer.id === 'prediction') {
      const colors = view.class_colors ?? explorer.manifest.class_colors;
      view.class_names.forEach((name, index) => {
        if (index) legend.append(swatch(colors[index], name));
      });
    } else if (layer.id === 'error') {
      const meanings = {
        missed: 'a class where background is seen',
        invented: 'a class seen in the background',
        confused: 'one class seen as another',
      };
      for (const [name, color] of Object.entries(pictures.error_colors ?? {})) {
        const key = swatch(color, name);
        key.title = meanings[name] ?? '';
        legend.append(key);
      }
    } else {
      const scales = { loss: 'loss', classes: 'probability', saliency: 'saliency' };
      const scale = pictures.scales?.[scales[layer.id.split(':')[0]]];
      if (scale) {
        const bar = h('span', { class: 'color-bar' });
        bar.style.background = `linear-gradient(to right, ${scale.colors.join(', ')})`;
        const text = (value) => (typeof value === 'number' ? explorer.short(value) : value);
        legend.append(text(scale.low), bar, `${text(scale.high)} ${scale.unit ?? ''}`);
      }
    }
    return legend;
  };

  // ---------------------------------------------------------------- panel

  function build() {
    panel = document.getElementById('sample');
    const button = (name, label, act, text) =>
      h(
        'button',
        {
          type: 'button',
          class: `button sample-${name}`,
          'aria-label': label,
          title: label,
          onclick: act,
        },
        text,
      );
    parts = {
      title: h('h2', { dir: 'auto' }),
      where: h('p', { class: 'where', 'aria-live': 'polite' }),
      previous: button('previous', 'Previous sample (left)', () => step(-1), '‹'),
      next: button('next', 'Next sample (right)', () => step(1), '›'),
      exclude: button('exclude', 'Exclude from training (x)', toggleExclude, 'Exclude'),
      reason: h('input', {
        type: 'text',
        maxlength: 1000,
        placeholder: 'because …',
        dir: 'auto',
        'aria-label': 'Why it is excluded',
        onchange: (event) =>
          explorer.exclude(explorer.selected, true, { reason: event.target.value.trim() }),
      }),
      close: button('close', 'Close (Escape)', () => explorer.closeSample(), '×'),
      stage: h('div', { class: 'stage-place' }),
      strip: h('div', { class: 'layers', role: 'radiogroup', 'aria-label': 'Overlay' }),
      opacity: h('input', {
        type: 'range',
        min: '0',
        max: '1',
        step: '0.05',
        'aria-label': 'Opacity of the overlay',
        oninput: (event) => explorer.setAppearance({ opacity: Number(event.target.value) }),
      }),
      legend: h('div'),
      issues: h('section', { class: 'issues' }),
      facts: h('div', { class: 'facts' }),
      similar: h('section', { class: 'similar' }),
    };
    const { title, where, previous, next, reason, exclude, close } = parts;
    const { stage, strip, opacity, legend } = parts;
    panel.tabIndex = -1;
    panel.setAttribute('role', 'dialog');
    panel.setAttribute('aria-label', 'Sample');
    panel.replaceChildren(
      h(
        'header',
        {},
        previous,
        next,
        h('div', { class: 'titles' }, title, where),
        reason,
        exclude,
        close,
      ),
      h(
        'div',
        { class: 'sample-body' },
        h(
          'div',
          { class: 'pictures' },
          stage,
          h(
            'div',
            { class: 'stage-tools' },
            legend,
            h('label', { class: 'opacity' }, 'overlay', opacity),
          ),
          strip,
          parts.issues,
          parts.similar,
          h(
            'p',
            { class: 'keys' },
            [
              ['←', '→', 'samples'],
              ['1', '9', 'overlays'],
              ['o', 'on and off'],
              ['x', 'exclude'],
              ['Esc', 'close'],
            ].map((keys) =>
              h(
                'span',
                {},
                keys.slice(0, -1).map((key) => h('kbd', {}, key)),
                ` ${keys.at(-1)}`,
              ),
            ),
          ),
        ),
        parts.facts,
      ),
    );
  }

  function update() {
    const { selected, view } = explorer;
    if (!view) return;
    if (selected === null) {
      if (!panel || panel.hidden) return;
      panel.hidden = true;
      before?.focus?.();
      before = null;
      return;
    }
    if (!panel) build();
    if (panel.hidden) {
      before = document.activeElement;
      panel.hidden = false;
      panel.focus({ preventScroll: true });
    }
    if (!pointedAt || pointedAt.row !== selected) pointedAt = null;
    panel.querySelector('.sample-body').scrollTop = 0;
    updateHead();
    updateStage();
    updateIssues();
    parts.similar.replaceChildren(...similarOf(view, selected));
    parts.facts.replaceChildren(...factsOf(view, selected));
  }

  function updateHead() {
    const { selected, view } = explorer;
    if (selected === null || !panel || panel.hidden) return;
    const order = explorer.order();
    const found = order.indexOf(selected);
    if (found >= 0) place = found;
    const { column, descending } = explorer.sort;
    const sorted = `by ${view.column(column).label} ${descending ? '↓' : '↑'}`;
    parts.title.textContent = view.format('file_name', selected);
    parts.where.textContent =
      found < 0
        ? `image ${view.format('image_id', selected)}, which the filters leave out`
        : `image ${view.format('image_id', selected)}, ${d3.format(',')(found + 1)} of ` +
          `${d3.format(',')(order.length)} ${sorted}`;
    const decision = explorer.decisionOf(selected);
    parts.exclude.setAttribute('aria-pressed', String(Boolean(decision?.exclude)));
    parts.exclude.textContent = decision?.exclude ? 'Excluded' : 'Exclude';
    parts.reason.hidden = !decision?.exclude;
    if (document.activeElement !== parts.reason) parts.reason.value = decision?.reason ?? '';
    parts.previous.disabled = place <= 0;
    parts.next.disabled = neighbour(1) === undefined;
  }

  // The row before or after in the order. One that was filtered out has left its place to the next.
  function neighbour(direction) {
    const order = explorer.order();
    const out = order[place] !== explorer.selected;
    return order[direction > 0 && out ? place : place + direction];
  }

  function step(direction) {
    const row = neighbour(direction);
    if (row !== undefined) explorer.openSample(row);
  }

  function toggleExclude() {
    const row = explorer.selected;
    const excluded = !explorer.decisionOf(row)?.exclude;
    const reason = pointedAt ? explorer.reasonOf(pointedAt) : '';
    explorer.exclude(
      row,
      excluded,
      pointedAt ? { reason, kind: pointedAt.kind, score: pointedAt.score } : {},
    );
  }

  // The layer that was chosen last, if this row has it.
  function chosenLayer(layers) {
    const wanted = explorer.readState('layer') ?? 'prediction';
    return layers.find((layer) => layer.id === wanted) ?? layers[0];
  }

  function updateStage() {
    const { selected, view } = explorer;
    if (selected === null || !panel || panel.hidden) return;
    const layers = explorer.layersOf(view, selected);
    const chosen = chosenLayer(layers);
    const { opacity } = explorer.appearance;
    const regions = pointedAt ? [pointedAt] : [];
    const shown = overlayOn ? chosen : layers[0];
    parts.stage.replaceChildren(explorer.stage(view, selected, shown, { opacity, regions }));
    parts.opacity.value = String(opacity);
    parts.legend.replaceChildren(explorer.layerLegend(view, shown));
    const focused = parts.strip.contains(document.activeElement);
    parts.strip.replaceChildren(
      ...layers.map((layer, index) => {
        const picture = explorer.stage(view, selected, layer, { opacity: 0.8 });
        const button = h(
          'button',
          {
            type: 'button',
            role: 'radio',
            'aria-checked': String(layer === chosen),
            title: index < 9 ? `${layer.label} (${index + 1})` : layer.label,
            onclick: () => chooseLayer(layer),
          },
          picture,
          h('span', { dir: 'auto' }, layer.label),
        );
        if (focused && layer === chosen) requestAnimationFrame(() => button.focus());
        return button;
      }),
    );
  }

  function chooseLayer(layer) {
    overlayOn = true;
    explorer.saveState('layer', layer.id);
    updateStage();
  }

  // ---------------------------------------------------------------- label issues

  function updateIssues() {
    const { selected, view } = explorer;
    const mine = (view.label_issues ?? []).filter((region) => region.row === selected);
    if (!mine.length) {
      parts.issues.replaceChildren();
      return;
    }
    // Most of a long list is hardly suspicious.
    const shown = allIssuesOf === selected ? mine : mine.slice(0, FIRST_ISSUES);
    parts.issues.replaceChildren(h('h3', {}, 'Label issues'), ...shown.map(issueLine));
    if (shown.length === mine.length) return;
    const showAll = () => {
      allIssuesOf = selected;
      updateIssues();
    };
    const more = `${mine.length - shown.length} more`;
    parts.issues.append(h('button', { type: 'button', class: 'link', onclick: showAll }, more));
  }

  function issueLine(region) {
    const show = h(
      'button',
      {
        type: 'button',
        class: 'button issue',
        'aria-pressed': String(region === pointedAt),
        onclick: () => {
          pointedAt = region === pointedAt ? null : region;
          updateStage();
          updateIssues();
        },
      },
      h('strong', {}, region.kind),
      ` ${region.score.toFixed(2)}: `,
      explorer.reasonOf(region),
    );
    return h('div', { class: 'issue-line' }, show, ...verdictButtons(region));
  }

  function verdictButtons(region) {
    const verdict = explorer.verdictOf(region);
    return [
      ['accept', 'the label is wrong'],
      ['reject', 'the label is fine'],
    ].map(([name, meaning]) =>
      h(
        'button',
        {
          type: 'button',
          class: `button verdict ${name}`,
          'aria-pressed': String(verdict === name),
          title: meaning,
          onclick: () => explorer.judge(region, verdict === name ? null : name),
        },
        name,
      ),
    );
  }

  // Opens the sample of a label issue with its outline drawn.
  explorer.openIssue = function (region) {
    pointedAt = region;
    allIssuesOf = region.row;
    if (explorer.selected === region.row) update();
    else explorer.openSample(region.row);
  };

  // ---------------------------------------------------------------- numbers

  function factsOf(view, row) {
    const groups = [
      ['metric', 'How the network does'],
      ['metadata', 'What is in the photograph'],
    ];
    const sections = [];
    const cluster = clusterOf(view, row);
    if (cluster) sections.push(cluster);
    const slices = slicesOf(view, row);
    if (slices) sections.push(slices);
    for (const [role, title] of groups) {
      const columns = view.columns.filter((column) => column.role === role);
      // Most images have none of most categories.
      const here = columns.filter(
        (column) => !column.name.startsWith('count_') || column.values[row] > 0,
      );
      if (!here.length) continue;
      const lines = here.map((column) => factLine(view, row, column));
      sections.push(
        h(
          'section',
          {},
          h('h3', {}, title),
          h('table', { class: 'fact-table' }, h('tbody', {}, ...lines)),
        ),
      );
    }
    return sections;
  }

  // Ranges such as 0–1 stand in the place of units too.
  const isUnit = (unit) => Boolean(unit) && !/[0-9/]/.test(unit);

  function factLine(view, row, column) {
    const value = view.value(column.name, row);
    const cells = [
      h('th', { scope: 'row', title: column.description, dir: 'auto' }, column.label),
      h(
        'td',
        { class: 'number' },
        view.format(column.name, row),
        value !== null && isUnit(column.unit) && h('span', { class: 'unit' }, column.unit),
      ),
    ];
    if (column.kind === 'number' && value !== null) {
      const share = explorer.percentile(view, column.name, value);
      cells.push(
        h('td', {}, explorer.distribution(view, column.name, value)),
        h(
          'td',
          {
            class: 'number percentile',
            title: `higher than ${Math.round(100 * share)} ` + '% of the samples',
          },
          `${Math.round(100 * share)} %`,
        ),
      );
    } else {
      cells.push(h('td', {}), h('td', {}));
    }
    return h('tr', {}, ...cells);
  }

  function clusterOf(view, row) {
    const name = view.column('cluster') && view.value('cluster', row);
    if (!name) return null;
    const cluster = view.clusters?.find((one) => one.id === view.values('cluster')[row]);
    const only = () => {
      explorer.setFilter('cluster', { kind: 'set', column: 'cluster', values: [name] });
      explorer.closeSample();
    };
    return h(
      'section',
      { class: 'own-cluster' },
      h('h3', {}, 'Cluster'),
      cluster?.heat_map
        ? h('img', {
            src: explorer.picture(view, cluster.heat_map),
            class: 'heat-map',
            alt: `where the images of cluster ${name} have what they share`,
            title:
              'where its images have what they share (orange) and what speaks against it (purple)',
          })
        : null,
      h(
        'p',
        {},
        h('button', { type: 'button', class: 'link', onclick: only, dir: 'auto' }, name),
        cluster
          ? h(
              'span',
              { class: 'unit' },
              `${d3.format(',')(cluster.size)} images, stability ${cluster.stability.toFixed(2)}`,
            )
          : null,
      ),
    );
  }

  function slicesOf(view, row) {
    const columns = view.columns.filter(
      (column) => column.name.startsWith('slice: ') && column.values[row] === 1,
    );
    if (!columns.length) return null;
    return h(
      'section',
      { class: 'own-slices' },
      h('h3', {}, 'Belongs to slices in which the network fails'),
      ...columns.map((column) =>
        h(
          'button',
          {
            type: 'button',
            class: 'button',
            dir: 'auto',
            onclick: () => {
              explorer.setFilter(column.name, { kind: 'set', column: column.name, values: [true] });
              explorer.closeSample();
            },
          },
          column.name.slice('slice: '.length),
        ),
      ),
    );
  }

  function similarOf(view, row) {
    if (!view.similar) return [];
    const { index, distance } = view.similar;
    const each = index.shape[1];
    const shown = d3.range(Math.min(each, SHOWN_SIMILAR));
    const rows = Array.from(index.subarray(row * each, (row + 1) * each)).filter((at) => at >= 0);
    const filter = () => {
      const label = `like ${view.format('file_name', row)}`;
      explorer.setFilter('similar', { kind: 'rows', rows: [row, ...rows], label });
      explorer.closeSample();
    };
    return [
      h(
        'h3',
        {},
        'To which the network responds alike',
        h('button', { type: 'button', class: 'link', onclick: filter }, 'show on the map'),
      ),
      h(
        'div',
        { class: 'thumbs' },
        ...shown
          .filter((k) => k < rows.length)
          .map((k) =>
            h(
              'button',
              {
                type: 'button',
                class: 'thumb',
                onclick: () => explorer.openSample(rows[k]),
                'aria-label': `Open ${view.format('file_name', rows[k])}`,
                title: view.format('file_name', rows[k]),
              },
              explorer.thumbnail(rows[k], { size: 84, view }),
              h('span', { class: 'unit' }, distance[row * each + k].toFixed(2)),
            ),
          ),
      ),
    ];
  }

  // ---------------------------------------------------------------- events

  document.addEventListener('keydown', (event) => {
    if (explorer.selected === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.matches('input:not([type=range]), textarea, select');
    if (event.key === 'Escape') explorer.closeSample();
    else if (typing) return;
    else if (event.key === 'ArrowRight' && !event.target.matches('input')) step(1);
    else if (event.key === 'ArrowLeft' && !event.target.matches('input')) step(-1);
    else if (event.key === 'x') toggleExclude();
    else if (event.key === 'o') {
      overlayOn = !overlayOn;
      updateStage();
    } else if (/^[1-9]$/.test(event.key)) {
      const layer = explorer.layersOf(explorer.view, explorer.selected)[Number(event.key) - 1];
      if (layer) chooseLayer(layer);
      else return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  explorer.on('sample', update);
  explorer.on('view', update);
  for (const name of ['filters', 'sort']) explorer.on(name, updateHead);
  explorer.on('appearance', updateStage);
  explorer.on('decisions', () => {
    if (explorer.selected === null || !panel || panel.hidden) return;
    updateHead();
    updateIssues();
  });
})();
