'use strict';
/* global Data, Dom, Events, Filters, Format, Link, Messages, State, Summary, Views */
// The frame of the page: header with tabs, search, choice of view and theme; below it the page.

const Shell = (() => {
  const { h } = Dom;
  /** @param {string} id */
  const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id));

  /** @type {Page[]} */
  let pages = [];
  /** @type {Map<Page, HTMLElement>} */
  const containers = new Map(); // of pages that have been shown
  /** @type {Map<Page, Set<string>>} */
  const missed = new Map(); // events while a page was hidden

  function showPage() {
    const page = pages.find(({ id }) => id === State.page) ?? pages[0];
    State.page = page.id;
    for (const [other, element] of containers) element.hidden = other !== page;
    if (!containers.has(page)) {
      const attributes = { role: 'tabpanel', 'aria-label': page.title };
      const container = h(`section.page.page-${page.id}`, attributes);
      containers.set(page, container);
      byId('main-content').append(container);
      page.build(container);
    }
    page.update(new Set(['page', ...(missed.get(page) ?? ['view'])]));
    missed.set(page, new Set());
    for (const tab of byId('header').querySelectorAll('[role=tab]')) {
      const isShown = tab === byId(`tab-${page.id}`);
      tab.setAttribute('aria-selected', String(isShown));
      tab.setAttribute('tabindex', isShown ? '0' : '-1');
    }
  }

  /** @param {Set<string>} events */
  function onEvents(events) {
    for (const page of containers.keys()) {
      if (page.id === State.page && !events.has('page')) page.update(events);
      else for (const name of events) missed.get(page)?.add(name);
    }
    if (events.has('page')) showPage();
  }

  function buildHeader() {
    const { manifest } = State;
    const search = h('input', {
      id: 'search',
      type: 'search',
      placeholder: 'Search name, id, cluster',
      'aria-label': 'Search samples',
      oninput: () => {
        const text = search.value;
        if (text.trim()) Filters.set('search', { kind: 'search', text });
        else Filters.remove('search');
      },
    });
    Events.on('filters', () => {
      const text = Filters.all.get('search')?.text ?? '';
      if (document.activeElement !== search) search.value = text;
    });
    const tabs = pages.map(({ id, title }) =>
      h('button', {
        id: `tab-${id}`,
        role: 'tab',
        onclick: (/** @type {MouseEvent} */ event) => {
          State.showPage(id);
          // After a click the arrow keys are for the page; who walks the tabs by keyboard goes on.
          if (event.detail) /** @type {HTMLElement} */ (event.currentTarget).blur();
        },
      }, title),
    );
    const options = manifest.views.map((view) => [view.name, titleOf(view)]);
    const show = (/** @type {string} */ name) =>
      Views.show(name).catch((error) => {
        Messages.fail(error);
        update(); // the one before is still shown
      });
    const views = Dom.select('View', options, State.view.name, show);
    const rows = h('span.rows-choice');
    const update = () => {
      const field = views.querySelector('select');
      if (field) field.value = State.view.name;
      const other = Views.otherRows(State.view);
      const kinds = [['images', 'images'], ['objects', 'objects']];
      const change = () => show(other ?? State.view.name);
      Dom.replace(rows, other !== null && Dom.select('Rows', kinds, State.view.rows_are, change));
    };
    Events.on('view', update);
    update();
    byId('header').append(
      h('h1.cut', { title: manifest.title }, manifest.title),
      h('nav.flex', { role: 'tablist', 'aria-label': 'Pages', onkeydown: walkTabs }, tabs),
      h('label.search', Dom.icon('search'), search),
      views,
      rows,
      Dom.iconButton('theme', 'Switch between light and dark', () =>
        State.setAppearance({ theme: State.isDark() ? 'light' : 'dark' }),
      ),
    );
  }

  /** @param {Manifest['views'][0]} view with the run's name if there are several */
  function titleOf({ run_name: run, split, step, n, rows_are: rows }) {
    const runs = new Set(State.manifest.views.map((view) => view.run_name));
    const parts = [split, `step ${step}`, `${Format.count(n)} ${rows === 'objects' ? rows : 'samples'}`];
    return [...(runs.size > 1 ? [run] : []), ...parts].join(' · ');
  }

  /** @param {KeyboardEvent} event */
  function walkTabs({ key, currentTarget }) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key];
    if (!step) return;
    const tabs = /** @type {any[]} */ ([.../** @type {Element} */ (currentTarget).children]);
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length];
    next.focus();
    next.click();
  }

  /** Reads the manifest and shows the page that the link asks for.
   * @param {Page[]} all in the order of their tabs */
  async function start(all) {
    try {
      State.manifest = await Data.need('manifest', 'manifest.js');
      document.title = State.manifest.title;
      pages = all.filter(({ shown }) => shown?.() ?? true);
      await Link.restore();
      buildHeader();
      Events.on('view filters decisions selections', () => Summary.draw(byId('summary')));
      Events.on('view filters sort sample similar hover appearance decisions page', onEvents);
      Events.emit('page', 'filters');
      addEventListener('popstate', Link.restore);
      // As a link it would replace the state, which is in the fragment.
      /** @type {HTMLElement} */ (document.querySelector('.skip')).onclick = (event) => {
        event.preventDefault();
        byId('main-content').focus();
      };
      addEventListener('error', (event) => Messages.notify(event.message));
      addEventListener('unhandledrejection', (event) => Messages.fail(event.reason));
      document.body.dataset.ready = 'true';
    } catch (error) {
      const text = `The report cannot be shown: ${error instanceof Error ? error.message : error}`;
      byId('main-content').replaceChildren(h('p.failure', { role: 'alert' }, text));
      throw error;
    }
  }

  return { start };
})();
