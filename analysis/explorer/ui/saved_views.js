'use strict';
/* global Dom, Events, Files, Filters, Format, Messages, Selections, State */
// The dialog of saved views: saves what passes the filters, shows, exports and imports.

const SavedViews = (() => {
  const { h } = Dom;

  const dialog = h('dialog.saved-views.panel', { 'aria-label': 'Saved views' });
  // Its keys are not those of the page below.
  dialog.addEventListener('keydown', (event) => event.stopPropagation());
  document.body.append(dialog);

  function draw() {
    const name = h('input.grow', {
      id: 'view-name',
      type: 'text',
      maxlength: 200,
      required: true,
      placeholder: 'Name, such as dark streets',
      'aria-label': 'Name of the saved view',
      dir: 'auto',
      onkeydown: (/** @type {KeyboardEvent} */ { key }) => key === 'Enter' && save(name.value),
    });
    const file = h('input', {
      id: 'import-views',
      type: 'file',
      accept: '.json,application/json',
      hidden: true,
      onchange: Files.opener(read),
    });
    const entries = [...Selections.saved()];
    const hasObjects = State.view.rows_are === 'objects';
    const passing = Format.count(Filters.passing());
    dialog.replaceChildren(
      h('header.line', [
        h('h3.grow', 'Saved views'),
        Dom.iconButton('close', 'Close (Escape)', () => dialog.close()),
      ]),
      h('p.line', [
        name,
        h('button.button.primary', { id: 'save-view', onclick: () => save(name.value) }, [
          hasObjects ? `Save the images of ${passing} objects` : `Save ${passing} samples`,
        ]),
      ]),
      entries.length
        ? h('ul', entries.map(entry))
        : h('p.muted', [
            `A saved view keeps the ${hasObjects ? 'images of the objects' : 'samples'} that pass `,
            'the filters now.',
          ]),
      h('p.line', [
        h('button.button', { id: 'export-views', onclick: () => Files.saveJson('views.json', Selections.exported()) }, [
          'Export views.json',
        ]),
        h('button.button', { id: 'export-csv', onclick: () => Files.save('views.csv', Selections.csv(), 'text/csv') }, 'CSV'),
        h('button.button', { onclick: () => file.click() }, 'Import …'),
        file,
      ]),
      h('p.note', [
        h('code.unbroken', 'python -m analysis.check --views views.json'),
        ' compares models on them, ',
        h('code.unbroken', '--config.data.exclude="views.json#name"'),
        ' trains without one.',
      ]),
    );
  }

  /** @param {[string, number[]]} entry */
  function entry([name, ids]) {
    const here = ids.filter((id) => State.view.rowOf(id) >= 0).length;
    const count = here < ids.length ? `${Format.count(here)} of ${Format.count(ids.length)} here` : '';
    const show = () => {
      Selections.show(name);
      dialog.close();
    };
    return h('li.line', [
      Dom.link(name, show, { class: 'cut grow', dir: 'auto' }),
      h('span.muted', count || Format.count(ids.length)),
      Dom.iconButton('close', `Delete the saved view ${name}`, () => Selections.remove(name)),
    ]);
  }

  /** @param {string} name */
  function save(name) {
    try {
      Selections.save(name);
    } catch (error) {
      Messages.fail(error);
    }
  }

  function read(/** @type {any} */ file) {
    const count = Selections.add(file);
    return count === null ? null : `${count} saved views`;
  }

  Events.on('selections filters view', () => {
    if (!dialog.open) return;
    draw();
    toName(); // what had the focus is gone
  });

  const toName = () => document.getElementById('view-name')?.focus();

  /** The link that opens the dialog. */
  function link() {
    const count = Selections.saved().size;
    const open = () => {
      draw();
      dialog.showModal();
      toName();
    };
    const text = count ? `Saved views (${count})` : 'Save as a view';
    return Dom.link(text, open, { id: 'saved-views' });
  }

  return { link };
})();
