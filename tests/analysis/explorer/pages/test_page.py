"""Names are text, the page fits a phone, every control has a name."""

from analysis.report import stage as report
from tests.report_fixture import made_run, scenes
from tests.report_fixture.browsing import settle


def test_names_are_shown_as_text(open_page, table, names):
    hostile = [name for name in table['file_name'] if name in scenes.HOSTILE]
    assert len(hostile) > 3
    page = open_page()
    title = page.title()

    for name in hostile:
        page.evaluate(
            "(id) => Filters.set('one', {kind: 'set', column: 'image_id', values: [id]})",
            int(table['image_id'][list(table['file_name']).index(name)]),
        )
        settle(page)
        shown = page.locator('.page-explore .table-row b').first.text_content()
        assert shown.removesuffix('…') == name[: len(shown.removesuffix('…'))]
        assert len(shown) > min(len(name), 100) - 1
    page.evaluate('Filters.clear()')
    settle(page)
    labels = page.locator('.legend-label').all_text_contents()
    assert set(labels) == set(names)
    assert page.title() == title
    assert page.locator('img[onerror], b b, script:not([src])').count() == 0


def test_only_samples(open_page, tmp_path):
    made_run.write_run(tmp_path / 'run', 60, only=())
    command = ['--workdir', str(tmp_path / 'run'), '--output', str(tmp_path / 'report')]
    assert report.main(command) == 0

    page = open_page(folder=tmp_path / 'report')

    assert page.text_content('#passing') == '60'
    assert page.get_by_text('python -m analysis.similarity_map').is_visible()
    assert page.locator('.page-explore .table-row').count() > 3
    page.evaluate('State.openSample(2)')
    settle(page)
    assert page.text_content('#sample .similar').endswith('run python -m analysis.similar')


def test_fits_a_phone(open_page):
    page = open_page(width=390, height=844, has_touch=True, is_mobile=True)
    for name in ('Explore', 'Samples'):
        page.get_by_role('tab', name=name).click()
        settle(page)
        assert page.evaluate('document.documentElement.scrollWidth') <= 390
    page.get_by_role('tab', name='Explore').click()
    settle(page)
    boxes = [
        page.locator(f'.page-explore {part}').bounding_box()
        for part in ('.map-box', '.samples', '.charts')
    ]
    for above, below in zip(boxes, boxes[1:], strict=False):
        assert above['y'] + above['height'] <= below['y']
    assert all(box['width'] > 350 for box in boxes)


def test_every_control_has_a_name(open_page):
    page = open_page()
    nameless = page.evaluate("""() => [...document.querySelectorAll('button, input, select')]
        .filter((e) => !(e.ariaLabel || e.textContent.trim() || e.title || e.closest('label')))
        .map((e) => e.outerHTML)""")
    assert nameless == []
