'use strict';
// Short messages at the bottom of the page; screen readers read them too.

const Messages = (() => {
  /** @type {number | undefined} */
  let timer;

  /** @param {string} text shown for six seconds */
  function notify(text) {
    const toast = /** @type {HTMLElement} */ (document.getElementById('toast'));
    toast.textContent = text;
    toast.hidden = false;
    clearTimeout(timer);
    timer = window.setTimeout(() => (toast.hidden = true), 6000);
  }

  /** @param {unknown} error @param {string} [context] what it prevented */
  const fail = (error, context = '') =>
    notify(context + (error instanceof Error ? error.message : String(error)));

  return { notify, fail };
})();
