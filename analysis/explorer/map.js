'use strict';
// The map: every sample is a dot, near to those that the network sees alike, in two dimensions or as
// a turning orthographic view of three. Dots are cut from one canvas with a sprite for each colour
// and size; those that no filter rejects lie over all others in grey, so a brush redraws only them.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
  const SIZES = 8; // different dot sizes when a column gives them
  const MAX_NAMES = 24;
  const PADDING = 28; // pixels around the dots

  // Draws a map into `container` and returns {draw(), resize()}. options:
  //   label      for screen readers
  //   view()     the view whose samples are shown
  //   mask()     Uint32Array with 0 for the rows that pass, or null if all do
  //   hovered()  row that is hovered here or elsewhere, or null;   selected() likewise
  //   onHover(row or null)   onOpen(row)
  //   onLasso(filter or null)  a polygon that was drawn; null where it was drawn around nothing
  //   polygon()  the polygon filter in force, or null
  //   onName(column, value)  a group's name was clicked
  explorer.createMap = function (container, options) {
    const canvases = [0, 1, 2].map(() => h('canvas', { 'aria-hidden': 'true' }));
    const [ground, dots, marks] = canvases;
    const names = h('div', { class: 'map-names' });
    const card = h('div', { class: 'map-card', hidden: true });
    const surface = h(
      'div',
      {
        class: 'map-surface',
        tabindex: 0,
        role: 'application',
        'aria-label': `${options.label}. Arrow keys move or turn it, plus and minus zoom, 0 shows all.`,
        onkeydown: onKey,
      },
      canvases,
      names,
    );
    const tools = h('div', { class: 'map-tools', role: 'toolbar', 'aria-label': 'Map tools' });
    container.classList.add('map');
    container.append(surface, tools, card);

    let [width, height, density] = [0, 0, 1];
    let mode = 'pan';
    let turn = null; // [yaw, pitch] in three dimensions
    let transform = d3.zoomIdentity;
    let place = null; // how coordinates become pixels before zooming: {scale, x, y}
    let xs = new Float32Array(0); // pixels of each row
    let ys = new Float32Array(0);
    let order = null; // rows in the order in which they are drawn
    let groundDrawn = false;
    let path = null; // [[x, y], …] in pixels while a box or lasso is drawn
    let spinning = false;
    let showNames = true;

    // ------------------------------------------------------------ tools

    const toolButtons = {};
    const tool = (key, icon, title, act) => {
      toolButtons[key] = explorer.iconButton(icon, title, act);
      tools.append(toolButtons[key]);
    };
    tool('pan', 'pan', 'Move the map (scroll to zoom)', () => setMode('pan'));
    tool('box', 'box', 'Select a box', () => setMode('box'));
    tool('lasso', 'lasso', 'Select with a lasso (or hold Shift and drag)', () => setMode('lasso'));
    tool('names', 'text', 'Names of the clusters', () => {
      showNames = !showNames;
      showTools();
      drawNames();
    });
    tool('cube', 'cube', 'Two or three dimensions', () => {
      turn = turn ? null : [0.6, 0.35];
      spinning = false;
      reset();
    });
    tool('spin', 'spin', 'Turn by itself', () => {
      spinning = !spinning;
      showTools();
      if (spinning) requestAnimationFrame(spin);
    });
    tool('reset', 'reset', 'Show all (0)', reset);

    function setMode(next) {
      mode = next;
      showTools();
    }

    function showTools() {
      for (const key of ['pan', 'box', 'lasso']) press(toolButtons[key], mode === key);
      press(toolButtons.names, showNames);
      press(toolButtons.cube, turn !== null);
      press(toolButtons.spin, spinning);
      toolButtons.cube.hidden = !options.view().map_3d;
      toolButtons.spin.hidden = turn === null;
      surface.dataset.mode = mode;
    }

    // ------------------------------------------------------------ where the dots are

    function findPlace() {
      const view = options.view();
      const points = turn ? view.map_3d : view.map_2d;
      const step = turn ? 3 : 2;
      const centre = [];
      let radius = 0;
      for (let axis = 0; axis < step; axis++) {
        let [low, high] = [Infinity, -Infinity];
        for (let i = axis; i < points.length; i += step) {
          if (points[i] < low) low = points[i];
          if (points[i] > high) high = points[i];
        }
        centre.push((low + high) / 2);
        const space = (axis === 1 ? height : width) - 2 * PADDING;
        radius = Math.max(radius, (high - low) / 2 / (turn ? Math.min(width, height) : space));
      }
      place = { centre, scale: 1 / (2 * radius || 1) / (turn ? 1.25 : 1) };
    }

    // Shifts and scale from coordinates (turned in three dimensions) to pixels: {scale, x, y}.
    function toPixels() {
      const scale = place.scale * transform.k;
      let [x, y] = place.centre;
      if (turn)
        [x, y] = explorer.turned(turn).map((axis) => d3.sum(axis, (a, i) => a * place.centre[i]));
      return {
        scale,
        x: transform.applyX(width / 2) - x * scale,
        y: transform.applyY(height / 2) + y * scale,
      };
    }

    function locate() {
      const view = options.view();
      const { scale, x, y } = toPixels();
      if (xs.length !== view.n) {
        [xs, ys] = [new Float32Array(view.n), new Float32Array(view.n)];
        order = null;
      }
      if (!turn) {
        const points = view.map_2d;
        for (let row = 0; row < view.n; row++) {
          xs[row] = x + points[2 * row] * scale;
          ys[row] = y - points[2 * row + 1] * scale;
        }
        order ??= shuffled(view.n);
        return;
      }
      const [right, up, near] = explorer.turned(turn);
      const points = view.map_3d;
      const depth = new Float32Array(view.n);
      for (let row = 0; row < view.n; row++) {
        const [a, b, c] = [points[3 * row], points[3 * row + 1], points[3 * row + 2]];
        xs[row] = x + (right[0] * a + right[1] * b + right[2] * c) * scale;
        ys[row] = y - (up[0] * a + up[1] * b + up[2] * c) * scale;
        depth[row] = near[0] * a + near[1] * b + near[2] * c;
      }
      order = byDepth(depth);
    }

    // ------------------------------------------------------------ drawing

    // Everything, as after a change of view, colours, size of the window or zoom.
    function draw() {
      if (!width || !options.view().map_2d) return;
      if (!place) findPlace();
      locate();
      groundDrawn = false;
      drawDots();
      drawNames();
    }

    function context(canvas) {
      const drawing = canvas.getContext('2d');
      drawing.setTransform(density, 0, 0, density, 0, 0);
      drawing.clearRect(0, 0, width, height);
      return drawing;
    }

    // Only what filters change.
    function drawDots() {
      if (!width || !place) return;
      const view = options.view();
      const mask = options.mask();
      const { color, size } = explorer.appearance;
      const all = !mask || mask.every((bits) => bits === 0);
      if (all) {
        if (groundDrawn) context(ground);
        groundDrawn = false;
      } else if (!groundDrawn) {
        const grey = { colors: [css('--dot-rejected')], code: () => 0 };
        stamp(context(ground), view, sprites(view, grey, null, 0.8), null);
        groundDrawn = true;
      }
      const scale = explorer.colorScale(view, view.column(color) ? color : 'loss');
      const sizes = size && view.column(size) ? sizeScale(view, size) : null;
      stamp(
        context(dots),
        view,
        sprites(view, scale, sizes, view.n > 5000 ? 0.75 : 0.9),
        all ? null : mask,
      );
      drawMarks();
    }

    function radius(view) {
      const crowd = Math.min(5, Math.max(1.5, 14 * view.n ** -0.2));
      return crowd * Math.sqrt(Math.min(width, height) / 600) * Math.min(3, transform.k ** 0.35);
    }

    // One canvas with a dot of each colour (columns) and size (rows).
    function sprites(view, scale, sizes, opacity) {
      const base = radius(view);
      const radii = sizes
        ? d3.range(SIZES).map((i) => base * (0.6 + (1.9 * i) / (SIZES - 1)))
        : [base];
      const cell = Math.ceil(2 * d3.max(radii) * density) + 4;
      const canvas = new OffscreenCanvas(cell * scale.colors.length, cell * radii.length);
      const drawing = canvas.getContext('2d');
      radii.forEach((r, row) =>
        scale.colors.forEach((fill, column) => {
          drawing.beginPath();
          drawing.arc((column + 0.5) * cell, (row + 0.5) * cell, r * density, 0, 2 * Math.PI);
          drawing.globalAlpha = opacity;
          drawing.fillStyle = fill;
          drawing.fill();
          if (view.n > 5000) return;
          drawing.globalAlpha = 1;
          drawing.lineWidth = 0.75 * density;
          drawing.strokeStyle = css('--surface');
          drawing.stroke();
        }),
      );
      return { canvas, cell, code: scale.code, sizeCode: sizes ?? (() => 0) };
    }

    function stamp(drawing, view, { canvas, cell, code, sizeCode }, mask) {
      const side = cell / density;
      const half = side / 2;
      const [right, bottom] = [width + half, height + half];
      for (let i = 0; i < order.length; i++) {
        const row = order[i];
        if (mask && mask[row] !== 0) continue;
        const [x, y] = [xs[row], ys[row]];
        if (x < -half || y < -half || x > right || y > bottom) continue;
        const [column, line] = [code(row) * cell, sizeCode(row) * cell];
        drawing.drawImage(canvas, column, line, cell, cell, x - half, y - half, side, side);
      }
    }

    // Rings around the hovered and the open sample and those similar to it, and what was drawn around.
    function drawMarks() {
      const drawing = context(marks);
      const view = options.view();
      const ring = (row, extra, line, colour) => {
        drawing.beginPath();
        drawing.arc(xs[row], ys[row], radius(view) + extra, 0, 2 * Math.PI);
        drawing.lineWidth = line;
        drawing.strokeStyle = colour;
        drawing.stroke();
      };
      const outline = path ?? polygonInPixels(options.polygon());
      if (outline?.length > 1) {
        drawing.beginPath();
        outline.forEach(([x, y], i) => (i ? drawing.lineTo(x, y) : drawing.moveTo(x, y)));
        drawing.closePath();
        drawing.fillStyle = css('--accent-faint');
        drawing.fill();
        drawing.lineWidth = 1.5;
        drawing.strokeStyle = css('--accent');
        drawing.stroke();
      }
      const [selected, hovered] = [options.selected(), options.hovered()];
      if (selected !== null) {
        const { similar } = view;
        if (similar) {
          const count = similar.index.shape[1];
          for (const row of similar.index.subarray(selected * count, (selected + 1) * count)) {
            if (row >= 0) ring(row, 2, 1.25, css('--text'));
          }
        }
        ring(selected, 4, 2.5, css('--accent'));
      }
      if (hovered !== null) ring(hovered, 3, 2, css('--text'));
    }

    // Null if it was drawn on a map that is turned otherwise.
    function polygonInPixels(filter) {
      if (!filter || String(filter.turn ?? '') !== String(turn ?? '')) return null;
      const { scale, x, y } = toPixels();
      return filter.points.map(([a, b]) => [x + a * scale, y - b * scale]);
    }

    // ------------------------------------------------------------ names of groups

    let namesOf = null; // the column whose names are there
    let labels = []; // {element, centre, width, height}

    function drawNames() {
      const column = showNames ? namedColumn(options.view()) : null;
      if (column !== namesOf) makeNames(column);
      if (!column) return;
      const { scale, x, y } = toPixels();
      const axes = turn && explorer.turned(turn);
      const taken = [];
      for (const label of labels) {
        const at = turn
          ? [0, 1].map((i) => d3.sum(axes[i], (a, j) => a * label.centre3[j]))
          : label.centre2;
        const [px, py] = [x + at[0] * scale, y - at[1] * scale];
        const spot = freeSpot(px, py, label, taken);
        label.element.hidden = !spot;
        if (!spot) continue;
        taken.push(spot);
        label.element.style.transform = `translate(${spot.left}px, ${spot.top}px)`;
      }
    }

    function makeNames(column) {
      namesOf = column;
      const view = options.view();
      labels = (column ? explorer.binsOf(view, column.name).values : [])
        .filter(({ value }) => value !== null)
        .slice(0, MAX_NAMES)
        .map(({ value, label }) => ({
          ...centres(view, column, value),
          element: h(
            'button',
            {
              type: 'button',
              tabindex: -1,
              title: `Only ${label}`,
              onclick: () => options.onName?.(column.name, value),
            },
            label,
          ),
        }));
      names.replaceChildren(...labels.map((label) => label.element));
      for (const label of labels) {
        [label.width, label.height] = [label.element.offsetWidth, label.element.offsetHeight];
      }
    }

    // The nearest place to (x, y) where a name covers no other and is not cut off, or null.
    function freeSpot(x, y, { width: w, height: tall }, taken) {
      if (x < 0 || y < 0 || x > width || y > height) return null;
      const left = Math.max(4, Math.min(width - w - 4, x - w / 2));
      for (const shift of [0, -0.6, 0.6, -1.1, 1.1, -1.7, 1.7]) {
        const spot = { left, top: y - tall / 2 + shift * tall, w, tall };
        const free = taken.every(
          (other) =>
            spot.left + w + 2 < other.left ||
            other.left + other.w + 2 < spot.left ||
            spot.top + tall < other.top ||
            other.top + other.tall < spot.top,
        );
        if (free && spot.top > 0 && spot.top + tall < height) return spot;
      }
      return null;
    }

    // ------------------------------------------------------------ pointer

    const zoom = d3
      .zoom()
      .scaleExtent([0.5, 60])
      .filter((event) => event.type === 'wheel' || (!selecting(event) && !turn && !event.button))
      .on('zoom', (event) => {
        transform = event.transform;
        hideCard();
        drawSoon();
      });
    d3.select(surface).call(zoom).on('dblclick.zoom', null);

    let drawing = false;
    function drawSoon() {
      if (!drawing) requestAnimationFrame(() => ((drawing = false), draw()));
      drawing = true;
    }

    const selecting = (event) => mode !== 'pan' || event.shiftKey;

    function local(event) {
      const box = surface.getBoundingClientRect();
      return [event.clientX - box.left, event.clientY - box.top];
    }

    let from = null; // where a drag began: {point, turn, moved}
    surface.addEventListener('pointerdown', (event) => {
      if (event.button || event.target.closest('button')) return;
      spinning = false;
      showTools();
      from = { point: local(event), turn, moved: false, shape: null };
      if (!selecting(event) && !turn) return;
      surface.setPointerCapture(event.pointerId);
      event.preventDefault();
      if (selecting(event)) from.shape = mode === 'box' ? 'box' : 'lasso';
    });

    surface.addEventListener('pointermove', (event) => {
      const point = local(event);
      if (!from) return hover(event, point);
      const [dx, dy] = [point[0] - from.point[0], point[1] - from.point[1]];
      if (Math.hypot(dx, dy) > 4) from.moved = true;
      if (!from.moved) return;
      hideCard();
      if (from.shape === 'box') {
        const [x, y] = from.point;
        path = [[x, y], [point[0], y], point, [x, point[1]]];
        selectSoon();
      } else if (from.shape === 'lasso') {
        path ??= [from.point];
        const [x, y] = path[path.length - 1];
        if (Math.hypot(point[0] - x, point[1] - y) > 4) path.push(point);
        drawMarks();
      } else if (turn) {
        turn = [from.turn[0] + dx / 150, Math.max(-1.57, Math.min(1.57, from.turn[1] + dy / 150))];
        drawSoon();
      }
    });

    surface.addEventListener('pointerup', (event) => {
      if (!from) return;
      const { moved, shape } = from;
      from = null;
      if (shape && moved) {
        select();
        path = null;
        drawMarks();
      } else if (!moved && !event.target.closest('button')) {
        const row = nearest(local(event));
        if (row !== null) options.onOpen(row);
        else if (shape) options.onLasso(null);
      }
    });
    surface.addEventListener('pointercancel', () => {
      from = path = null;
      drawMarks();
    });
    surface.addEventListener('pointerleave', () => {
      hideCard();
      options.onHover(null);
    });

    let choosing = false;
    function selectSoon() {
      if (!choosing)
        requestAnimationFrame(() => ((choosing = false), path && select(), drawMarks()));
      choosing = true;
    }

    function select() {
      const { scale, x, y } = toPixels();
      const points = path.map(([px, py]) =>
        [(px - x) / scale, (y - py) / scale].map((value) => Number(value.toPrecision(6))),
      );
      const label = from?.shape === 'box' || mode === 'box' ? 'Box on the map' : 'Lasso on the map';
      options.onLasso({ kind: 'polygon', points, label, ...(turn && { turn: [...turn] }) });
    }

    // The row of the dot nearest to a point, null if there is none within reach.
    function nearest([x, y]) {
      const mask = options.mask();
      let best = null;
      let least = Math.max(9, radius(options.view()) + 4) ** 2;
      for (let row = 0; row < xs.length; row++) {
        const [dx, dy] = [xs[row] - x, ys[row] - y];
        const distance = dx * dx + dy * dy;
        if (distance < least && !(mask && mask[row])) [best, least] = [row, distance];
      }
      return best;
    }

    function hover(event, point) {
      if (event.pointerType === 'touch' || event.target.closest('button')) return;
      const row = nearest(point);
      options.onHover(row);
      surface.dataset.over = row === null ? '' : 'dot';
      if (row === null) hideCard();
      else showCard(row);
    }

    function hideCard() {
      card.hidden = true;
    }

    function showCard(row) {
      if (card.hidden || card.row !== row) {
        card.row = row;
        card.replaceChildren(...cardContent(options.view(), row));
        card.hidden = false;
      }
      const [x, y] = [xs[row], ys[row]];
      const gap = 14;
      const left = x + gap + card.offsetWidth < width ? x + gap : x - gap - card.offsetWidth;
      const top = Math.min(height - card.offsetHeight - 4, Math.max(4, y - card.offsetHeight / 2));
      card.style.transform = `translate(${Math.max(4, left)}px, ${top}px)`;
    }

    function onKey(event) {
      const arrows = {
        ArrowLeft: [1, 0],
        ArrowRight: [-1, 0],
        ArrowUp: [0, 1],
        ArrowDown: [0, -1],
      };
      const arrow = arrows[event.key];
      const target = d3.select(surface);
      if (arrow && turn) {
        turn = [
          turn[0] - 0.1 * arrow[0],
          Math.max(-1.57, Math.min(1.57, turn[1] - 0.1 * arrow[1])),
        ];
        drawSoon();
      } else if (arrow)
        target.call(zoom.translateBy, (40 * arrow[0]) / transform.k, (40 * arrow[1]) / transform.k);
      else if (event.key === '+' || event.key === '=') target.call(zoom.scaleBy, 1.3);
      else if (event.key === '-') target.call(zoom.scaleBy, 1 / 1.3);
      else if (event.key === '0') reset();
      else if (event.key === 'Escape' && options.polygon()) options.onLasso(null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    function reset() {
      place = null;
      order = null;
      d3.select(surface).call(zoom.transform, d3.zoomIdentity);
      showTools();
    }

    function spin() {
      if (!spinning || !turn || !surface.offsetParent) return;
      turn = [turn[0] + 0.006, turn[1]];
      draw();
      requestAnimationFrame(spin);
    }

    // ------------------------------------------------------------ size

    function resize() {
      const [w, tall] = [surface.clientWidth, surface.clientHeight];
      if (!w || (w === width && tall === height && density === devicePixelRatio)) return;
      [width, height, density] = [w, tall, devicePixelRatio];
      for (const canvas of canvases) {
        canvas.width = Math.round(width * density);
        canvas.height = Math.round(height * density);
      }
      zoom.extent([
        [0, 0],
        [width, height],
      ]);
      place = null;
      draw();
    }
    new ResizeObserver(resize).observe(surface);

    let shown = null;
    return {
      // After a change of the view or of what dots look like.
      draw() {
        if (shown !== options.view()) {
          shown = options.view();
          namesOf = null;
          turn &&= shown.map_3d ? turn : null;
          reset();
        }
        showTools();
        draw();
      },
      drawDots, // after a change of the filters
      drawMarks, // after a change of what is hovered or open
    };
  };

  // ---------------------------------------------------------------- helpers

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function press(button, on) {
    button.setAttribute('aria-pressed', String(on));
  }

  // 0 … n-1, the same disorder every time, so that no group hides the others.
  function shuffled(n) {
    const rows = Int32Array.from({ length: n }, (_, row) => row);
    const random = d3.randomLcg(0.5);
    for (let i = n - 1; i > 0; i--) {
      const j = Math.floor(random() * (i + 1));
      [rows[i], rows[j]] = [rows[j], rows[i]];
    }
    return rows;
  }

  // Rows from the farthest to the nearest, by counting in 256 layers.
  function byDepth(depth) {
    const [low, high] = d3.extent(depth);
    const layers = Uint8Array.from(depth, (value) => (255 * (value - low)) / (high - low || 1));
    const starts = new Int32Array(257);
    for (const layer of layers) starts[layer + 1]++;
    for (let layer = 0; layer < 256; layer++) starts[layer + 1] += starts[layer];
    const rows = new Int32Array(depth.length);
    for (let row = 0; row < rows.length; row++) rows[starts[layers[row]]++] = row;
    return rows;
  }

  // A function of the row: step of dot size, areas growing with the value. Missing: smallest.
  function sizeScale(view, name) {
    const column = view.column(name);
    if (column.kind !== 'number') {
      const { codes, values } = explorer.binsOf(view, name);
      const rank = d3.rank(values, ({ value }) => String(value));
      return (row) => Math.round(((SIZES - 1) * rank[codes[row]]) / Math.max(1, values.length - 1));
    }
    column.cache.sizeDomain ??= explorer.percentiles(column.values, [0, 0.98]);
    const [low, high] = column.cache.sizeDomain;
    const values = column.values;
    return (row) => {
      const share = (values[row] - low) / (high - low || 1);
      return share > 0 ? Math.round((SIZES - 1) * Math.sqrt(Math.min(1, share))) : 0;
    };
  }

  // The column whose names are written on the map: what colours it if that is a grouping.
  function namedColumn(view) {
    const color = view.column(explorer.appearance.color);
    if (color?.role === 'cluster' && color.kind === 'category') return color;
    return view.column('cluster') ?? null;
  }

  // Medians of a group's places in both maps.
  function centres(view, column, value) {
    column.cache.centres ??= new Map();
    if (!column.cache.centres.has(value)) {
      const code = column.categories.indexOf(value);
      const rows = d3.range(view.n).filter((row) => column.values[row] === code);
      const median = (points, step, axis) => d3.median(rows, (row) => points[step * row + axis]);
      column.cache.centres.set(value, {
        centre2: [0, 1].map((axis) => median(view.map_2d, 2, axis)),
        centre3: view.map_3d && [0, 1, 2].map((axis) => median(view.map_3d, 3, axis)),
      });
    }
    return column.cache.centres.get(value);
  }

  // Picture and the columns that are asked for most.
  function cardContent(view, row) {
    const { color, size } = explorer.appearance;
    const wanted = ['cluster', ...explorer.headlineColumns(view).slice(0, 4), color, size];
    const columns = [...new Set(wanted)].map((name) => view.column(name)).filter(Boolean);
    return [
      explorer.thumbnail(row, { size: 152, view }),
      h('b', { class: 'card-name' }, view.format('file_name', row)),
      h(
        'dl',
        {},
        columns.map((column) => [
          h('dt', {}, column.label),
          h('dd', {}, view.format(column.name, row)),
        ]),
      ),
    ];
  }
  explorer.sampleCard = cardContent;

  // ---------------------------------------------------------------- legend

  // What the colours mean; of categories each is a button that filters.
  explorer.drawLegend = function (container, view, name) {
    const column = view.column(name);
    if (!column) return container.replaceChildren();
    const scale = explorer.colorScale(view, name);
    container.replaceChildren(
      h(
        'div',
        { class: 'legend-title' },
        column.label,
        column.unit && h('span', {}, ` ${column.unit}`),
      ),
      scale.kind === 'number' ? ramp(column, scale) : categories(view, column, scale),
    );
  };

  function ramp(column, { low, high, colors }) {
    const bar = h('div', { class: 'legend-ramp' });
    bar.style.background = `linear-gradient(to right, ${colors.slice(0, -1).join(', ')})`;
    const ends = [low, (low + high) / 2, high].map((value) => h('span', {}, explorer.short(value)));
    return h(
      'div',
      { title: '2nd to 98th percentile' },
      bar,
      h('div', { class: 'legend-ends' }, ends),
    );
  }

  const LEGEND_ROWS = 12;

  function categories(view, column, { values, colors }) {
    const chosen = explorer.filters.get(column.name)?.values;
    const { counts } = explorer.summarise(view, column.name);
    return h(
      'ul',
      {},
      values.slice(0, LEGEND_ROWS).map(({ value, label, code }, bin) => {
        const swatch = h('i', { class: 'swatch' });
        swatch.style.background = colors[code];
        return h(
          'li',
          {},
          h(
            'button',
            {
              type: 'button',
              title: `${label}: click to choose, again to let go`,
              'aria-pressed': String(!chosen || chosen.includes(value)),
              onclick: () => explorer.toggleValue(column.name, value),
            },
            swatch,
            h('span', { class: 'legend-label' }, label),
            h('span', { class: 'legend-count' }, counts[bin].toLocaleString('en')),
          ),
        );
      }),
      values.length > LEGEND_ROWS &&
        h('li', { class: 'legend-more' }, `and ${values.length - LEGEND_ROWS} more`),
    );
  }
})();
