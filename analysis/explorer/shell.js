'use strict';
// The frame: header with pages, search and the choice of view; below it how many samples pass,
// their means, and the filters as chips.

(function () {
  const explorer = window.explorer;

  // ---------------------------------------------------------------- elements

  // A node: attributes by setAttribute (null and false left out, true as ''), those that begin with
  // 'on' as listeners; children are nodes or texts, null and false left out.
  explorer.h = function (tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) {
        node.setAttribute(name, value === true ? '' : value);
      }
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== false));
    return node;
  };
  const { h } = explorer;

  // Drawn on a 16 × 16 grid with a line.
  const icons = {
    close: 'M4 4l8 8M12 4l-8 8',
    down: 'M4 6l4 4 4-4',
    right: 'M6 4l4 4-4 4',
    left: 'M10 4l-4 4 4 4',
    search: 'M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M10.5 10.5L14 14',
    theme: 'M13.2 9.8A5.6 5.6 0 1 1 6.2 2.8a4.6 4.6 0 0 0 7 7z',
    pan: 'M8 2v12M2 8h12M6 4l2-2 2 2M6 12l2 2 2-2M4 6L2 8l2 2M12 6l2 2-2 2',
    box: 'M2.5 2.5h11v11h-11z',
    lasso:
      'M8 2.5c3.6 0 6 1.7 6 4s-2.4 4-6 4-6-1.7-6-4 2.4-4 6-4M5 10c-2 1-1 2.5 0 2.2M5 12.2L4 14.2',
    reset: 'M3 8a5 5 0 1 0 1.6-3.7M3 2.5v3h3',
    cube: 'M8 1.8l5.5 3v6.4L8 14.2l-5.5-3V4.8zM8 8l5.5-3.2M8 8L2.5 4.8M8 8v6.2',
    spin: 'M13.5 6.5A6 6 0 0 0 2.6 6M2.5 9.5a6 6 0 0 0 10.9.5M13.7 3v3.5h-3.5M2.3 13V9.5h3.5',
    text: 'M3 4V2.800h10V4M8 2.800v10.400M6 13.200h4',
    table: 'M2 3h12v10H2zM2 6.300h12M2 9.700h12M6 3v10',
    gallery: 'M2 2h5v5H2zM9 2h5v5H9zM2 9h5v5H2zM9 9h5v5H9z',
    columns: 'M2 3h12v10H2zM6 3v10M10 3v10',
  };

  explorer.icon = function (name) {
    const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    svg.setAttribute('viewBox', '0 0 16 16');
    svg.setAttribute('class', 'icon');
    svg.setAttribute('aria-hidden', 'true');
    const path = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    path.setAttribute('d', icons[name]);
    svg.append(path);
    return svg;
  };

  // A button with an icon; `pressed` for those that are on or off.
  explorer.iconButton = function (icon, title, onclick, attributes = {}) {
    return h(
      'button',
      { type: 'button', class: 'icon-button', title, 'aria-label': title, onclick, ...attributes },
      explorer.icon(icon),
    );
  };

  // A <select> of [[value, text], …] or [{label, options}, …] (groups) with a label before it.
  explorer.select = function (label, options, value, onchange) {
    const option = ([key, text]) => h('option', { value: key, selected: key === value }, text);
    return h(
      'label',
      { class: 'select' },
      h('span', {}, label),
      h(
        'select',
        { onchange: (event) => onchange(event.target.value) },
        options.map((entry) =>
          Array.isArray(entry)
            ? option(entry)
            : h('optgroup', { label: entry.label }, entry.options.map(option)),
        ),
      ),
    );
  };

  const groups = [
    ['Performance', ['metric']],
    ['Clusters and slices', ['cluster', 'slice']],
    ['Photograph and annotations', ['metadata']],
    ['Label issues and decisions', ['issue', 'decision']],
    ['Names', ['id']],
  ];

  // Columns by what they are, [{label, role, columns}], for lists and selects; role is the first.
  explorer.columnGroups = function (view, keep = () => true) {
    return groups
      .map(([label, roles]) => ({
        label,
        role: roles[0],
        columns: view.columns.filter((column) => roles.includes(column.role) && keep(column)),
      }))
      .filter(({ columns }) => columns.length);
  };

  explorer.columnOptions = function (view, keep) {
    return explorer.columnGroups(view, keep).map(({ label, columns }) => ({
      label,
      options: columns.map((column) => [column.name, column.label]),
    }));
  };

  // ---------------------------------------------------------------- pages

  const pages = new Map();

  // {id, title, shown(), build(container), update(events)}: the page has a tab if shown() (default:
  // always). build is called once, when the page is first shown; update then, and whenever
  // something happens while it is shown, with the names of what happened in a Set.
  explorer.addPage = function (page) {
    pages.set(page.id, page);
  };

  const shownPages = () => [...pages.values()].filter((page) => page.shown?.() ?? true);

  explorer.showPage = function (id) {
    explorer.page = id;
    explorer.emit('page');
    explorer.saveSoon(true);
  };

  function drawPage() {
    if (!explorer.view) return;
    const shown = shownPages();
    const page = shown.find(({ id }) => id === explorer.page) ?? shown[0];
    explorer.page = page.id;
    const first = !page.container;
    if (first) {
      page.container = h('section', {
        class: `page page-${page.id}`,
        role: 'tabpanel',
        'aria-label': page.title,
      });
      document.getElementById('main-content').append(page.container);
    }
    for (const other of pages.values())
      if (other.container) other.container.hidden = other !== page;
    if (first) page.build(page.container);
    page.missed ??= new Set(['view']);
    page.update(page.missed.add('page'));
    page.missed.clear();
    for (const tab of document.querySelectorAll('#header [role=tab]')) {
      tab.setAttribute('aria-selected', String(tab.dataset.page === page.id));
      tab.tabIndex = tab.dataset.page === page.id ? 0 : -1;
    }
  }

  function onEvents(events) {
    for (const page of pages.values()) {
      if (!page.container) continue;
      if (page.id === explorer.page && !events.has('page')) page.update(events);
      else for (const name of events) page.missed.add(name);
    }
    if (events.has('page')) drawPage();
  }

  // ---------------------------------------------------------------- header

  function buildHeader() {
    const { manifest } = explorer;
    const search = h('input', {
      type: 'search',
      placeholder: 'Search name, id, cluster',
      'aria-label': 'Search samples',
      id: 'search',
      oninput: () => {
        if (search.value.trim())
          explorer.setFilter('search', { kind: 'search', text: search.value });
        else explorer.removeFilter('search');
      },
    });
    explorer.on('filters', () => {
      const text = explorer.filters.get('search')?.text ?? '';
      if (document.activeElement !== search) search.value = text;
    });
    const tabs = h(
      'nav',
      { role: 'tablist', 'aria-label': 'Pages', onkeydown: walkTabs },
      shownPages().map((page) =>
        h(
          'button',
          {
            type: 'button',
            role: 'tab',
            'data-page': page.id,
            onclick: () => explorer.showPage(page.id),
          },
          page.title,
        ),
      ),
    );
    const views = explorer.select(
      'View',
      manifest.views.map((view) => [view.name, viewTitle(view)]),
      explorer.view.name,
      (name) => explorer.showView(name),
    );
    explorer.on('view', () => (views.querySelector('select').value = explorer.view.name));
    const themes = { auto: 'dark', light: 'dark', dark: 'light' };
    const theme = explorer.iconButton('theme', 'Light or dark', () => {
      const now = explorer.isDark() ? 'dark' : 'light';
      explorer.setAppearance({ theme: themes[now] });
    });
    document
      .getElementById('header')
      .append(
        h('h1', { title: manifest.title }, manifest.title),
        tabs,
        h('label', { class: 'search' }, explorer.icon('search'), search),
        views,
        theme,
      );
  }

  // The run is named only where there are several.
  function viewTitle(view) {
    const runs = new Set(explorer.manifest.views.map((other) => other.run_name));
    const run = runs.size > 1 ? `${view.run_name} · ` : '';
    return `${run}${view.split} · step ${view.step} · ${view.n.toLocaleString('en')} samples`;
  }

  function walkTabs(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...event.currentTarget.children];
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  }

  // ---------------------------------------------------------------- summary

  // Columns whose means are told: loss, then the IoUs.
  explorer.headlineColumns = (view) =>
    [
      'loss',
      'mean_iou_foreground',
      ...view.class_names.slice(1).map((name) => `iou_${name}`),
    ].filter((name) => view.column(name));

  // Mean over the rows that `passes`, without missing values; null if there is none.
  explorer.meanOf = function (values, passes) {
    let [sum, count] = [0, 0];
    for (let row = 0; row < values.length; row++) {
      const value = values[row];
      if (value === value && passes(row)) {
        sum += value;
        count++;
      }
    }
    return count ? sum / count : null;
  };

  function drawSummary() {
    const { view, mask } = explorer;
    const passing = explorer.passing();
    const all = passing === view.n;
    const means = explorer
      .headlineColumns(view)
      .slice(0, 5)
      .map((name) => {
        const column = view.column(name);
        column.cache.mean ??= explorer.meanOf(column.values, () => true);
        const mean = all
          ? column.cache.mean
          : explorer.meanOf(column.values, (row) => mask[row] === 0);
        return h(
          'span',
          {
            class: 'stat',
            title: `Mean ${column.label} of the samples that pass${all ? '' : ', and of all'}`,
          },
          h('span', { class: 'stat-name' }, column.label),
          h('b', { 'data-mean': name }, explorer.format(column, mean)),
          !all && h('span', { class: 'stat-all' }, explorer.format(column, column.cache.mean)),
        );
      });
    const chips = [...explorer.filters].map(([id, filter]) =>
      h(
        'span',
        { class: 'chip' },
        h('span', { class: 'chip-text', title: describe(filter) }, describe(filter)),
        explorer.iconButton('close', `Remove the filter: ${describe(filter)}`, () =>
          explorer.removeFilter(id),
        ),
      ),
    );
    document
      .getElementById('summary')
      .replaceChildren(
        h(
          'span',
          { class: 'count', role: 'status' },
          h('b', { id: 'passing' }, passing.toLocaleString('en')),
          ` of ${view.n.toLocaleString('en')} samples`,
        ),
        h('span', { class: 'stats' }, means),
        h(
          'span',
          { class: 'chips' },
          chips,
          chips.length > 1 &&
            h(
              'button',
              { type: 'button', class: 'link', onclick: explorer.clearFilters },
              'Clear all',
            ),
        ),
      );
  }

  // A filter in words.
  function describe(filter) {
    if (filter.kind === 'search') return `“${filter.text}”`;
    if (filter.kind === 'rows') return filter.label ?? `${filter.rows.length} samples`;
    if (filter.kind === 'polygon') return filter.label ?? 'Lasso';
    const column = explorer.view.column(filter.column);
    if (filter.kind === 'range') {
      const { low, high } = filter;
      return low === high
        ? `${column.label} = ${explorer.format(column, low)}`
        : `${column.label} ${explorer.format(column, low)} – ${explorer.format(column, high)}`;
    }
    const names = filter.values.map((value) =>
      value === null ? 'none' : explorer.format(column, value),
    );
    const shown = names.slice(0, 3).join(', ');
    return `${column.label}: ${shown}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;
  }
  explorer.describeFilter = describe;

  // ---------------------------------------------------------------- messages

  // Tells something for some seconds, also to screen readers.
  explorer.notify = function (text) {
    const toast = document.getElementById('toast');
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(toast.timer);
    toast.timer = setTimeout(() => (toast.hidden = true), 6000);
  };

  explorer.fail = (error) => explorer.notify(error.message);

  // ---------------------------------------------------------------- start

  explorer.start = async function () {
    try {
      explorer.manifest = await explorer.need('manifest', 'data/manifest.js');
      document.title = explorer.manifest.title;
      await explorer.restore();
      buildHeader();
      for (const name of ['view', 'filters', 'decisions']) explorer.on(name, drawSummary);
      for (const name of [
        'view',
        'filters',
        'sort',
        'sample',
        'hover',
        'appearance',
        'decisions',
        'page',
      ]) {
        explorer.on(name, onEvents);
      }
      explorer.emit('page');
      explorer.emit('filters');
      addEventListener('popstate', () => explorer.restore());
      // What goes wrong later is told, too.
      addEventListener('error', (event) => explorer.notify(event.message));
      addEventListener('unhandledrejection', (event) => explorer.fail(event.reason));
      document.body.dataset.ready = 'true';
    } catch (error) {
      document
        .getElementById('main-content')
        .replaceChildren(
          h(
            'p',
            { class: 'failure', role: 'alert' },
            `The report cannot be shown: ${error.message}`,
          ),
        );
      throw error;
    }
  };
})();
