'use strict';
/* global d3, Dom, Filters, Legend, MapCamera, MapCanvas, MapNames, State */
// The map: every sample is a dot, near to those that are close in embedding space, in two
// dimensions or as a rotating orthographic view of three.

const SampleMap = (() => {
  const { h } = Dom;
  /** @type {Record<string, Point>} */
  const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };

  /**
   * @typedef {object} MapOptions
   * @property {string} label for screen readers
   * @property {() => View} view whose samples are shown
   * @property {() => Uint16Array | null} mask 0 for the rows that pass; null if all do
   * @property {() => number | null} hovered row that is hovered here or elsewhere
   * @property {() => number | null} selected row that is open
   * @property {(row: number | null) => void} onHover
   * @property {(row: number) => void} onOpen
   * @property {(filter: Filter | null) => void} onLasso a polygon was drawn; null: it is removed
   * @property {() => Filter | null} polygon the polygon filter in force
   * @property {(column: string, value: Value) => void} onName the name of a group was clicked
   * @property {() => number[]} [near] rows with rings
   * @property {(turn: Turn) => number[] | null} [cross] where a cross is drawn, x, y (and z in 3-D)
   */

  /** The samples, filters and marks of the page. @type {Omit<MapOptions, 'label'>} */
  const ofPage = {
    view: () => State.view,
    mask: () => Filters.mask,
    hovered: () => State.hovered,
    selected: () => State.selected,
    onHover: State.hoverSample,
    onOpen: State.openSample,
    onLasso: (filter) => (filter ? Filters.set('map', filter) : Filters.remove('map')),
    polygon: () => Filters.all.get('map') ?? null,
    onName: Filters.toggle,
  };

  /** Draws a map. @param {HTMLElement} container @param {MapOptions} options */
  function create(container, options) {
    const camera = new MapCamera();
    const canvas = new MapCanvas();
    const names = new MapNames(options.onName);
    const card = h('div.map-card.panel', { hidden: true });
    const surface = h('div.map-surface.fill', {
      tabindex: 0,
      role: 'application',
      'aria-label': `${options.label}. Arrow keys move or rotate it, + and - zoom, 0 fits it.`,
      onkeydown: onKey,
    }, [canvas.dots, canvas.marks, names.element]);
    const tools = h('div.map-tools.flex.panel', { role: 'toolbar', 'aria-label': 'Map tools' });
    const nothing = h('p.nothing', { hidden: true });
    container.classList.add('map');
    container.append(surface, nothing, tools, card);

    let mode = 'pan';
    let spinning = false;
    let showNames = true;
    let rest = 0; // timer
    /** @type {Point[] | null} */
    let path = null; // pixels, while a box or lasso is drawn
    /** @type {View | null} */
    let shown = null;

    /** @type {Record<string, HTMLElement>} */
    const buttons = {};
    /** @param {string} icon @param {string} title @param {() => void} act */
    function tool(icon, title, act) {
      buttons[icon] = Dom.iconButton(icon, title, () => {
        act();
        showTools();
      });
      tools.append(buttons[icon]);
    }
    tool('pan', 'Move the map (scroll to zoom)', () => (mode = 'pan'));
    tool('box', 'Select a box', () => (mode = 'box'));
    tool('lasso', 'Select with a lasso (or hold Shift and drag)', () => (mode = 'lasso'));
    tool('text', 'Cluster names', () => {
      showNames = !showNames;
      drawNames();
    });
    tool('cube', 'Two or three dimensions', () => {
      camera.turn = camera.turn ? null : [0.6, 0.35];
      spinning = false;
      reset();
    });
    tool('spin', 'Rotate continuously', () => {
      spinning = !spinning;
      if (spinning) requestAnimationFrame(spin);
    });
    tool('reset', 'Fit all samples (0)', reset);

    function showTools() {
      for (const key of ['pan', 'box', 'lasso']) Dom.press(buttons[key], mode === key);
      Dom.press(buttons.text, showNames);
      Dom.press(buttons.cube, camera.turn !== null);
      Dom.press(buttons.spin, spinning);
      buttons.cube.hidden = !options.view().map_3d;
      buttons.spin.hidden = camera.turn === null;
      surface.dataset.mode = mode;
    }

    const hasMap = () => Boolean(options.view().map_2d);

    /** Everything, as after a change of the view, colors, zoom or size. */
    function draw() {
      const isThere = hasMap();
      nothing.hidden = isThere;
      surface.hidden = tools.hidden = !isThere;
      if (!isThere) {
        card.hidden = true;
        nothing.textContent = Dom.missing('similarity_map', options.view(), true).textContent;
      }
      if (!camera.width || !isThere) return;
      camera.locate(options.view());
      canvas.forget();
      drawDots();
      drawNames();
    }

    /** What filters change: of a great many dots some at first, and all once nothing changes. In 3-D
     * they are ordered by depth, so the first ones are no random choice.
     * @param {number} [most] */
    function drawDots(most = camera.turn ? Infinity : MapCamera.AT_ONCE) {
      clearTimeout(rest);
      if (!camera.order.length || !hasMap()) return;
      canvas.drawDots(options.view(), camera, options.mask(), most);
      drawMarks();
      if (camera.order.length > most) rest = setTimeout(() => drawDots(Infinity), 200);
    }

    /** What hovering, opening and selecting change. */
    function drawMarks() {
      if (!hasMap()) return;
      const cross = options.cross?.(camera.turn);
      canvas.drawMarks(options.view(), camera, {
        near: options.near?.(),
        cross: cross && camera.see(cross),
        selected: options.selected(),
        hovered: options.hovered(),
        outline: path ?? camera.outline(options.polygon()),
      });
    }

    function drawNames() {
      const view = options.view();
      names.draw(view, showNames ? namedColumn(view) : null, camera);
    }

    const drawSoon = oncePerFrame(draw);

    function reset() {
      camera.reset();
      d3.select(/** @type {Element} */ (surface)).call(zoom.transform, d3.zoomIdentity);
      showTools();
    }

    function spin() {
      if (!spinning || !camera.turn) return;
      if (!surface.offsetParent) {
        spinning = false; // another page is shown
        showTools();
        return;
      }
      camera.rotate(0.006, 0);
      draw();
      requestAnimationFrame(spin);
    }

    new ResizeObserver(() => {
      const [width, height] = [surface.clientWidth, surface.clientHeight];
      if (!width || !canvas.resize(width, height)) return;
      camera.resize(width, height);
      zoom.extent([[0, 0], [width, height]]);
      draw();
    }).observe(surface);

    /** @type {d3.ZoomBehavior<Element, unknown>} */
    const zoom = d3.zoom();
    zoom
      .scaleExtent([0.5, 60])
      .filter(
        (event) =>
          event.type === 'wheel' || (!isSelecting(event) && !camera.turn && !event.button),
      )
      .on('zoom', (event) => {
        camera.zoom = event.transform;
        card.hidden = true;
        drawSoon();
      });
    d3.select(/** @type {Element} */ (surface)).call(zoom).on('dblclick.zoom', null);

    /** @param {MouseEvent} event */
    const isSelecting = (event) => mode !== 'pan' || event.shiftKey;

    /** @param {MouseEvent} event */
    const isOnButton = ({ target }) => target instanceof Element && target.closest('button');

    /** @param {MouseEvent} event */
    const nearest = (event) =>
      hasMap() ? camera.nearest(options.view(), d3.pointer(event, surface), options.mask()) : null;

    /** @type {{ point: Point, turn: Turn, moved: boolean, shape: string | null } | null} */
    let drag = null;

    surface.addEventListener('pointerdown', (event) => {
      const selecting = isSelecting(event);
      if (event.button || (isOnButton(event) && !selecting)) return;
      spinning = false;
      showTools();
      surface.focus({ preventScroll: true });
      const shape = selecting ? (mode === 'box' ? 'box' : 'lasso') : null;
      drag = { point: d3.pointer(event, surface), turn: camera.turn, moved: false, shape };
      if (!selecting && !camera.turn) return;
      surface.setPointerCapture(event.pointerId);
      event.preventDefault();
    });

    surface.addEventListener('pointermove', (event) => {
      if (drag && !event.buttons) drag = path = null; // it was released outside of the map
      if (!drag) return hover(event);
      const point = d3.pointer(event, surface);
      const [[x, y], [px, py]] = [drag.point, point];
      if (Math.hypot(px - x, py - y) > 4) drag.moved = true;
      if (!drag.moved) return;
      card.hidden = true;
      if (drag.shape === 'box') {
        path = [[x, y], [px, y], point, [x, py]];
        selectSoon();
      } else if (drag.shape === 'lasso') {
        path ??= [drag.point];
        const [lastX, lastY] = path[path.length - 1];
        if (Math.hypot(px - lastX, py - lastY) > 4) path.push(point);
        drawMarks();
      } else if (camera.turn) {
        camera.rotate((px - x) / 150, (py - y) / 150, drag.turn);
        drawSoon();
      }
    });

    surface.addEventListener('pointerup', (event) => {
      if (!drag) return;
      const { moved, shape } = drag;
      drag = null;
      if (shape && moved) {
        select();
        path = null;
        drawMarks();
      } else if (!moved && !isOnButton(event)) {
        const row = nearest(event);
        if (row !== null) options.onOpen(row);
        else if (shape) options.onLasso(null);
      }
    });
    surface.addEventListener('pointercancel', () => {
      drag = path = null;
      drawMarks();
    });
    surface.addEventListener('pointerleave', () => {
      card.hidden = true;
      options.onHover(null);
    });

    const selectSoon = oncePerFrame(() => {
      select();
      drawMarks();
    });

    function select() {
      if (!path) return;
      const points = camera.toMap(path);
      const label = mode === 'box' ? 'Box on the map' : 'Lasso on the map';
      const turned = camera.turn && { turn: camera.turn };
      options.onLasso({ kind: 'polygon', points, label, ...turned });
    }

    /** @param {PointerEvent} event */
    function hover(event) {
      if (event.pointerType === 'touch' || isOnButton(event)) return;
      const row = nearest(event);
      options.onHover(row);
      surface.dataset.over = row === null ? '' : 'dot';
      if (row === null) card.hidden = true;
      else showCard(row);
    }

    /** @param {number} row */
    function showCard(row) {
      if (card.hidden || card.dataset.row !== String(row)) {
        card.dataset.row = String(row);
        card.replaceChildren(...Legend.card(options.view(), row));
        card.hidden = false;
      }
      const [x, y] = [camera.xs[row], camera.ys[row]];
      const [width, height, gap] = [card.offsetWidth, card.offsetHeight, 14];
      const left = x + gap + width < camera.width ? x + gap : x - gap - width;
      const top = Math.min(camera.height - height - 4, Math.max(4, y - height / 2));
      card.style.transform = `translate(${Math.max(4, left)}px, ${top}px)`;
    }

    /** @param {KeyboardEvent} event */
    function onKey(event) {
      const { key } = event;
      const arrow = ARROWS[key];
      const target = d3.select(/** @type {Element} */ (surface));
      if (arrow && camera.turn) {
        camera.rotate(-0.1 * arrow[0], -0.1 * arrow[1]);
        drawSoon();
      } else if (arrow) {
        const step = 40 / camera.zoom.k;
        target.call(zoom.translateBy, step * arrow[0], step * arrow[1]);
      } else if (key === '+' || key === '=') target.call(zoom.scaleBy, 1.3);
      else if (key === '-') target.call(zoom.scaleBy, 1 / 1.3);
      else if (key === '0') reset();
      else if (key === 'Escape' && options.polygon()) options.onLasso(null);
      else return;
      event.preventDefault();
      event.stopPropagation();
    }

    return {
      /** After a change of the view or of what dots look like. */
      draw() {
        if (shown !== options.view()) {
          shown = options.view();
          if (!shown.map_3d) camera.turn = null;
          reset();
        }
        showTools();
        draw();
      },
      drawDots: () => drawDots(),
      drawMarks,
    };
  }

  /** @param {() => void} act @returns {() => void} calls `act` in the next frame, once */
  function oncePerFrame(act) {
    let frame = 0;
    return () => {
      cancelAnimationFrame(frame);
      frame = requestAnimationFrame(act);
    };
  }

  /** The column whose names are on the map: its colors if they are clusters. @param {View} view */
  function namedColumn(view) {
    const color = view.column(State.appearance.color);
    return color?.role === 'cluster' ? color : (view.column('cluster') ?? null);
  }

  return { create, ofPage };
})();
