'use strict';
// The samples that pass, in a table or a gallery. Only the lines that can be seen exist; they are
// filled with other samples as one scrolls.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const ROW = 40; // pixels
  const CAPTION = 34;
  const GAP = 8;
  const CALM = 150; // milliseconds

  // Samples in `container`; returns {update(events)}. `name` is how the URL's fragment calls it,
  // `first` what is shown before one chooses: 'table' or 'gallery', `overlay` an element for its
  // head.
  explorer.createSamples = function (container, { name, first, overlay = null }) {
    const head = h('div', { class: 'samples-head' });
    const scroll = h('div', {
      class: 'samples-scroll',
      tabindex: 0,
      onscroll: () => {
        scrolled = scroll.scrollTop;
        requestAnimationFrame(render);
      },
      onkeydown: onKey,
    });
    const titles = h('div', { class: 'table-head', role: 'row' });
    const space = h('div', { class: 'samples-space', role: 'presentation' });
    const nothing = h('p', { class: 'nothing' }, 'No sample passes the filters.');
    scroll.append(titles, space);
    container.classList.add('samples');
    container.append(head, nothing, scroll);

    // Asked once and kept: asking after a change makes the browser lay everything out.
    let [width, height, scrolled] = [0, 0, 0];
    let mode = first;
    let columns = [];
    let lines = []; // elements
    let version = 0; // of what is in the cells, besides the row
    let at = -1; // place in the order of the sample that the keyboard has reached
    let size = 128; // of gallery pictures

    const perLine = () =>
      mode === 'table' ? 1 : Math.max(1, Math.floor((width - GAP) / (size + GAP)));
    // Pictures grow until they fill the line.
    const tileSize = () => Math.floor((width - GAP) / perLine()) - GAP;
    const lineHeight = () => (mode === 'table' ? ROW : tileSize() + CAPTION + GAP);

    // ------------------------------------------------------------ head

    function drawHead() {
      const { view, sort } = explorer;
      const button = (key, icon, title) =>
        explorer.iconButton(
          icon,
          title,
          () => explorer.saveState(`${name}.mode`, key) ?? setMode(key),
          {
            'aria-pressed': String(mode === key),
          },
        );
      const slider = h('input', {
        type: 'range',
        min: 72,
        max: 256,
        step: 8,
        value: size,
        'aria-label': 'Size of the pictures',
        title: 'Size of the pictures',
        oninput: () => {
          size = Number(slider.value);
          refresh();
        },
      });
      head.replaceChildren(
        h(
          'span',
          { class: 'buttons' },
          button('table', 'table', 'Table'),
          button('gallery', 'gallery', 'Gallery'),
        ),
        explorer.select('Sort by', explorer.columnOptions(view), sort.column, (column) =>
          explorer.setSort(column, sort.descending),
        ),
        h(
          'button',
          {
            type: 'button',
            class: 'text-button',
            title: 'The other way round',
            onclick: () => explorer.setSort(sort.column, !sort.descending),
          },
          sort.descending ? 'Descending' : 'Ascending',
        ),
        mode === 'table' ? columnPicker() : slider,
        overlay ?? '',
      );
    }

    function setMode(next) {
      mode = next;
      at = -1;
      scroll.scrollTop = scrolled = 0;
      drawHead();
      refresh();
    }

    function columnPicker() {
      const find = h('input', {
        type: 'search',
        placeholder: 'Find a column',
        'aria-label': 'Find a column',
      });
      const shown = new Set(columns.map((column) => column.name));
      const boxes = explorer.columnGroups(explorer.view).map(({ label, columns: group }) =>
        h(
          'fieldset',
          {},
          h('legend', {}, label),
          group.map((column) => {
            const box = h('input', {
              type: 'checkbox',
              checked: shown.has(column.name),
              onchange: () => {
                if (box.checked) shown.add(column.name);
                else shown.delete(column.name);
                explorer.saveState('columns', JSON.stringify([...shown]));
                chooseColumns();
                refresh();
              },
            });
            return h('label', { 'data-name': column.label.toLowerCase() }, box, column.label);
          }),
        ),
      );
      find.addEventListener('input', () => {
        const wanted = find.value.trim().toLowerCase();
        for (const label of boxes.flatMap((box) => [...box.querySelectorAll('label')])) {
          label.hidden = !label.dataset.name.includes(wanted);
        }
      });
      return h(
        'details',
        { class: 'picker' },
        h('summary', { title: 'Columns of the table' }, explorer.icon('columns'), 'Columns'),
        h('div', { class: 'picker-panel' }, find, boxes),
      );
    }

    // ------------------------------------------------------------ table

    function chooseColumns() {
      const { view } = explorer;
      let names = null;
      try {
        names = JSON.parse(explorer.readState('columns'));
      } catch {
        // A link that somebody edited: the usual columns.
      }
      columns = (Array.isArray(names) ? names : usualColumns(view))
        .map((column) => view.column(column))
        .filter(Boolean);
    }

    function drawTitles() {
      const { sort } = explorer;
      const widths = columns.map((column) =>
        column.kind === 'number' || column.kind === 'boolean' ? '104px' : '190px',
      );
      scroll.style.setProperty('--columns', `52px ${widths.join(' ')}`);
      titles.replaceChildren(
        h('span', { role: 'columnheader', 'aria-label': 'Picture' }),
        ...columns.map((column) => {
          const sorted = sort.column === column.name;
          return h(
            'span',
            {
              role: 'columnheader',
              class: column.kind === 'number' ? 'number' : '',
              'aria-sort': sorted ? (sort.descending ? 'descending' : 'ascending') : 'none',
            },
            h(
              'button',
              {
                type: 'button',
                title: [column.label, column.unit, column.description].filter(Boolean).join(' · '),
                'data-sort': column.name,
                onclick: () =>
                  explorer.setSort(
                    column.name,
                    sorted ? !sort.descending : column.kind === 'number',
                  ),
              },
              h('span', {}, column.label),
              sorted && h('i', {}, sort.descending ? '↓' : '↑'),
            ),
          );
        }),
      );
    }

    function makeRow() {
      const line = h('div', {
        class: 'table-row',
        role: 'row',
        onclick: () => open(line),
        onpointerenter: () => hover(line),
      });
      return line;
    }

    function fillRow(line, row) {
      const { view } = explorer;
      if (line.childElementCount !== columns.length + 1) {
        line.replaceChildren(
          h('span', { role: 'gridcell' }, frame()),
          ...columns.map((column) =>
            h('span', { role: 'gridcell', class: column.kind }, h('i'), h('b')),
          ),
        );
      }
      empty(line.firstChild.firstChild, row);
      columns.forEach((column, i) => {
        const cell = line.children[i + 1];
        cell.className = column.kind;
        const text = view.format(column.name, row);
        cell.lastChild.textContent = text.length > 200 ? `${text.slice(0, 200)}…` : text;
        const filled = column.role === 'metric' ? share(column, row) : 0;
        cell.firstChild.style.setProperty('--share', filled);
      });
    }

    // ------------------------------------------------------------ gallery

    function makeTiles() {
      return h('div', { class: 'gallery-line', role: 'row' });
    }

    function fillTiles(line, index) {
      const order = explorer.order();
      const per = perLine();
      const count = Math.max(0, Math.min(per, order.length - index * per));
      while (line.childElementCount > count) line.lastElementChild.remove();
      while (line.childElementCount < count) {
        const tile = h('div', {
          class: 'tile',
          role: 'gridcell',
          onclick: () => open(tile),
          onpointerenter: () => hover(tile),
        });
        line.append(tile);
      }
      for (let i = 0; i < count; i++) fillTile(line.children[i], order[index * per + i]);
    }

    function fillTile(tile, row) {
      const { view, sort } = explorer;
      tile.row = row;
      tile.style.width = `${tileSize()}px`;
      const name = view.format('file_name', row);
      const column = view.column(sort.column);
      tile.title = name.slice(0, 300);
      const picture = tile.firstChild ?? frame();
      picture.style.width = picture.style.height = `${tileSize()}px`;
      empty(picture, row);
      tile.replaceChildren(
        picture,
        h('span', { class: 'tile-name' }, name.slice(0, 100)),
        h(
          'span',
          { class: 'tile-value' },
          `${column.label} `,
          h('b', {}, view.format(column.name, row).slice(0, 60)),
        ),
      );
      mark(tile);
    }

    // ------------------------------------------------------------ pictures

    // Frames are filled at once if nothing has happened for a moment, else when it is calm again:
    // in a drag each step would show other samples, and read and decode as many sheets.
    let lastChange = 0;
    let timer = null;

    const frame = () => h('span', { class: 'thumbnail', role: 'img' });

    function empty(picture, row) {
      if (picture.row !== row) picture.replaceChildren();
      picture.row = row;
    }

    function fillPictures() {
      const edge = mode === 'table' ? ROW - 4 : tileSize();
      for (const picture of space.querySelectorAll('.thumbnail')) {
        explorer.fillThumbnail(picture, picture.row, { size: edge });
      }
    }

    function fillPicturesSoon() {
      const calm = performance.now() - lastChange > CALM;
      lastChange = performance.now();
      clearTimeout(timer);
      if (calm) fillPictures();
      else timer = setTimeout(fillPictures, CALM);
    }

    // ------------------------------------------------------------ lines

    const open = (element) => explorer.openSample(element.row);
    const hover = (element) => explorer.hoverSample(element.row);
    scroll.addEventListener('pointerleave', () => explorer.hoverSample(null));

    // Everything anew: other rows, columns or pictures.
    function refresh() {
      version++;
      if (scroll.dataset.mode !== mode) {
        scroll.dataset.mode = mode;
        lines.forEach((line) => line.remove());
        lines = [];
      }
      scroll.setAttribute('role', 'grid');
      scroll.setAttribute('aria-label', `Samples, ${mode}`);
      titles.hidden = mode !== 'table';
      if (mode === 'table') drawTitles();
      const count = explorer.order().length;
      nothing.hidden = count > 0;
      scroll.setAttribute('aria-rowcount', String(count));
      const above = mode === 'table' ? 0 : GAP;
      space.style.height = `${Math.ceil(count / perLine()) * lineHeight() + above}px`;
      render();
    }

    function render() {
      const tall = lineHeight();
      const order = explorer.order();
      const total = Math.ceil(order.length / perLine());
      const wanted = Math.min(total, Math.ceil(height / tall) + 2);
      const begin = Math.max(0, Math.min(total - wanted, Math.floor(scrolled / tall)));
      while (lines.length > wanted) lines.pop().remove();
      while (lines.length < wanted) {
        const line = mode === 'table' ? makeRow() : makeTiles();
        lines.push(line);
        space.append(line);
      }
      let changed = false;
      for (let index = begin; index < begin + wanted; index++) {
        const line = lines[index % wanted];
        if (line.index === index && line.version === version) continue;
        changed = true;
        Object.assign(line, { index, version });
        line.style.transform = `translateY(${index * tall + (mode === 'table' ? 0 : GAP)}px)`;
        line.setAttribute('aria-rowindex', String(index + 1));
        if (mode === 'table') {
          line.row = order[index];
          fillRow(line, order[index]);
          mark(line);
        } else fillTiles(line, index);
      }
      if (changed) fillPicturesSoon();
    }

    // Which line or tile is open or hovered.
    function mark(element) {
      element.classList.toggle('selected', element.row === explorer.selected);
      element.classList.toggle('hovered', element.row === explorer.hovered);
      element.setAttribute('aria-selected', String(element.row === explorer.selected));
    }

    function marks() {
      for (const line of lines) {
        if (mode === 'table') mark(line);
        else for (const tile of line.children) mark(tile);
      }
    }

    // Arrows walk through the samples, Enter opens one.
    function onKey(event) {
      if (event.target !== scroll) return;
      const order = explorer.order();
      const per = perLine();
      const page = Math.max(1, Math.floor(height / lineHeight()) - 1) * per;
      const steps = {
        ArrowDown: per,
        ArrowUp: -per,
        PageDown: page,
        PageUp: -page,
        Home: -order.length,
        End: order.length,
      };
      if (mode === 'gallery') Object.assign(steps, { ArrowRight: 1, ArrowLeft: -1 });
      if (event.key === 'Enter' && at >= 0 && at < order.length) explorer.openSample(order[at]);
      else if (event.key in steps && order.length) {
        at = Math.max(0, Math.min(order.length - 1, at + steps[event.key]));
        reach(Math.floor(at / per));
        explorer.hoverSample(order[at]);
      } else return;
      event.preventDefault();
    }

    function reach(line) {
      const tall = lineHeight();
      const headHeight = mode === 'table' ? titles.offsetHeight : 0;
      const top = line * tall;
      if (top < scrolled) scroll.scrollTop = top;
      else if (top + tall + headHeight > scrolled + height) {
        scroll.scrollTop = top + tall + headHeight - height;
      }
    }

    new ResizeObserver(() => {
      [width, height] = [scroll.clientWidth, scroll.clientHeight];
      if (explorer.view && height) refresh();
    }).observe(scroll);

    let shown = null; // view
    return {
      update(events) {
        const has = (...wanted) => wanted.some((event) => events.has(event));
        const { view } = explorer;
        if (has('view', 'page')) {
          const wanted = explorer.readState(`${name}.mode`);
          mode = ['table', 'gallery'].includes(wanted) ? wanted : first;
          chooseColumns();
        }
        if (shown !== view || has('sort')) {
          at = -1;
          scroll.scrollTop = scrolled = 0;
        }
        if (shown !== view || has('sort', 'page')) drawHead();
        shown = view;
        if (has('view', 'page', 'sort', 'filters', 'decisions')) refresh();
        if (has('appearance')) fillPictures();
        if (has('sample', 'hover')) marks();
      },
    };
  };

  // Names, groups, performance, decisions and issues, and the metadata that say most about the
  // loss.
  function usualColumns(view) {
    const there = (names) => names.filter((column) => view.column(column));
    const telling = view.columns
      .filter(({ role, kind }) => role === 'metadata' && kind !== 'text')
      .map(({ name }) => [name, explorer.explained(view, name, 'loss')])
      .sort((a, b) => b[1] - a[1])
      .slice(0, 6)
      .map(([name]) => name);
    return [
      ...there(['file_name', 'cluster']),
      ...explorer.headlineColumns(view),
      ...there(['label_issue_kind', 'label_issue_score', 'decision']),
      ...telling,
    ];
  }

  // Where a value lies between the least and the greatest, for the bar in its cell.
  function share(column, row) {
    column.cache.ends ??= explorer.percentiles(column.values, [0, 0.99]);
    const [low, high] = column.cache.ends;
    const value = (column.values[row] - Math.min(0, low)) / (high - Math.min(0, low) || 1);
    return value === value ? Math.max(0, Math.min(1, value)) : 0;
  }

  explorer.addPage({
    id: 'samples',
    title: 'Samples',
    build(container) {
      this.samples = explorer.createSamples(container, {
        name: 'samples',
        first: 'gallery',
        overlay: explorer.overlayControl(),
      });
    },
    update(events) {
      this.samples.update(events);
    },
  });
})();
