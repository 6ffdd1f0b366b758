'use strict';
/* global d3, Dom, Filters, Format, Legend, Neighbors, Network, PhotoFile, SampleMap, State,
   Thumbnail, Views */
// The page on which readers try the network with their own photographs: segmentation, place on the
// map and nearest samples. It is there if the report contains the network.

/** @type {Page} */
const Photograph = (() => {
  const { h } = Dom;
  const NEAREST = 12;
  // A photograph that is nearer than this to a sample is the same one, but for its compression.
  const SAME = 0.3;

  const input = h('input', {
    type: 'file',
    accept: 'image/*',
    hidden: true,
    onchange: () => {
      show([...(input.files ?? [])]);
      input.value = ''; // so that the same file can be chosen again
    },
  });
  const bar = h('progress', { max: 1, 'aria-label': 'Loading' });
  const doing = h('p.muted', { role: 'status' });
  const failure = h('p.photo-failure', { role: 'alert', hidden: true });
  const drop = h('div.photo-drop.stack', [
    h('p', h('strong', 'Drop a photograph here')),
    h('p.muted', 'or paste one (Ctrl+V), or'),
    h('button.button.primary', { onclick: () => input.click() }, 'Choose a file'),
    h('p.muted', 'It stays on this computer: the network runs in this page.'),
    bar,
    doing,
  ]);
  const title = h('h3.cut', { dir: 'auto' });
  const place = h('div.stage-place');
  const time = h('span.muted', {
    title: 'int8: a few pixels differ from the predictions in this report; float16: hardly any',
  });
  const opacity = Dom.slider('Overlay opacity', { min: 0, max: 1, step: 0.05 }, (value) =>
    State.setAppearance({ opacity: value }),
  );
  const shares = h('tbody');
  const answer = h('div.photo-answer', { hidden: true }, [
    title,
    place,
    h('div.stage-tools.line', [
      time,
      h('label.opacity.check.inline-flex.muted', 'Overlay', opacity),
    ]),
    h('table.photo-shares', { 'aria-label': 'Share of the pixels' }, shares),
  ]);
  const mapPanel = h('div.map-panel.grow');
  const legend = h('div.legend', { role: 'group', 'aria-label': 'Legend' });
  const similar = h('section.photo-similar');
  const placed = h('p.note');
  const body = h('div.photo-body', [
    h('div.photo-left', drop, input, failure, answer),
    h('div.photo-right.stack', h('div.photo-map.panel.stack', mapPanel), placed, similar),
  ]);
  const other = h('p.empty', { hidden: true });

  /** @type {ReturnType<typeof SampleMap.create>} */
  let map;
  /** @type {{ photo: Photo, found: Answer, near: Near } | null} */
  let shown = null;
  let latest = 0; // number of the photograph that was given last

  /** The view whose samples the network finds. */
  const own = () => State.manifest.model?.view;

  /** @param {HTMLElement} container */
  function build(container) {
    container.append(h('header.page-head.line', h('h2', 'Try a photograph')), other, body);
    map = SampleMap.create(mapPanel, {
      label: 'Map of the samples, with the place of the photograph',
      ...SampleMap.ofPage,
      near: () => shown?.near.rows ?? [],
      cross: placeOf,
    });
    mapPanel.append(legend);
    for (const name of ['dragenter', 'dragover']) {
      container.addEventListener(name, (event) => {
        event.preventDefault(); // else the browser leaves the report and shows the file
        drop.classList.add('over');
      });
    }
    container.addEventListener('dragleave', (event) => {
      const to = event.relatedTarget;
      if (!(to instanceof Node && container.contains(to))) drop.classList.remove('over');
    });
    container.addEventListener('drop', (event) => {
      event.preventDefault();
      drop.classList.remove('over');
      show([...(event.dataTransfer?.files ?? [])]);
    });
    document.addEventListener('paste', (event) => {
      if (State.page !== 'photograph') return;
      const isTyping = event.target instanceof Element && event.target.matches('input');
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length || !isTyping) show(files);
    });
    load().catch(fail);
  }

  /** @param {Set<string>} events */
  function update(events) {
    const isOwn = State.view.name === own();
    body.hidden = !isOwn;
    other.hidden = isOwn;
    if (!isOwn) {
      const name = String(own());
      const open = Dom.link(`Show ${name}`, () => Views.show(name));
      other.replaceChildren(`The network in this report finds samples of ${name}. `, open);
      return;
    }
    const has = (/** @type {string[]} */ ...names) => names.some((name) => events.has(name));
    if (has('view', 'appearance', 'page')) map.draw();
    else if (has('filters')) map.drawDots();
    else map.drawMarks();
    if (has('view', 'appearance', 'filters')) Legend.draw(legend, State.view);
    if (shown && has('view', 'appearance')) drawAnswer();
  }

  /** The network, with its progress on the page. */
  function load() {
    return Network.load((share, text) => {
      bar.hidden = false;
      bar.value = share;
      doing.textContent = `${text} …`;
    })
      .then((network) => {
        doing.textContent = '';
        return network;
      })
      .catch((error) => {
        const why = error instanceof Error ? error.message : error;
        throw new Error(`The network could not be started: ${why}`);
      })
      .finally(() => (bar.hidden = true));
  }

  /** @param {unknown} error */
  function fail(error) {
    doing.textContent = '';
    failure.textContent = error instanceof Error ? error.message : String(error);
    failure.hidden = false;
  }

  /** Shows what the network says of the first file. @param {File[]} files */
  async function show(files) {
    const number = ++latest;
    failure.hidden = true;
    try {
      if (!files.length) throw new Error('There is no image in what was dropped or pasted.');
      const [file] = files;
      const network = await load();
      doing.textContent = `Reading ${file.name} …`;
      const photo = await PhotoFile.read(file);
      const found = await network.run(photo).catch((error) => {
        throw new Error(`The network failed on ${file.name}: ${error?.message ?? error}`);
      });
      if (number !== latest) return; // another one was given meanwhile
      shown = { photo, found, near: Neighbors.find(network.points, found.embedding, NEAREST) };
      doing.textContent = files.length > 1 ? `The first of ${files.length} files is shown.` : '';
      drop.classList.add('small');
      if (State.view.name !== own()) return; // it is drawn when its view is shown again
      drawAnswer();
      map.drawMarks();
    } catch (error) {
      if (number === latest) fail(error);
    }
  }

  /** @param {Turn} turn */
  function placeOf(turn) {
    const { map_2d: flat, map_3d: deep } = State.view;
    const places = turn ? deep : flat;
    return shown && places ? Neighbors.place(places, shown.near) : null;
  }

  function drawAnswer() {
    if (!shown) return;
    const { photo, found } = shown;
    const strength = State.appearance.opacity;
    opacity.value = String(strength);
    title.textContent = photo.name;
    const stage = h('div.stage', {
      role: 'img',
      'aria-label': `${photo.name} with its segmentation`,
      style: { '--ratio': photo.width / photo.height },
    }, [
      photo.canvas,
      overlay(found, strength),
    ]);
    place.replaceChildren(stage);
    const { precision } = State.manifest.model ?? {};
    time.textContent = `computed in ${found.seconds.toFixed(2)} s (${precision})`;
    shares.replaceChildren(...sharesOf(found));
    answer.hidden = false;
    drawNear();
  }

  /** The classes in their colors; the background is clear.
   * @param {Answer} found @param {number} strength */
  function overlay({ classes, size }, strength) {
    const style = { opacity: strength };
    const canvas = h('canvas.layer', { width: size, height: size, style });
    const drawing = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const image = drawing.createImageData(size, size);
    const colors = State.manifest.class_colors.map((color) => parseInt(color.slice(1), 16));
    classes.forEach((number, i) => {
      const color = colors[number];
      if (number) image.data.set([color >> 16, (color >> 8) & 255, color & 255, 255], 4 * i);
    });
    drawing.putImageData(image, 0, 0);
    return canvas;
  }

  /** The share of the pixels of each class. @param {Answer} found */
  function sharesOf({ classes }) {
    const counts = State.view.class_names.map(() => 0);
    for (const number of classes) counts[number]++;
    return State.view.class_names.map((name, number) => {
      const share = counts[number] / classes.length;
      const color = number ? State.manifest.class_colors[number] : 'var(--faint)';
      return h('tr', [
        h('th', { scope: 'row' }, h('i.swatch', { style: { background: color } }), name),
        h('td.photo-bar', h('i', { style: { width: `${100 * share}%`, background: color } })),
        h('td.number', { 'data-share': name }, Format.percent(share)),
      ]);
    });
  }

  function drawNear() {
    if (!shown) return;
    const { rows, distances } = shown.near;
    const { view } = State;
    const thumbs = rows.map((row, k) => {
      const text = h('span.muted', distances[k].toFixed(2));
      return Thumbnail.button(view, row, Thumbnail.make(row, { size: 84, view }), text);
    });
    const label = `near ${shown.photo.name}`;
    const filter = () => Filters.set('similar', { kind: 'rows', rows, label });
    similar.replaceChildren(
      h('h3', 'Nearest in embedding space', Dom.link('keep only these', filter)),
      h('p.muted', nearness(distances[0])),
      h('div.thumbs', thumbs),
    );
    placed.textContent = view.map_2d
      ? 'The map cannot place new images. The cross is the mean position of the samples with ' +
        'rings, weighted by nearness. If the rings lie far apart, the cross means little.'
      : '';
  }

  /** How near the nearest sample is, against what is usual. @param {number} nearest distance */
  function nearness(nearest) {
    if (nearest < SAME) return 'The nearest sample is probably this very photograph.';
    const { similar: known } = State.view;
    if (!known) return '';
    const share = d3.bisectLeft(known.nearest, nearest) / known.nearest.length;
    return (
      `The nearest sample is ${nearest.toFixed(2)} away. Of the samples themselves, ` +
      `${Format.percent(share)} have a nearer one.`
    );
  }

  const isThere = () => Boolean(State.manifest.model);

  return { id: 'photograph', title: 'Try a photograph', build, update, shown: isThere };
})();
