'use strict';
/* global SampleList, Thumbnail */
// The samples over the whole page.

/** @type {Page} */
const Samples = (() => {
  /** @type {ReturnType<typeof SampleList.create>} */
  let samples;

  return {
    id: 'samples',
    title: 'Samples',
    build(container) {
      container.classList.add('panel');
      const overlay = Thumbnail.overlayControl();
      samples = SampleList.create(container, { name: 'samples', first: 'gallery', overlay });
    },
    update: (events) => samples.update(events),
  };
})();
