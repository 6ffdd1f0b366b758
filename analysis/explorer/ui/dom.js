'use strict';
// Elements of the page.

const Dom = (() => {
  /**
   * The element that `tag` or `tag.class` makes.
   * @template {string} S
   * @typedef {S extends `${infer T extends keyof HTMLElementTagNameMap}.${string}`
   *   ? HTMLElementTagNameMap[T]
   *   : S extends keyof HTMLElementTagNameMap ? HTMLElementTagNameMap[S] : HTMLElement} Made
   */

  /** An element, such as h('button.link', { title }, 'Clear all').
   * @template {string} S
   * @param {S} selector tag and classes, separated by dots
   * @param {...any} parts attributes (see fill), if the first is an object; then children: nodes,
   *   texts and lists of them; null, undefined and false are left out
   * @returns {Made<S>} */
  function h(selector, ...parts) {
    const [tag, ...classes] = selector.split('.');
    const node = document.createElement(tag);
    if (node instanceof HTMLButtonElement) node.type = 'button';
    return /** @type {Made<S>} */ (fill(node, classes, parts));
  }

  /** An SVG element; see h. @param {string} selector @param {...any} parts */
  function svg(selector, ...parts) {
    const [tag, ...classes] = selector.split('.');
    return fill(document.createElementNS('http://www.w3.org/2000/svg', tag), classes, parts);
  }

  /** Attributes: functions are listeners (onclick), `style` is an object of properties, `class` is
   * added to the classes; null, undefined and false are left out, true is empty.
   * @template {Element} E @param {E} node @param {string[]} classes @param {any[]} parts */
  function fill(node, classes, parts) {
    const [first] = parts;
    const given = first?.constructor === Object;
    const setProperty = (/** @type {any} */ [name, value]) =>
      /** @type {any} */ (node).style.setProperty(name, value);
    node.classList.add(...classes);
    for (const [name, value] of Object.entries(given ? first : {})) {
      if ([null, undefined, false].includes(value)) continue;
      if (typeof value === 'function') node.addEventListener(name.slice(2), value);
      else if (name === 'style') Object.entries(value).forEach(setProperty);
      else if (name === 'class') node.classList.add(...value.split(' '));
      else node.setAttribute(name, value === true ? '' : value);
    }
    const children = (given ? parts.slice(1) : parts).flat(Infinity);
    node.append(...children.filter((child) => ![null, undefined, false].includes(child)));
    return node;
  }

  // Lines on a 16 × 16 grid.
  /** @type {Record<string, string>} */
  const icons = {
    close: 'M4 4l8 8M12 4l-8 8',
    down: 'M4 6l4 4 4-4',
    right: 'M6 4l4 4-4 4',
    left: 'M10 4l-4 4 4 4',
    search: 'M7 2.5a4.5 4.5 0 1 0 0 9a4.5 4.5 0 1 0 0-9M10.5 10.5L14 14',
    theme: 'M13.2 9.8A5.6 5.6 0 1 1 6.2 2.8a4.6 4.6 0 0 0 7 7z',
    pan: 'M8 2v12M2 8h12M6 4l2-2 2 2M6 12l2 2 2-2M4 6L2 8l2 2M12 6l2 2-2 2',
    box: 'M2.5 2.5h11v11h-11z',
    lasso:
      'M8 2.5c3.6 0 6 1.7 6 4s-2.4 4-6 4-6-1.7-6-4 2.4-4 6-4M5 10c-2 1-1 2.5 0 2.2M5 12.2L4 14.2',
    reset: 'M3 8a5 5 0 1 0 1.6-3.7M3 2.5v3h3',
    cube: 'M8 1.8l5.5 3v6.4L8 14.2l-5.5-3V4.8zM8 8l5.5-3.2M8 8L2.5 4.8M8 8v6.2',
    spin: 'M13.5 6.5A6 6 0 0 0 2.6 6M2.5 9.5a6 6 0 0 0 10.9.5M13.7 3v3.5h-3.5M2.3 13V9.5h3.5',
    text: 'M3 4V2.8h10V4M8 2.8v10.4M6 13.2h4',
    table: 'M2 3h12v10H2zM2 6.3h12M2 9.7h12M6 3v10',
    gallery: 'M2 2h5v5H2zM9 2h5v5H9zM2 9h5v5H2zM9 9h5v5H9z',
    columns: 'M2 3h12v10H2zM6 3v10M10 3v10',
  };

  /** @param {string} name */
  const icon = (name) =>
    svg('svg.icon', { viewBox: '0 0 16 16', 'aria-hidden': true }, svg('path', { d: icons[name] }));

  /** @param {string} name of the icon @param {string} title @param {() => void} onclick
   * @param {object} [more] attributes */
  const iconButton = (name, title, onclick, more = {}) =>
    h('button.icon-button.inline-flex.soft', { title, 'aria-label': title, onclick, ...more }, [
      icon(name),
    ]);

  /** A button that looks like a link.
   * @param {string} text @param {() => void} onclick @param {object} [more] attributes */
  const link = (text, onclick, more = {}) => h('button.link', { onclick, ...more }, text);

  /** A link "<count> more" that disappears when clicked; null if there are no more.
   * @param {number} count @param {() => void} show */
  function more(count, show) {
    if (count <= 0) return null;
    const node = link(`${count} more`, () => {
      node.remove();
      show();
    });
    return node;
  }

  /** A select with a label before it.
   * @param {string} label @param {string | null} value @param {(value: string) => void} onchange
   * @param {(string[] | { label: string, options: string[][] })[]} options [value, text] each */
  function select(label, options, value, onchange) {
    const option = (/** @type {string[]} */ [key, text]) =>
      h('option', { value: key, selected: key === value }, text);
    const entries = options.map((entry) =>
      Array.isArray(entry)
        ? option(entry)
        : h('optgroup', { label: entry.label }, entry.options.map(option)),
    );
    const field = h('select', { onchange: () => onchange(field.value) }, entries);
    return h('label.select.inline-flex.soft', h('span', label), field);
  }

  /** A checkbox with a label.
   * @param {string} label @param {boolean} checked @param {(on: boolean) => void} onchange */
  function check(label, checked, onchange) {
    const box = h('input', { type: 'checkbox', checked, onchange: () => onchange(box.checked) });
    return h('label.check.inline-flex', box, label);
  }

  /** A slider.
   * @param {string} title @param {object} attributes @param {(value: number) => void} oninput */
  function slider(title, attributes, oninput) {
    const field = h('input', {
      type: 'range',
      title,
      'aria-label': title,
      oninput: () => oninput(Number(field.value)),
      ...attributes,
    });
    return field;
  }

  const FOCUSABLE = 'a[href], button, input, select, summary, [tabindex]';
  const TYPED = '[type=text], [type=search]';
  const BY_KEYBOARD = `:focus-visible:not(${TYPED})`;

  /** Gives an element other children. Those that it keeps stay where they are: out of the page, a
   * slider could not be dragged on. The keyboard stays on the control of the same number; after a
   * click, and out of a field that was typed in, the keys are for the page.
   * @param {Element} box @param {...(Node | null | undefined | false)} parts */
  function replace(box, ...parts) {
    const active = document.activeElement;
    const isKept = active && box.contains(active) && active.matches(BY_KEYBOARD);
    const place = isKept ? [...box.querySelectorAll(FOCUSABLE)].indexOf(active) : -1;
    const children = parts.filter((part) => part instanceof Node);
    for (const child of [...box.childNodes]) if (!children.includes(child)) child.remove();
    let next = box.firstChild;
    for (const child of children) {
      if (child === next) next = next.nextSibling;
      else box.insertBefore(child, next);
    }
    if (box.contains(document.activeElement)) return; // it was kept
    const again = box.querySelectorAll(FOCUSABLE)[place];
    if (again instanceof HTMLElement && !again.matches(TYPED)) again.focus({ preventScroll: true });
  }

  /** @param {string} text of a paragraph that explains */
  const note = (text) => h('p.note', text);

  /** @param {string} command the module that computes what is missing @param {View} view
   * @param {boolean} [isLoaded] whether it would be there */
  function missing(command, view, isLoaded = view.loaded) {
    const reason = view.unavailable?.[command];
    const text = reason
      ? `Not available here: ${reason}.`
      : `Not analyzed yet: run python -m analysis.${command}`;
    const waits = view.failure ? `Not loaded: ${view.failure}` : 'Loading …';
    return h('p.empty', isLoaded ? text : waits);
  }

  /** Makes an element act like a button, for mouse, keyboard and screen readers.
   * @param {any} element @param {string} label @param {() => void} act */
  function makeButton(element, label, act) {
    element.tabIndex = 0;
    element.classList.add('clickable');
    element.setAttribute('aria-label', label);
    element.addEventListener('click', act);
    element.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
      if (event.target !== element || (event.key !== 'Enter' && event.key !== ' ')) return;
      event.preventDefault();
      act();
    });
  }

  /** @param {Element} button @param {boolean} on */
  const press = (button, on) => button.setAttribute('aria-pressed', String(on));

  return Object.freeze({
    h, svg, icon, iconButton, link, more, select, check, slider, replace, note, missing, makeButton,
    press,
  });
})();
