'use strict';
// Events by name: view (another one is shown, or its findings have loaded), filters, sort, sample
// (opened or closed), similar (similar samples have loaded), hover, appearance (colors, overlay,
// theme), decisions, page, saved (the state of a page), selections (saved views), step (the back
// button returns to the state before it).

const Events = (() => {
  /** @type {{ names: string[], handler: (events: Set<string>) => void }[]} */
  const handlers = [];
  /** @type {Set<string>} */
  const pending = new Set();

  /** @param {string} names separated by spaces @param {(events: Set<string>) => void} handler */
  function on(names, handler) {
    handlers.push({ names: names.split(' '), handler });
  }

  /** Calls the handlers in the next frame: each once, with all events of the frame.
   * @param {...string} names */
  function emit(...names) {
    if (!pending.size) requestAnimationFrame(flush);
    names.forEach((name) => pending.add(name));
  }

  function flush() {
    const events = new Set(pending);
    pending.clear();
    for (const { names, handler } of handlers) {
      if (!names.some((name) => events.has(name))) continue;
      try {
        handler(events);
      } catch (error) {
        reportError(error); // the others are called all the same
      }
    }
  }

  return { on, emit };
})();
