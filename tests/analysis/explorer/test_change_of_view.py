"""Another view is shown: what stays, what goes, and what a view that lacks something says."""

import dataclasses
import json
import urllib.parse

import numpy as np

from analysis.objects.schema import Objects
from analysis.report import stage as report
from analysis.stage import artifacts
from tests.analysis.explorer.driving import click, passing, press, wait_until
from tests.report_fixture import browsing, made_run
from tests.report_fixture.browsing import settle


def show(page, name):
    page.evaluate(f"Views.show('{name}')")
    wait_until(page, f"State.view.name === '{name}' && State.view.loaded")
    settle(page)


def test_a_view_without_a_map_says_why(context, tmp_path):
    analysis = made_run.write_run(tmp_path / 'run', 60, only=('similarity_map', 'objects'))
    found = artifacts.load(analysis, Objects)
    nothing = np.zeros((0, 2), np.float32)
    artifacts.save(analysis, dataclasses.replace(found, map_2d=nothing, trustworthiness=None))
    assert report.main(['--workdir', str(tmp_path / 'run')]) == 0
    wrong = []
    page = browsing.open_report(context, tmp_path / 'run' / 'report', '', wrong)
    surface = page.locator('.page-explore .map-surface')
    box = surface.bounding_box()
    show(page, 'val-600-objects')
    for x in range(0, int(box['width']), 40):
        page.mouse.move(box['x'] + x, box['y'] + box['height'] / 2)
    settle(page)
    assert surface.is_hidden() and page.locator('.page-explore .map-tools').is_hidden()
    assert page.evaluate('State.hovered') is None
    reason = 'Not available here: there are too few objects, or all of them look alike.'
    assert page.text_content('.page-explore .map > .nothing') == reason
    show(page, 'val-600')
    assert surface.is_visible() and page.locator('.page-explore .map > .nothing').is_hidden()
    assert wrong == []


def test_an_outline_is_of_its_view(open_page):
    page = open_page('page=findings&finding=issues')
    page.locator('.issue-card .link').first.click()
    settle(page)
    assert page.locator('#sample .stage-place .outline').count() == 1
    show(page, 'other-val-600')
    assert page.locator('#sample').is_visible()
    assert page.locator('#sample .stage-place .outline').count() == 0
    press(page, 'x')
    assert page.evaluate('Decisions.of(State.selected).reason') == ''


def test_a_link_to_a_view_that_is_gone(open_page):
    filters = [
        ['loss', {'kind': 'range', 'column': 'loss', 'low': 0, 'high': 9}],
        ['some', {'kind': 'rows', 'rows': '0.1', 'label': 'some'}],
        ['map', {'kind': 'polygon', 'points': [[0, 0], [0, 1], [1, 0]]}],
    ]
    page = open_page(urllib.parse.urlencode({'view': 'val-500', 'filters': json.dumps(filters)}))
    assert page.evaluate('[State.view.name, ...Filters.all.keys()]') == ['val-600', 'loss']
    assert 'no view “val-500”' in page.text_content('#toast')
    # Of objects, columns and ids mean something else.
    image = page.evaluate("Number(State.view.value('image_id', 3))")
    link = {'view': 'val-500-objects', 'filters': json.dumps(filters), 'sample': image}
    page = open_page(urllib.parse.urlencode(link))
    assert page.evaluate('[State.selected, ...Filters.all.keys()]') == [None]
    page = open_page(urllib.parse.urlencode({**link, 'view': 'val-500'}))
    assert page.evaluate('State.selected') == 3
    for broken in ({'turn': 0}, {'points': [1, 2, 3]}):
        filters = [['map', {**filters[-1][1], **broken}]]
        page = open_page(urllib.parse.urlencode({'filters': json.dumps(filters)}))
        assert page.evaluate('Filters.all.size') == 0


def test_of_two_links_the_last_one_counts(open_page):
    page = open_page('')
    selected = [['some', {'kind': 'rows', 'rows': '0.1', 'label': 'some'}]]
    link = urllib.parse.urlencode({'view': 'other-val-600', 'filters': json.dumps(selected)})
    page.evaluate(
        """async (link) => {
            history.replaceState(null, '', '#' + link);
            const first = Link.restore();
            history.replaceState(null, '', '#view=val-600');
            await Promise.all([first, Link.restore()]);
        }""",
        link,
    )
    settle(page)
    assert page.evaluate('[State.view.name, Filters.all.size]') == ['val-600', 0]


def test_a_map_without_the_column_of_colors_says_so(open_page):
    page = open_page('page=models')
    page.wait_for_selector('.page-models .findings')
    pixels = """[...document.querySelectorAll('.map-pair .map-surface')].map((surface) => {
        const canvas = surface.querySelector('canvas');
        const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
        return new Set(new Uint32Array(data.buffer)).size;
    })"""
    page.evaluate("State.setAppearance({ color: 'iou_car' })")
    settle(page)
    this, other = page.locator('.map-pair .legend').all_text_contents()
    assert this.startswith('IoU car') and other == 'This view has no column “IoU car”.'
    assert page.locator('.page-models .page-tools select').first.input_value() == 'iou_car'
    colorful, plain = page.evaluate(pixels)
    assert plain < colorful / 2


def test_decisions_are_on_both_maps(open_page):
    page = open_page('page=models&color=decision')
    page.wait_for_selector('.page-models .findings')
    assert 'no column' not in page.text_content('.map-pair')
    page.evaluate('Decisions.exclude(7, true)')
    shown = "Data.load('other-val-600').then((view) => view.value('decision', 7))"
    assert page.evaluate(shown) == 'exclude'


def test_the_same_object_stays_open(open_page):
    page = open_page('view=val-600-objects')
    # Not the first object of its image.
    row = page.evaluate(
        """State.view.values('image_id')
             .findLastIndex((id, row, ids) => row && ids[row - 1] === id)"""
    )
    page.evaluate(f'State.openSample({row})')
    number = page.evaluate(f"State.view.value('annotation_id', {row})")
    show(page, 'other-val-600-objects')
    assert page.evaluate("State.view.value('annotation_id', State.selected)") == number
    # Another split may have an object of this number in another image.
    page = open_page('view=val-600-objects')
    page.evaluate(f'State.openSample({row})')
    image = page.evaluate(f"State.view.value('image_id', {row})")
    page.evaluate(
        f"""Data.load('other-val-600-objects').then(async (view) => {{
            await Data.columns(view, ['annotation_id']);
            const column = view.column('annotation_id');
            column.values = new Float32Array(view.n).fill({number});
        }})"""
    )
    show(page, 'other-val-600-objects')
    assert page.evaluate("State.view.value('image_id', State.selected)") == image


def test_objects(open_page):
    page = open_page('view=val-600-objects')
    curves = page.locator('.charts-head select option')
    assert curves.evaluate_all('(all) => all.map(({ value }) => value)') == [
        'loss', 'iou', 'recall',
    ]  # fmt: skip
    page.evaluate("State.save('curve', 'predicted'); Events.emit('page')")
    settle(page)
    assert page.locator('.charts-head select').input_value() == 'loss'
    click(page, '#saved-views')
    number = page.evaluate('State.view.n')
    assert page.text_content('#save-view') == f'Save the images of {number} objects'
    assert 'images of the objects that pass' in page.text_content('.saved-views')
    press(page, 'Escape')
    # They have no map in three dimensions.
    wrong = page.evaluate("""[[0.1, 0.2], [0.1, 'x'], 3].map((turn) => {
        const points = [[0, 0], [0, 1], [1, 0]];
        try { Filters.set('map', { kind: 'polygon', points, turn }); return ''; }
        catch (error) { return error.message; }
    })""")
    assert wrong[0] == 'This view has no map in three dimensions.'
    assert all('is not a filter' in text for text in wrong[1:])
    assert passing(page) == number and page.locator('.chip').count() == 0
