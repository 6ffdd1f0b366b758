'use strict';
/* global SampleList, Thumbnail */
// The samples over the whole page.

const Samples = (() => {
  /** @type {ReturnType<typeof SampleList.create>} */
  let samples;

  /** @type {Page} */
  const page = {
    id: 'samples',
    title: 'Samples',
    build(container) {
      container.classList.add('panel');
      const overlay = Thumbnail.overlayControl();
      samples = SampleList.create(container, { name: 'samples', first: 'gallery', overlay });
    },
    update: (events) => samples.update(events),
  };
  return page;
})();
