'use strict';
// The map: every sample is a dot, near to those that the network sees alike, in two dimensions or
// as a turning orthographic view of three. All dots lie there in grey first; that picture is kept,
// and a brush blends only those that pass over it.

(function () {
  const explorer = window.explorer;
  const { h } = explorer;
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
    const [dots, marks] = [0, 1].map(() => h('canvas', { 'aria-hidden': 'true' }));
    const names = h('div', { class: 'map-names' });
    const card = h('div', { class: 'map-card', hidden: true });
    const surface = h(
      'div',
      {
        class: 'map-surface',
        tabindex: 0,
        role: 'application',
        'aria-label': `${options.label}. Arrow keys move or turn it, + and - zoom, 0 shows all.`,
        onkeydown: onKey,
      },
      dots,
      marks,
      names,
    );
    const tools = h('div', { class: 'map-tools', role: 'toolbar', 'aria-label': 'Map tools' });
    container.classList.add('map');
    const nothing = h(
      'p',
      { class: 'nothing', hidden: true },
      'There is no map yet: ',
      h('code', {}, 'python -m analysis.similarity_map'),
      ' makes it.',
    );
    container.append(surface, nothing, tools, card);

    let [width, height, density] = [0, 0, 1];
    let mode = 'pan';
    let turn = null; // [yaw, pitch] in three dimensions
    let transform = d3.zoomIdentity;
    let place = null; // how coordinates become pixels before zooming: {scale, x, y}
    let xs = new Float32Array(0); // pixels of each row
    let ys = new Float32Array(0);
    let order = null; // rows in the order in which they are drawn
    let image = null; // ImageData of the dots
    let ground = null; // pixels with all dots in grey, until something moves
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

    // Fits all dots into the surface; turned ones in every direction.
    function findPlace() {
      const view = options.view();
      const points = turn ? view.map_3d : view.map_2d;
      const axes = turn ? 3 : 2;
      const ends = d3
        .range(axes)
        .map((axis) => d3.extent(points.filter((_, i) => i % axes === axis)));
      const centre = ends.map(([low, high]) => (low + high) / 2);
      const space = [width, height].map((pixels) => pixels - 2 * PADDING);
      let scale = d3.min(space, (pixels, axis) => pixels / (ends[axis][1] - ends[axis][0] || 1));
      if (turn) {
        let farthest = 0;
        for (let i = 0; i < points.length; i += 3) {
          const [x, y, z] = centre.map((middle, axis) => points[i + axis] - middle);
          farthest = Math.max(farthest, Math.hypot(x, y, z));
        }
        scale = d3.min(space) / 2 / (farthest || 1);
      }
      place = { centre, scale };
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
        order ??= explorer.shuffledRows(view.n);
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
      order = explorer.rowsByDepth(depth);
    }

    // ------------------------------------------------------------ drawing

    // Everything, as after a change of view, colours, size of the window or zoom.
    function draw() {
      nothing.hidden = Boolean(options.view().map_2d);
      if (!width || !nothing.hidden) return;
      if (!place) findPlace();
      locate();
      ground = null;
      drawDots();
      drawNames();
    }

    // Only what filters change.
    function drawDots() {
      if (!width || !place) return;
      const view = options.view();
      const mask = options.mask();
      const { color, size } = explorer.appearance;
      const pixels = new Uint32Array(image.data.buffer);
      const surface = explorer.pixelOf(css('--surface'));
      const crowded = view.n > 5000;
      const dot = { xs, ys, order, density, radius: radius(view) };
      const all = !mask || mask.every((bits) => bits === 0);
      if (all) pixels.fill(surface);
      else if (!ground) {
        pixels.fill(surface);
        const grey = { colors: [css('--dot-rejected')], code: () => 0 };
        explorer.blendDots(image, { ...dot, scale: grey });
        ground = pixels.slice();
      } else pixels.set(ground);
      const scale = explorer.colorScale(view, view.column(color) ? color : 'loss');
      explorer.blendDots(image, {
        ...dot,
        scale,
        sizes: view.column(size) ? explorer.sizeScale(view, size) : null,
        mask: all ? null : mask,
        halo: crowded ? null : css('--surface'),
        opacity: crowded ? 0.75 : 0.92,
      });
      dots.getContext('2d').putImageData(image, 0, 0);
      drawMarks();
    }

    function radius(view) {
      const crowd = Math.min(5, Math.max(1.5, 14 * view.n ** -0.2));
      return crowd * Math.sqrt(Math.min(width, height) / 600) * Math.min(3, transform.k ** 0.35);
    }

    // Rings around the hovered and the open sample and those similar to it, and what was drawn
    // around.
    function drawMarks() {
      const drawing = marks.getContext('2d');
      drawing.setTransform(density, 0, 0, density, 0, 0);
      drawing.clearRect(0, 0, width, height);
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
      const shifts = [0, -0.6, 0.6, -1.1, 1.1, -1.7, 1.7].flatMap((down) =>
        [0, -0.3, 0.3].map((aside) => [aside, down]),
      );
      for (const [aside, down] of shifts) {
        const left = Math.max(4, Math.min(width - w - 4, x + (aside - 0.5) * w));
        const spot = { left, top: y + (down - 0.5) * tall, w, tall };
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
      if (event.button || (event.target.closest('button') && !selecting(event))) return;
      spinning = false;
      showTools();
      surface.focus({ preventScroll: true });
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
      const label = mode === 'box' ? 'Box on the map' : 'Lasso on the map';
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
        card.replaceChildren(...explorer.sampleCard(options.view(), row));
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
      for (const canvas of [dots, marks]) {
        canvas.width = Math.round(width * density);
        canvas.height = Math.round(height * density);
      }
      image = new ImageData(dots.width, dots.height);
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

  // A colour of style.css. Kept for each theme: to ask makes the browser work out all styles.
  const kept = new Map();
  function css(name) {
    const root = document.documentElement;
    const key = `${root.dataset.theme} ${name}`;
    if (!kept.has(key)) kept.set(key, getComputedStyle(root).getPropertyValue(name).trim());
    return kept.get(key);
  }

  function press(button, on) {
    button.setAttribute('aria-pressed', String(on));
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
})();
