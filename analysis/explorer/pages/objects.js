'use strict';
/* global Dom, Format, Plots, State, Views */
// The section of objects: how many there are, and as which class each is predicted.

/** @type {Section} */
const Objects = (() => {
  const { h } = Dom;

  return {
    title: 'Objects',
    command: 'objects',
    of: (view) => view.objects,
    count: (view) => view.objects?.num_objects ?? 0,
    draw(view) {
      const { objects } = view;
      if (!objects) return [];
      const [all, crowds, unseen] = [
        objects.num_objects, objects.num_crowds, objects.num_unseen,
      ].map(Format.count);
      const other = Views.otherRows(view);
      const show = () => {
        if (other) Views.show(other).then(() => State.showPage('explore'));
      };
      return [
        Dom.note(
          `${all} annotated objects of the classes in ${Format.count(objects.num_images)} images. ` +
            `Left out: ${crowds} crowd regions, and ${unseen} instances of which no pixel is ` +
            'visible at the network’s resolution.',
        ),
        view.rows_are === 'images' && h('p', Dom.link('Show the objects', show)),
        h('h3', 'Confusion of the objects'),
        Dom.note('Share of the objects of each class, by the class of most of their pixels.'),
        Plots.confusionMatrix(objects.class_names, objects.confusion, 'objects'),
      ];
    },
  };
})();
