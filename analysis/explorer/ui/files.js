'use strict';
/* global Dom, Messages */
// Files that readers save and open; nothing is sent anywhere.

const Files = (() => {
  const { h } = Dom;

  /** Lets the reader save a text. @param {string} name @param {string} text @param {string} type */
  function save(name, text, type) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    h('a', { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  /** @param {string} name @param {any} value for JSON */
  const saveJson = (name, value) =>
    save(name, `${JSON.stringify(value, null, 2)}\n`, 'application/json');

  /** @param {string} text of a file @throws {Error} if it is not JSON */
  function parse(text) {
    try {
      return JSON.parse(text);
    } catch (error) {
      throw new Error(`This file is not JSON: ${error}`, { cause: error });
    }
  }

  /** A listener of a file field. `read` takes the content of a JSON file and says what was imported;
   * null if it has said itself what went wrong. @param {(content: any) => string | null} read */
  const opener = (read) => async (/** @type {Event} */ { target }) => {
    const field = /** @type {HTMLInputElement} */ (target);
    const [file] = field.files ?? [];
    field.value = '';
    if (!file) return;
    try {
      const what = read(parse(await file.text()));
      if (what !== null) Messages.notify(`${file.name}: imported ${what}.`);
    } catch (error) {
      Messages.fail(error, `${file.name}: `);
    }
  };

  return { save, saveJson, opener };
})();
