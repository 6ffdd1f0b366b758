'use strict';
/* global Dom, Files, Format, Show, Thumbnail */
// The section of images to label next: uncertain, and unlike all that are labeled.

/** @type {Section} */
const LabelNext = (() => {
  const { h } = Dom;
  const SIZE = 88; // pixels, of an image
  const AT_FIRST = 60; // images
  let isComplete = false;

  /** @param {View} view @param {ToLabel} image @param {number} place */
  const figure = (view, { row, uncertainty, distance }, place) =>
    h('figure.copy', [
      Thumbnail.button(view, row, Thumbnail.make(row, { size: SIZE, view })),
      h('figcaption', [
        `${place + 1}: ${Format.short(uncertainty)} × ${Format.short(distance)}`,
        h('span.three-lines', { dir: 'auto' }, view.format('file_name', row)),
      ]),
    ]);

  /** @param {View} view @param {ToLabel[]} images */
  function save(view, images) {
    const ids = images.map(({ row }) => view.value('image_id', row));
    Files.saveJson('next_to_label.json', { fingerprint: view.fingerprint, ids });
  }

  return {
    title: 'Label next',
    command: 'label_next',
    of: (view) => view.label_next,
    count: (view) => view.label_next?.images.length ?? 0,
    draw(view, redraw) {
      const { images = [], labeled = [], num_labeled: labels = 0, num_unlabeled: total = 0,
        median_distance: [before, after] = [] } = view.label_next ?? {};
      const shown = isComplete ? images : images.slice(0, AT_FIRST);
      const showAll = () => {
        isComplete = true;
        redraw();
      };
      const showOnMap = () => Show.range('label_next_rank', 1, images.length);
      return [
        Dom.note(
          `${Format.count(images.length)} of ${Format.count(total)} images without annotations, ` +
            'in the order in which to label them: uncertainty (mean entropy in nats) × distance ' +
            'in embedding space to the nearest image that is labeled or comes before. Labeled ' +
            `are the ${Format.count(labels)} images of ${labeled.join(', ')}. The median distance ` +
            `of an unlabeled image to the nearest labeled one is ${Format.short(before)}, and ` +
            `${Format.short(after)} once all of the list are labeled.`,
        ),
        h('p.line', [
          h('button.button.primary', { id: 'save-next', onclick: () => save(view, images) }, [
            'Export ids',
          ]),
          Dom.link('Show these images on the map', showOnMap),
        ]),
        h('div.copies.panel', shown.map((image, place) => figure(view, image, place))),
        Dom.more(images.length - shown.length, showAll),
      ];
    },
  };
})();
