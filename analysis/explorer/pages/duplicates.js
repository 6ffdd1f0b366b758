'use strict';
/* global Dom, Format, Plots, Thumbnail */
// The section of duplicates: groups of copies over all splits, and what they do to the scores.

/** @type {Section} */
const Duplicates = (() => {
  const { h } = Dom;
  const SIZE = 88; // pixels, of an image
  const AT_FIRST = 20; // groups
  let isComplete = false;

  /** @param {View} view @param {CopyMember} member */
  function figure(view, { row, picture, split, image_id: id, file_name: file, kinds, similarity }) {
    const style = { 'max-width': `${SIZE}px`, 'max-height': `${SIZE}px` };
    const shown = picture ? h('img', { src: picture, alt: file, style }) : null;
    const words = kinds.length ? `${kinds.join(', ')} (${similarity.toFixed(3)})` : 'largest image';
    const image =
      row === null ? shown : Thumbnail.button(view, row, shown ?? Thumbnail.make(row, { view }));
    return h('figure.copy', { title: file }, [
      image ?? h('span.muted', { dir: 'auto' }, file),
      h('figcaption', [words, h('span.muted', { dir: 'auto' }, `${split} ${id}`)]),
    ]);
  }

  /** @param {LeakedScores} leakage */
  const scores = ({ scores }) =>
    Plots.intervalTable(scores, {
      columns: [
        Plots.texts('IoU over the set', ({ name }) => name),
        Plots.numbers('all images', ({ all }) => Format.short(all)),
        Plots.numbers('without copies', ({ without }) => Format.short(without)),
      ],
      head: 'all minus without, 95 % CI',
      value: ({ difference }) => difference ?? NaN,
    });

  return {
    title: 'Duplicates',
    command: 'duplicates',
    of: (view) => view.duplicates,
    count: (view) => view.duplicates?.groups.length ?? 0,
    draw(view, redraw) {
      const { groups = [], num_images: total = 0, leakage } = view.duplicates ?? {};
      const shown = isComplete ? groups : groups.slice(0, AT_FIRST);
      const showAll = () => {
        isComplete = true;
        redraw();
      };
      return [
        Dom.note(
          `Copies among the ${Format.count(total)} images of all splits: re-encoded, mirrored, ` +
            'cropped or changed in brightness. In parentheses: correlation of fine structure. ' +
            'Groups over several splits come first. Images of this view open with a click.',
        ),
        leakage &&
          h('section', [
            h('h3', 'Leakage'),
            Dom.note(
              `${Format.count(leakage.images)} images of this view have a copy among the ` +
                'training images.',
            ),
            leakage.images > 0 && scores(leakage),
          ]),
        groups.length
          ? h('h3', 'Groups of copies')
          : Dom.note('No image is a copy of another one.'),
        ...shown.map((group) =>
          h('div.copies.panel', group.map((member) => figure(view, member))),
        ),
        Dom.more(groups.length - shown.length, showAll),
      ];
    },
  };
})();
