"""A sample’s panel, clusters and findings, in a real browser."""

import json

import numpy as np
import pytest

from analysis.associations.schema import Associations
from analysis.clusters.schema import Clusters
from analysis.duplicates.schema import Duplicates
from analysis.label_issues.schema import LabelIssues
from analysis.mean_iou.schema import MeanIou
from analysis.objects.schema import Objects
from analysis.pictures.schema import Pictures, detail_paths, sheet_path
from analysis.similar.schema import Similar
from analysis.slices.schema import AT_FIRST, Slices
from analysis.stage import artifacts
from segmentation.data import selection
from tests.analysis.explorer.driving import (
    FINGERPRINT,
    click,
    passing,
    press,
    shown_sample,
    table_of,
    wait_until,
)
from tests.report_fixture import scenes
from tests.report_fixture.browsing import settle


def test_sample_shows_what_the_artifacts_say(analysis, open_page):
    table = table_of(analysis)
    row = int(table['loss'].argmax())
    page = open_page(f'sample={table["image_id"][row]}')
    assert page.locator('#sample').is_visible()
    assert page.locator('#sample h2').text_content() == table['file_name'][row]
    assert '1 of 60 by loss' in page.locator('#sample .where').text_content()

    line = page.locator('#sample tr', has=page.get_by_text('loss', exact=True))
    value, percentile = line.locator('.number').all_text_contents()
    assert float(value.removesuffix('nats per pixel')) == pytest.approx(
        table['loss'][row], rel=0.01
    )
    assert percentile == '99 %'  # above 59 of 60, and ties count half: itself
    brightness = page.locator('#sample tr', has=page.get_by_text('brightness', exact=True))
    below = (table['brightness'] < table['brightness'][row]).mean() + 0.5 / 60
    assert int(brightness.locator('.percentile').text_content()[:-2]) == round(100 * below)

    nearest = artifacts.load(analysis, Similar).index[row][:12]
    thumbs = page.locator('#sample .similar .thumb')
    names = [thumbs.nth(k).get_attribute('title') for k in range(thumbs.count())]
    assert names == table['file_name'][nearest].tolist()


def test_pictures_are_those_of_the_sample(analysis, open_page):
    row = artifacts.load(analysis, Pictures).details[0]
    paths = detail_paths(row, analysis.class_names)
    page = open_page(f'sample={analysis.image_ids[row]}')
    labeled = page.locator('#sample .layers button').all_text_contents()
    assert labeled[:5] == ['image', 'ground truth', 'prediction', 'errors', 'loss']
    assert labeled[5:7] == ['probability: person', 'probability: car']
    assert set(labeled[7:]) == {
        f'saliency: {target}' for target in ('person', 'car', 'loss', 'cluster')
    }
    for number, path in ((4, 'error'), (5, 'loss'), (2, 'truth')):
        press(page, str(number))
        layer = page.locator('#sample .stage-place .layer')
        assert layer.get_attribute('src').endswith(paths[path])
        assert layer.evaluate('(image) => image.decode().then(() => image.naturalWidth)') > 0
    press(page, 'o')
    assert page.locator('#sample .stage-place .layer').count() == 0
    press(page, 'o')
    page.locator('#sample .opacity input').fill('0.25')
    settle(page)
    style = page.locator('#sample .stage-place .layer').get_attribute('style')
    assert 'opacity: 0.25' in style
    legend = page.locator('#sample .layer-legend').text_content()
    assert legend == 'personcar'


def test_a_sample_without_details_shows_its_thumbnail_enlarged(analysis, open_page):
    pictures = artifacts.load(analysis, Pictures)
    row = next(row for row in range(60) if row not in pictures.details)
    page = open_page(f'sample={analysis.image_ids[row]}')
    base = page.locator('#sample .stage-place .base')
    assert sheet_path(row // pictures.per_sheet, 'image') in base.get_attribute('style')
    width = base.evaluate('(element) => element.clientWidth')
    assert width > 2 * pictures.thumb_size


def test_keys_go_through_samples_in_order(analysis, open_page):
    table = table_of(analysis)
    order = table['image_id'][np.argsort(-table['loss'])].tolist()
    page = open_page(f'sample={order[3]}')
    press(page, 'ArrowRight')
    assert shown_sample(page) == order[4]
    press(page, 'ArrowLeft')
    press(page, 'ArrowLeft')
    assert shown_sample(page) == order[2]
    page.evaluate(
        "Filters.set('brightness', {kind: 'range', column: 'brightness', low: 0, high: 100})"
    )
    settle(page)
    # From a sample that the filter leaves out, on in what is left.
    left = table['image_id'][table['brightness'] <= 100]
    press(page, 'ArrowRight')
    assert shown_sample(page) in left
    press(page, 'Escape')
    assert shown_sample(page) is None and page.locator('#sample').is_hidden()
    wait_until(page, "!location.hash.includes('sample=')")


def test_clusters_are_described_and_filter(analysis, open_page):
    clusters = artifacts.load(analysis, Clusters).clusters
    page = open_page('page=clusters')
    cards = page.locator('.card')
    assert cards.count() == len(clusters)
    for card, cluster in zip(cards.all(), clusters, strict=True):
        assert cluster.name in card.locator('h3').text_content()
        size = card.locator('header .muted').first.text_content()
        assert size.startswith(f'{cluster.size} images')
        assert card.locator('.thumbs .thumb').count() == min(8, cluster.size)
        assert card.locator('tbody tr').count() == min(8, len(cluster.description))
    cards.nth(1).get_by_text('Show on the map').click()
    assert passing(page) == clusters[1].size
    assert page.evaluate('State.page') == 'explore'


def test_each_finding_is_a_click_away_from_its_samples(analysis, open_page):
    table = table_of(analysis)
    page = open_page('page=findings&finding=slices')
    stored = artifacts.load(analysis, Slices)
    groups = stored.groups()
    rows = page.locator('.findings-content tbody tr')
    assert rows.count() == len(groups) <= AT_FIRST
    texts = page.locator('.condition').all_text_contents()
    assert sorted(texts) == sorted(one.text for (_, one, _), *_ in groups)
    (metric, head, members), *nested = max(groups, key=len)
    # Images without the metric are in none of its slices.
    known = [value is not None for value in table[metric.removesuffix('_given_size')]]
    members = members & known
    row = rows.filter(has=page.get_by_text(head.text, exact=True)).first
    if nested:  # folded, and a click on the fold is not one on the row
        row.locator('summary').click()
        assert page.evaluate('State.page') == 'findings'
        assert row.locator('li').count() == len(nested)
    row.locator('.condition').click()
    assert passing(page) == members.sum()

    page.evaluate("Filters.clear(); State.showPage('findings')")
    settle(page)
    click(page, '[data-section=associations]')
    page.locator('.findings tbody tr', has=page.get_by_text('brightness', exact=True)).click()
    association = next(
        row
        for row in artifacts.load(analysis, Associations).associations
        if (row.column, row.metric) == ('brightness', 'loss')
    )
    bins = page.locator('.figure-bin')
    assert bins.count() == len(association.bins)
    bins.first.press('Enter')
    assert passing(page) == association.bins[0].n

    page.evaluate("Filters.clear(); State.showPage('findings')")
    settle(page)
    click(page, '[data-section=confusion]')
    page.locator('.findings tbody tr', has=page.get_by_text('truck', exact=True)).first.click()
    assert passing(page) == sum(count is not None and count >= 1 for count in table['count_truck'])


def test_copies_and_what_they_do_to_the_scores(analysis, open_page):
    page = open_page('')
    page.evaluate("State.showPage('findings')")
    click(page, '[data-section=duplicates]')
    groups = page.locator('.copies')
    assert groups.count() == len(artifacts.load(analysis, Duplicates).groups) == 4
    first = groups.first.locator('.copy')
    texts = first.all_text_contents()
    assert texts[0].startswith('largest image') and texts[1].startswith('mirrored, cropped (0.900)')
    # Of the two, only the image of the view opens.
    assert first.locator('button').count() == 1 and first.locator('img').count() == 2
    assert 'train' in texts[1]
    assert '3 images of this view' in page.locator('.note').all_text_contents()[1]
    assert page.locator('.findings tbody tr').text_content().startswith('person0.5200.480')
    groups.last.locator('button').last.click()
    settle(page)
    assert page.evaluate('State.selected') == 11


def test_objects_instead_of_images(analysis, open_page):
    found = artifacts.load(analysis, Objects)
    page = open_page('page=findings&finding=objects')
    cells = page.locator('.confusion-matrix tbody td').all_text_contents()
    of_person = np.array(found.confusion[1]) / sum(found.confusion[1])
    shares = [float(cell.split()[0]) / 100 for cell in cells[3:6]]
    np.testing.assert_allclose(shares, of_person, atol=0.006)
    page.evaluate("State.openSample(State.view.rowOf(State.view.value('image_id', 4)))")
    page.evaluate("Filters.set('search', {kind: 'search', text: '000'})")
    settle(page)
    page.locator('header label', has_text='Rows').locator('select').select_option('objects')
    wait_until(page, "State.view.rows_are === 'objects' && State.view.loaded")
    assert passing(page) == found.num_objects  # filters of images do not hold for objects
    # The open image stays open: its first object is shown, with those similar to it.
    row = found.table['image'].to_pylist().index(4)
    assert page.evaluate('State.selected') == row
    number = found.table['annotation_id'][row].as_py()
    where = page.locator('#sample .where').text_content()
    assert where.startswith(f'object {number} in image {analysis.image_ids[4]}, ')
    thumbs = page.locator('#sample .similar .thumb')
    assert thumbs.count() == found.index.shape[1]
    choice = page.locator('#sample .similar select')
    assert choice.locator('option').all_text_contents() == ['all', 'color']
    choice.select_option('color')
    settle(page)
    shown = page.evaluate(f'[...State.view.similarTo({row}).rows]')
    assert shown == found.index_by_block[0, row].tolist() != found.index[row].tolist()
    assert choice.input_value() == 'color'
    texts = page.locator('#sample .similar .thumb').all_text_contents()
    assert texts[0] == f'{found.distance_by_block[0, row, 0]:.2f}'
    choice.select_option('all')
    thumbs.first.click()
    settle(page)
    assert page.evaluate('State.selected') == found.index[row][0]
    # A link has the object, not only its image.
    page.evaluate(f'State.openSample({row + 1})')
    settle(page)
    wait_until(page, f"location.hash.includes('sample={number + 1}')")
    again = open_page(page.evaluate('location.hash').removeprefix('#'))
    assert again.evaluate('State.selected') == row + 1
    page.evaluate("State.closeSample(); State.showPage('findings')")
    click(page, '[data-section=slices]')
    page.locator('.findings tbody tr').first.click()
    assert passing(page) == found.slices['loss'].slices[0].size
    page.evaluate("State.showPage('clusters')")
    settle(page)
    assert 'choose images in the header' in page.locator('.page-clusters .empty').text_content()
    assert page.locator('b:text-is("x")').count() == 0  # the name of a category is text
    page.locator('header label', has_text='Rows').locator('select').select_option('images')
    wait_until(page, "State.view.rows_are === 'images'")


def test_parts_that_differ_and_in_what(analysis, open_page):
    page = open_page('')
    page.evaluate("State.showPage('findings')")
    click(page, '[data-section=drift]')
    assert 'val: differs' in page.locator('.findings-content h3').text_content()
    rows = page.locator('.findings tbody tr')
    assert rows.count() == 12 and rows.first.text_content().startswith('brightness6090.01300.001')
    assert page.locator('.findings tbody tr.faint').count() == 11
    page.locator('.findings-content .link', has_text='3 more').click()
    assert rows.count() == 15
    page.locator('.findings-content h3 .link').click()
    settle(page)
    assert passing(page) == len(analysis)
    assert page.evaluate("State.view.column('novelty').values.length") == len(analysis)


def test_images_to_label_next(analysis, open_page):
    page = open_page('')
    page.evaluate("State.showPage('findings')")
    click(page, '[data-section=label_next]')
    assert '55 of 55 images without annotations' in page.locator('.note').first.text_content()
    figures = page.locator('.findings-content figure')
    assert figures.count() == 55
    names = table_of(analysis)['file_name']
    assert figures.nth(3).text_content() == f'4: {2 * (0.4 - 3 * 0.3 / 54):.3f} × 0.500{names[3]}'
    assert figures.first.locator('span.three-lines').text_content() == scenes.HOSTILE[0]
    with page.expect_download() as download:
        page.locator('#save-next').click()
    path = download.value.path()
    assert json.loads(path.read_text()) == {
        'fingerprint': FINGERPRINT, 'ids': analysis.image_ids[:55].tolist(),
    }  # fmt: skip
    assert selection.read_exclude(path, FINGERPRINT) == set(analysis.image_ids[:55].tolist())
    page.locator('.findings-content .link', has_text='on the map').click()
    assert page.evaluate('State.page') == 'explore' and passing(page) == 55
    figures.first.locator('button').evaluate('(button) => button.click()')
    assert shown_sample(page) == analysis.image_ids[0]


def test_scores_of_the_classes(analysis, open_page):
    scores = artifacts.load(analysis, MeanIou)
    page = open_page('')
    page.evaluate("State.showPage('findings')")
    click(page, '[data-section=scores]')
    rows = page.locator('.findings-content tbody tr').all_text_contents()
    person = next(row for row in rows if row.startswith('person'))
    assert f'{scores.classes["person"].boundary_iou.value:.3f}' in person
    cells = page.locator('.confusion-matrix tbody td').all_text_contents()
    shares = np.array(scores.confusion) / np.sum(scores.confusion, axis=1, keepdims=True)
    found = np.array([float(cell.split()[0]) for cell in cells]) / 100
    np.testing.assert_allclose(found, shares.ravel(), atol=0.006)
    calibration = scores.calibration
    text = page.locator('.findings-content').text_content()
    assert f'{calibration.error.value:.3f}' in text and f'{calibration.temperature:.2f}' in text
    drawn = page.locator('svg.reliability circle')
    assert drawn.count() == sum(x is not None for row in calibration.accuracy for x in row)


def test_after_a_click_on_findings_the_arrows_step_through_them(open_page):
    page = open_page('')
    click(page, '#tab-findings')
    for _ in range(2):
        press(page, 'ArrowRight')
    assert page.evaluate('State.page') == 'findings'
    assert page.locator('.issue-card .where').text_content().startswith('3 of ')
    # Who walks the tabs by keyboard stays among them.
    page.locator('#tab-findings').focus()
    press(page, 'ArrowLeft')
    assert page.evaluate('State.page') != 'findings'


def test_issues_say_how_many_errors_to_expect(analysis, open_page):
    issues = artifacts.load(analysis, LabelIssues)
    probable = issues.regions['probability'].to_numpy()[issues.firsts()]
    page = open_page('page=findings&finding=issues')
    text = page.locator('.expected').text_content()
    likely = (probable >= 0.5).sum()
    issues = 'issue has' if likely == 1 else f'{likely} issues have'
    assert f'The first {issues} a probability of 0.5 or more' in text
    assert f'Expected errors among them: {round(probable[probable >= 0.5].sum())} (' in text
    assert 'drawn scenes' in text
    assert f'probability {probable[0]:.2f}' in page.locator('.issue-card h3').text_content()


def test_from_a_similar_sample_on_to_the_next(analysis, open_page):
    table = table_of(analysis)
    order = np.argsort(-table['loss'], kind='stable')
    page = open_page(f'sample={table["image_id"][order[3]]}')
    left = order[:20].tolist()
    page.evaluate(f"Filters.set('some', {{ kind: 'rows', rows: {left}, label: 'some' }})")
    settle(page)
    page.evaluate(f'State.openSample({order[40]})')
    press(page, 'ArrowRight')
    assert page.evaluate('State.selected') == order[4]
    press(page, 'Escape')
    page.evaluate(f'State.openSample({order[40]})')
    press(page, 'ArrowRight')
    assert page.evaluate('State.selected') == order[0]


def test_the_sample_before_is_the_last_one_that_is_left(analysis, open_page):
    order = np.argsort(-table_of(analysis)['loss'], kind='stable')
    page = open_page('')
    page.evaluate(f'State.openSample({order[50]})')
    settle(page)
    left = order[:10].tolist()
    page.evaluate(f"Filters.set('some', {{ kind: 'rows', rows: {left}, label: 'some' }})")
    settle(page)
    press(page, 'ArrowLeft')
    assert page.evaluate('State.selected') == order[9]


def test_similar_samples_are_shown_on_the_map(open_page):
    page = open_page('page=samples')
    page.evaluate('State.openSample(3)')
    page.locator('#sample .similar .link').click()
    settle(page)
    assert page.evaluate('State.page') == 'explore' and 1 < passing(page) < 60


def test_what_was_not_tested_is_not_significant(open_page):
    page = open_page('page=findings&finding=associations')
    page.evaluate("""() => {
        for (const row of State.view.associations.associations) {
            Object.assign(row, { q: 0.9, partial_q: null, difference: null, effect: null });
        }
        Events.emit('view');
    }""")
    settle(page)
    rows = page.locator('.findings tbody tr')
    assert rows.count() == 0
    page.get_by_label('include non-significant ones').check()
    settle(page)
    assert rows.count() > 3
    text = 'Last bin minus first: – (– standard deviations)'
    assert text in page.text_content('.curve-place')


def test_no_grayscale_copies(open_page):
    page = open_page('page=findings&finding=grayscale')
    assert page.locator('.findings tbody tr').count() > 3
    page.evaluate("State.view.grayscale_copies = []; Events.emit('view')")
    settle(page)
    assert 'nothing to compare' in page.text_content('.findings-content .note')
    assert page.locator('.findings').count() == 0
