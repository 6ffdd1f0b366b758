'use strict';
/* global Columns, Data, Dom, Order, SampleListHead, State, Statistics, Thumbnail */
// The samples that pass, in a table or a gallery. Only the visible lines exist; scrolling fills
// them with other samples.

const SampleList = (() => {
  const { h } = Dom;
  const ROW = 40; // pixels
  const CAPTION = 34;
  const GAP = 8;
  const CALM = 150; // milliseconds without a change
  const DRAG_CALM = 450;

  /** A line of the table or the gallery: which one it shows, and of which version. */
  /** @typedef {{ element: HTMLElement, index: number, version: number }} Line */

  /** Draws the samples; returns {update(events)}.
   * @param {HTMLElement} container @param {object} options
   * @param {string} options.name in the URL's fragment
   * @param {'table' | 'gallery'} options.first what is shown at first
   * @param {Node | null} [options.overlay] an element for the head */
  function create(container, { name, first, overlay = null }) {
    const scroll = h('div.samples-scroll.grow', {
      tabindex: 0,
      role: 'grid',
      onscroll: () => {
        scrolled = scroll.scrollTop;
        requestAnimationFrame(render);
      },
      onkeydown: onKey,
      onpointerleave: () => State.hoverSample(null),
    });
    const titles = h('div.table-head.head', { role: 'row' });
    const space = h('div.samples-space', { role: 'presentation' });
    const nothing = h('p.nothing', 'No sample passes the filters.');
    const head = SampleListHead.create({ overlay, setMode, setSize, chooseColumns });
    scroll.append(titles, space);
    container.classList.add('samples', 'stack', 'grow');
    container.append(head.element, nothing, scroll);

    // Cached: reading them after a change makes the browser compute the layout.
    let [width, height, scrolled] = [0, 0, 0];
    /** @type {string} */
    let mode = first;
    /** @type {Column[]} */
    let columns = [];
    /** @type {Line[]} */
    let lines = [];
    let version = 0; // grows when cells change for another reason than the row
    let at = -1; // place in the order that the keyboard has reached
    let size = 128; // of gallery pictures
    /** @type {View | null} */
    let shown = null;

    const isTable = () => mode === 'table';
    const perLine = () => (isTable() ? 1 : Math.max(1, Math.floor((width - GAP) / (size + GAP))));
    // Pictures grow until they fill the line.
    const tileSize = () => Math.floor((width - GAP) / perLine()) - GAP;
    const lineHeight = () => (isTable() ? ROW : tileSize() + CAPTION + GAP);

    function toTop() {
      at = -1;
      scroll.scrollTop = scrolled = 0;
    }

    /** @param {string} next */
    function setMode(next) {
      State.save(`${name}.mode`, next);
      mode = next;
      toTop();
      head.draw(mode, size, columns);
      refresh();
    }

    /** @param {number} next pixels */
    function setSize(next) {
      size = next;
      refresh();
    }

    /** @param {string[]} names */
    function chooseColumns(names) {
      State.save('columns', JSON.stringify(names));
      const { view } = State;
      Data.when(view, names, () => {
        if (view !== State.view) return;
        readColumns();
        refresh();
      });
    }

    function readColumns() {
      const { view } = State;
      columns = Columns.shown(view)
        .map((column) => /** @type {Column} */ (view.column(column)))
        .filter((column) => column?.isLoaded());
    }

    function drawTitles() {
      const { sort } = State;
      const widths = columns.map(({ kind }) =>
        kind === 'number' || kind === 'boolean' ? '104px' : '190px',
      );
      scroll.style.setProperty('--columns', `52px ${widths.join(' ')}`);
      Dom.replace(
        titles,
        h('span', { role: 'columnheader', 'aria-label': 'Image' }),
        ...columns.map(({ name, label, kind, unit, description }) => {
          const sorted = sort.column === name;
          const descending = sorted ? !sort.descending : kind === 'number';
          const direction = sort.descending ? 'descending' : 'ascending';
          return h('span', {
            role: 'columnheader',
            class: kind === 'number' ? 'number' : null,
            'aria-sort': sorted ? direction : 'none',
          }, [
            h('button.muted.flex', {
              title: [label, unit, description].filter(Boolean).join(' · '),
              'data-sort': name,
              onclick: () => State.setSort(name, descending),
            }, [h('span.cut', label), sorted && h('span', sort.descending ? '↓' : '↑')]),
          ]);
        }),
      );
    }

    /** @param {HTMLElement} line @param {number} row */
    function fillRow(line, row) {
      const { view } = State;
      if (line.childElementCount !== columns.length + 1) {
        line.replaceChildren(
          h('span', { role: 'gridcell' }, Thumbnail.frame()),
          ...columns.map(() => h('span', { role: 'gridcell' }, h('i'), h('b.cut'))),
        );
      }
      const [picture, ...cells] = line.children;
      setRow(line, row);
      setPicture(picture.firstChild, row);
      columns.forEach((column, i) => {
        const [bar, text] = /** @type {any} */ (cells[i].children);
        cells[i].className = column.kind;
        text.textContent = shorten(view.format(column.name, row), 200);
        const isMetric = column.role === 'metric' && column.kind === 'number';
        bar.style.setProperty('--share', isMetric ? shareOf(column, row) : 0);
      });
    }

    /** @param {HTMLElement} line @param {number} index */
    function fillTiles(line, index) {
      const order = Order.rows();
      const first = index * perLine();
      const count = Math.max(0, Math.min(perLine(), order.length - first));
      while (line.childElementCount > count) line.lastElementChild?.remove();
      while (line.childElementCount < count) line.append(sampleElement('div.tile', 'gridcell'));
      for (let i = 0; i < count; i++) {
        fillTile(/** @type {HTMLElement} */ (line.children[i]), order[first + i]);
      }
    }

    /** @param {HTMLElement} tile @param {number} row */
    function fillTile(tile, row) {
      const { view, sort } = State;
      const column = /** @type {Column} */ (view.column(sort.column));
      const name = view.format('file_name', row);
      const value = view.format(column.name, row);
      const picture = /** @type {HTMLElement} */ (tile.firstChild ?? Thumbnail.frame());
      tile.title = shorten(name, 300);
      tile.style.width = picture.style.width = picture.style.height = `${tileSize()}px`;
      setRow(tile, row);
      setPicture(picture, row);
      tile.replaceChildren(
        picture,
        h('span.cut', shorten(name, 100)),
        h('span.tile-value.cut.soft', `${column.label} `, h('b', shorten(value, 60))),
      );
    }

    // Frames are filled at once, or after a pause if changes come quickly. While a brush is dragged
    // they wait longer: otherwise each step would read and decode the sheets of other samples, of
    // which the browser keeps hundreds of megabytes.
    let lastChange = 0;
    let isHeld = false; // a button of the mouse, or a finger
    for (const type of ['pointerdown', 'pointerup', 'pointercancel']) {
      addEventListener(type, () => (isHeld = type === 'pointerdown'), true);
    }
    /** @type {number | undefined} */
    let timer;

    /** @param {any} picture @param {number} row */
    function setPicture(picture, row) {
      if (picture.dataset.row !== String(row)) picture.replaceChildren();
      picture.dataset.row = row;
    }

    function fillPictures() {
      const edge = isTable() ? ROW - 4 : tileSize();
      for (const picture of /** @type {any} */ (space.querySelectorAll('.thumbnail'))) {
        Thumbnail.fill(picture, Number(picture.dataset.row), { size: edge });
      }
    }

    function fillPicturesSoon() {
      const isCalm = performance.now() - lastChange > CALM;
      lastChange = performance.now();
      clearTimeout(timer);
      if (isCalm && !isHeld) fillPictures();
      else timer = window.setTimeout(fillPictures, isHeld ? DRAG_CALM : CALM);
    }

    /** An element that shows one sample. @param {string} selector @param {string} role */
    function sampleElement(selector, role) {
      const row = () => Number(element.dataset.row);
      const element = h(selector, {
        role,
        onclick: () => State.openSample(row()),
        onpointerenter: () => State.hoverSample(row()),
      });
      return element;
    }

    /** @param {HTMLElement} element @param {number} row */
    function setRow(element, row) {
      element.dataset.row = String(row);
      mark(element);
    }

    /** Shows whether a sample is open or hovered. @param {HTMLElement} element */
    function mark(element) {
      const row = Number(element.dataset.row);
      element.classList.toggle('selected', row === State.selected);
      element.classList.toggle('hovered', row === State.hovered);
      element.setAttribute('aria-selected', String(row === State.selected));
    }

    /** Draws all lines again, with other rows, columns or pictures. */
    function refresh() {
      version++;
      if (scroll.dataset.mode !== mode) {
        scroll.dataset.mode = mode;
        space.replaceChildren();
        lines = [];
      }
      scroll.setAttribute('aria-label', `Samples, ${mode}`);
      titles.hidden = !isTable();
      if (isTable()) drawTitles();
      const count = Order.rows().length;
      nothing.hidden = count > 0;
      scroll.setAttribute('aria-rowcount', String(count));
      const above = isTable() ? 0 : GAP;
      space.style.height = `${Math.ceil(count / perLine()) * lineHeight() + above}px`;
      render();
    }

    function render() {
      const tall = lineHeight();
      const order = Order.rows();
      const total = Math.ceil(order.length / perLine());
      const wanted = Math.min(total, Math.ceil(height / tall) + 2);
      const begin = Math.max(0, Math.min(total - wanted, Math.floor(scrolled / tall)));
      while (lines.length > wanted) lines.pop()?.element.remove();
      while (lines.length < wanted) {
        const element = isTable()
          ? sampleElement('div.table-row', 'row')
          : h('div.gallery-line.flex', { role: 'row' });
        lines.push({ element, index: -1, version: -1 });
        space.append(element);
      }
      let hasChanged = false;
      for (let index = begin; index < begin + wanted; index++) {
        const line = lines[index % wanted];
        if (line.index === index && line.version === version) continue;
        hasChanged = true;
        Object.assign(line, { index, version });
        const { element } = line;
        element.style.transform = `translateY(${index * tall + (isTable() ? 0 : GAP)}px)`;
        element.setAttribute('aria-rowindex', String(index + 1));
        if (isTable()) fillRow(element, order[index]);
        else fillTiles(element, index);
      }
      if (hasChanged) fillPicturesSoon();
    }

    /** Arrow keys move through the samples, Enter opens one. @param {KeyboardEvent} event */
    function onKey(event) {
      if (event.target !== scroll) return;
      const order = Order.rows();
      const per = perLine();
      const page = Math.max(1, Math.floor(height / lineHeight()) - 1) * per;
      /** @type {Record<string, number>} */
      const steps = {
        ArrowDown: per,
        ArrowUp: -per,
        PageDown: page,
        PageUp: -page,
        Home: -order.length,
        End: order.length,
        ...(!isTable() && { ArrowRight: 1, ArrowLeft: -1 }),
      };
      if (event.key === 'Enter' && at >= 0 && at < order.length) State.openSample(order[at]);
      else if (event.key in steps && order.length) {
        at = Math.max(0, Math.min(order.length - 1, at + steps[event.key]));
        scrollTo(Math.floor(at / per));
        State.hoverSample(order[at]);
      } else return;
      event.preventDefault();
    }

    /** @param {number} line */
    function scrollTo(line) {
      const tall = lineHeight();
      const top = line * tall;
      const bottom = top + tall + (isTable() ? titles.offsetHeight : 0);
      if (top < scrolled) scroll.scrollTop = top;
      else if (bottom > scrolled + height) scroll.scrollTop = bottom - height;
    }

    new ResizeObserver(() => {
      [width, height] = [scroll.clientWidth, scroll.clientHeight];
      if (State.view && height) refresh();
    }).observe(scroll);

    return {
      /** @param {Set<string>} events */
      update(events) {
        const has = (/** @type {string[]} */ ...names) => names.some((name) => events.has(name));
        const { view } = State;
        if (has('view', 'page')) {
          const wanted = State.read(`${name}.mode`) ?? '';
          mode = ['table', 'gallery'].includes(wanted) ? wanted : first;
          readColumns();
        }
        if (shown !== view || has('sort')) toTop();
        if (shown !== view || has('sort', 'page')) head.draw(mode, size, columns);
        shown = view;
        if (has('view', 'page', 'sort', 'filters', 'decisions')) refresh();
        if (has('appearance')) fillPictures();
        if (has('sample', 'hover')) {
          for (const element of space.querySelectorAll('.table-row, .tile')) {
            mark(/** @type {HTMLElement} */ (element));
          }
        }
      },
    };
  }

  /** @param {string} text @param {number} most characters */
  const shorten = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

  /** Where a value lies between the least and the greatest, for the bar in its cell.
   * @param {Column} column @param {number} row */
  function shareOf({ cache, values }, row) {
    cache.ends ??= Statistics.percentiles(values, [0, 0.99]);
    const [low, high] = cache.ends;
    const value = (values[row] - Math.min(0, low)) / (high - Math.min(0, low) || 1);
    return value === value ? Math.max(0, Math.min(1, value)) : 0;
  }

  return { create };
})();
