"""Two models in a report, names that try to be markup, and reports of few artifacts."""

import contextlib
import dataclasses

from analysis.clusters.schema import Clusters
from analysis.objects.schema import Objects
from analysis.report import stage as report
from analysis.similar.schema import Similar
from analysis.similarity_map.schema import SimilarityMap
from analysis.slices.schema import Slices
from analysis.stage import artifacts
from tests.analysis.explorer.driving import (
    FINGERPRINT,
    click,
    passing,
    table_of,
    wait_until,
)
from tests.report_fixture import browsing, made_run, scenes
from tests.report_fixture.browsing import settle


def test_names_are_text_everywhere(analysis, open_page):
    table = table_of(analysis)
    page = open_page('page=findings')
    title = page.title()
    hostile = {
        'schema_version': 1, 'fingerprint': FINGERPRINT, 'ids': [int(table['image_id'][1])],
        'images': [{'image_id': int(table['image_id'][1]), 'kind': 3, 'score': 'x',
                    'reason': '<img src=x onerror="document.title=1">'}],
        'decisions': {'__proto__': {'exclude': True}, '-5': {'exclude': True}, 'x': None,
                      str(table['image_id'][2]): {'regions': {'<b>': 'reject', 'y': '<i>'}}},
    }  # fmt: skip
    page.evaluate('(file) => Decisions.add(file)', hostile)
    settle(page)
    assert page.locator('.excluded li').count() == 1
    assert '<img src=x' in page.locator('.excluded').text_content()
    assert page.evaluate('Object.keys(Decisions.exclusionList().decisions).length') == 2
    for row, name in enumerate(scenes.HOSTILE):
        page.evaluate(f'State.openSample({row})')
        settle(page)
        assert page.locator('#sample h2').text_content() == name
    page.evaluate('State.closeSample()')
    for section in (
        'scores',
        'slices',
        'associations',
        'confusion',
        'grayscale',
        'duplicates',
        'label_next',
        'issues',
    ):
        page.evaluate("State.showPage('findings')")
        click(page, f'[data-section={section}]')
    for name in ('clusters', 'models'):
        page.evaluate(f"State.showPage('{name}')")
        settle(page)
    assert page.title() == title
    assert page.locator('main b:text-is("teddy"), main img[src=x]').count() == 0
    width = page.evaluate('document.documentElement.scrollWidth')
    assert width <= 1280  # 10,000 characters do not push anything out


def test_two_models_are_linked(analysis, open_page):
    page = open_page('page=models')
    page.wait_for_selector('.page-models .findings')
    settle(page)
    boxes = [surface.bounding_box() for surface in page.locator('.map-pair .map-surface').all()]
    tools = page.locator('.map-pair .map-tools')

    def select(side):
        """Draws a box over the left half of a map."""
        tools.nth(side).locator('[aria-label="Select a box"]').click()
        box = boxes[side]
        page.mouse.move(box['x'] + 5, box['y'] + 5)
        page.mouse.down()
        page.mouse.move(box['x'] + box['width'] / 2, box['y'] + box['height'] - 70, steps=4)
        page.mouse.up()
        return passing(page)

    both = []
    for side in (0, 1):
        both.append(select(side))
        kinds = page.evaluate('[...Filters.all.values()].map((filter) => filter.kind)')
        assert kinds == ['polygon' if side == 0 else 'rows']
        masks = page.evaluate('Array.from(Filters.mask, (bits) => bits === 0)')
        both.append(masks)
    # The fixture places the images of both runs alike.
    assert 0 < both[0] < 60
    assert both[0] == both[2] and both[1] == both[3]

    page.evaluate('Filters.clear()')
    for side in (0, 1):
        tools.nth(side).locator('[aria-label^="Move the map"]').click()
    page.evaluate(
        """void (window.pixels = (canvas) => {
          const copy = new OffscreenCanvas(canvas.width, canvas.height);
          const context = copy.getContext('2d', { willReadFrequently: true });
          context.drawImage(canvas, 0, 0);
          return context.getImageData(0, 0, copy.width, copy.height).data;
        })"""
    )
    # A dot is where the first map's pixels are unlike its corner's.
    dot = page.evaluate(
        """() => {
          const canvas = document.querySelector('.map-pair canvas');
          const { width, height } = canvas;
          const data = pixels(canvas);
          const unlike = (k) => d3.sum([0, 1, 2], (c) => Math.abs(data[4 * k + c] - data[c]));
          const pixel = d3.range(width * height).find((k) => unlike(k) > 150);
          return [pixel % width, Math.floor(pixel / width)];
        }"""
    )
    # Rings are drawn on the last canvas of a map.
    marks = """() => [...document.querySelectorAll('.map-pair .map-surface')].map((surface) => {
        const canvas = [...surface.querySelectorAll('canvas')].at(-1);
        return pixels(canvas).some((value) => value > 0);
      })"""
    assert page.evaluate(marks) == [False, False]
    page.mouse.move(boxes[0]['x'] + dot[0], boxes[0]['y'] + dot[1])
    settle(page)
    assert page.evaluate('State.hovered') is not None
    settle(page)
    assert page.evaluate(marks) == [True, True]


def test_two_models_say_what_the_comparison_says(analysis, open_page):
    page = open_page('page=models&view=other-val-600')
    page.wait_for_selector('.page-models .findings')
    texts = page.locator('.page-models h3').all_text_contents()
    assert 'Scores' in texts and 'Neighborhoods' in texts and 'Layers' in texts
    scores = page.locator('.page-models .findings').first.locator('tbody tr')
    assert scores.count() == 6
    label = scores.first.locator('svg').get_attribute('aria-label')
    assert label == '0.030 [0.010, 0.050]'
    # A slice is of this run: a click shows this run's view, and its samples there.
    _, found, members = next(artifacts.load(analysis, Slices).each())
    page.locator('.halves tbody tr', has=page.get_by_text(found.text, exact=True)).first.click()
    wait_until(page, "State.view.name === 'val-600'")
    wait_until(page, f'Filters.passing() === {members.sum()}')


def test_two_models_name_where_one_is_worse(analysis, open_page):
    page = open_page('page=models&view=other-val-600')
    title = page.get_by_role('heading', name='Where one model is worse than the other')
    part = title.locator('xpath=..')
    this, other = part.locator('.halves > div').all()
    assert 'No slice stands out' in this.text_content() and this.locator('.thumb').count() == 0
    assert part.locator('h4').all_text_contents() == ['this model', 'other model']
    _, found, members = next(artifacts.load(analysis, Slices).each())
    other.get_by_text(found.text, exact=True).click()
    wait_until(page, f'Filters.passing() === {members.sum()}')
    title = other.locator('.thumb').get_attribute('title')
    assert title == 'file.jpg: loss 0.500 (this), 0.900 (other)'
    other.locator('.thumb').click()
    wait_until(page, 'State.selected === 5')


def test_a_report_of_samples_alone_says_what_makes_the_rest(context, tmp_path):
    made_run.write_run(tmp_path / 'run', 40, only=('similarity_map',))
    with contextlib.chdir(tmp_path):
        assert report.main(['--workdir', 'run']) == 0
    page = context.new_page()
    wrong = []
    page.on('pageerror', lambda error: wrong.append(str(error)))
    page.goto(f'{(tmp_path / "run" / "report").as_uri()}/index.html#page=findings')
    page.wait_for_selector('body[data-loaded]')
    settle(page)
    assert 'python -m analysis.label_issues' in page.locator('.empty').text_content()
    page.evaluate("State.showPage('clusters'); State.openSample(2)")
    settle(page)
    assert 'python -m analysis.clusters' in page.locator('.card, .empty').last.text_content()
    assert page.locator('#sample h2').text_content().endswith('.jpg')
    assert page.get_by_role('tab', name='Two models').count() == 0
    assert wrong == []


def test_what_is_approximate_stands_where_it_is_shown(context, tmp_path):
    analysis = made_run.write_run(tmp_path / 'run', 60)
    density = artifacts.load(analysis, Clusters).density
    for kind, change in (
        (Similar, {'recall': 0.956}),
        (SimilarityMap, {'fitted': 20_000}),
        (Clusters, {'fitted': 20_001, 'density': dataclasses.replace(density, assigned=0.9)}),
        (Objects, {'recall': 0.912}),
    ):
        artifacts.save(analysis, dataclasses.replace(artifacts.load(analysis, kind), **change))
    assert report.main(['--workdir', str(tmp_path / 'run')]) == 0
    wrong = []
    page = browsing.open_report(context, tmp_path / 'run' / 'report', '', wrong)
    page.evaluate('State.openSample(4)')
    wait_until(page, "document.querySelector('#sample .similar').childElementCount > 0")
    assert 'finds 95.6% of the nearest images' in page.locator('#sample .similar').text_content()
    assert '20,000 random images' in page.locator('.map-note').first.get_attribute('title')
    page.evaluate("State.showPage('clusters')")
    settle(page)
    head = page.get_by_role('heading', name='Clusters', exact=True).locator('..').text_content()
    assert '20,001 random images' in head and '90.0% of these images agree' in head
    page.locator('header label', has_text='Rows').locator('select').select_option('objects')
    wait_until(page, "State.view.rows_are === 'objects' && State.view.loaded")
    wait_until(page, "document.querySelector('#sample .similar').textContent.includes('91.2%')")
    assert wrong == []
