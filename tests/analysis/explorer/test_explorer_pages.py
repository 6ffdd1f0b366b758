"""A sample's panel, clusters, findings, decisions and two models, in a real browser."""

import contextlib
import dataclasses
import json

import numpy as np
import pytest

from analysis.associations.schema import Associations
from analysis.clusters.schema import Clusters
from analysis.duplicates.schema import Duplicates
from analysis.label_issues import exclusion
from analysis.label_issues.schema import ERRORS, LabelIssues
from analysis.mean_iou.schema import MeanIou
from analysis.objects.schema import Objects
from analysis.pictures.schema import Pictures, detail_paths, sheet_path
from analysis.report import stage as report
from analysis.samples.schema import Samples
from analysis.similar.schema import Similar
from analysis.similarity_map.schema import SimilarityMap
from analysis.slices.schema import AT_FIRST, Slices
from analysis.stage import artifacts
from segmentation.data import selection
from segmentation.data.corrections import decisions
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import is_text
from tests import report_fixture
from tests.report_fixture import settle

FINGERPRINT = 'drawn0'


@pytest.fixture(scope='module')
def analysis(tmp_path_factory):
    """An analysis whose names try to be markup; its report has a second model too."""
    folder = tmp_path_factory.mktemp('explorer')
    this = report_fixture.write_run(folder / 'this', 60, hostile=True)
    names = ('background', 'person', 'vehicle')
    other = report_fixture.write_run(folder / 'other', 60, class_names=names)
    report_fixture.write_comparison(this, other)
    command = ['--workdir', str(folder / 'this'), '--other', str(folder / 'other')]
    assert report.main([*command, '--output', str(folder / 'report')]) == 0
    return this


@pytest.fixture
def context(browser):
    """A browser that has never seen a report."""
    made = browser.new_context(viewport={'width': 1280, 'height': 800})
    yield made
    made.close()


@pytest.fixture
def open_page(context, analysis):
    """Opens the report at a fragment. Afterwards nothing may have gone wrong or left its folder."""
    wrong = []

    def open_at(fragment):
        folder = analysis.workdir.parent / 'report'
        return report_fixture.open_report(context, folder, fragment, wrong)

    yield open_at
    assert wrong == []


def wait_until(page, condition):
    """Waits for a JavaScript expression; Playwright's own way is forbidden by the page's policy."""
    page.evaluate(
        f"""new Promise((resolve, reject) => {{
              let left = 500;
              const look = () => {{
                if ({condition}) resolve();
                else if (left-- === 0) reject(new Error('It did not come.'));
                else setTimeout(look, 20);
              }};
              look();
            }})"""
    )


def press(page, key):
    page.keyboard.press(key)
    settle(page)


def click(page, selector):
    page.click(selector)
    settle(page)


def passing(page):
    settle(page)
    return page.evaluate('Filters.passing()')


def shown_sample(page):
    """Image id of the sample that is open; None if none is."""
    settle(page)
    return page.evaluate(
        "State.selected === null ? null : State.view.value('image_id', State.selected)"
    )


def table_of(analysis):
    """Columns of samples.parquet as arrays, by name."""
    table = artifacts.load(analysis, Samples).table
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


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
    assert figures.first.locator('span.three-lines').text_content() == report_fixture.HOSTILE[0]
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


def test_decisions_by_keyboard_survive_and_leave(analysis, open_page, tmp_path):
    regions = artifacts.load(analysis, LabelIssues).regions.to_pylist()
    worst = sorted(regions, key=lambda region: (-region['score'], region['row']))[:3]
    worst = [{**region, 'image_id': int(analysis.image_ids[region['row']])} for region in worst]
    page = open_page('page=findings&finding=issues')
    assert '1 of ' in page.locator('.issue-card .where').text_content()
    assert exclusion.reason(worst[0]) in page.locator('.issue-words').text_content()
    press(page, 'a')
    press(page, 'r')
    assert '3 of ' in page.locator('.issue-card .where').text_content()
    page.fill('#reason', 'a <b>poster</b>, “no person”')
    page.locator('.issue-card h3').click()
    press(page, 'x')
    verdicts = page.evaluate(
        'State.view.label_issues.slice(0, 3).map((region) => Decisions.verdictOf(region))'
    )
    assert verdicts == ['accept', 'reject', None]
    # In the panel of a sample too.
    page.evaluate(f'State.openSample(State.view.rowOf({worst[0]["image_id"]}))')
    settle(page)
    press(page, 'x')
    assert page.locator('.sample-exclude').get_attribute('aria-pressed') == 'true'
    press(page, 'Escape')
    wait_until(page, "!location.hash.includes('sample=')")

    page.reload()
    page.wait_for_selector('body[data-loaded]')
    settle(page)
    assert page.locator('[data-count=exclude]').text_content() == '2'
    assert page.locator('.excluded').get_by_text('a <b>poster</b>, “no person”').count() == 1
    with page.expect_download() as download:
        page.click('#export-decisions')
    assert download.value.suggested_filename == 'exclude.json'
    path = tmp_path / 'exclude.json'
    download.value.save_as(path)
    excluded = {worst[0]['image_id'], worst[2]['image_id']}
    assert selection.read_exclude(path, FINGERPRINT) == excluded
    with pytest.raises(ValueError, match='another data set'):
        selection.read_exclude(path, 'other')
    document = json.loads(path.read_text())
    listed = {image['image_id']: image for image in document['images']}
    assert listed[worst[2]['image_id']]['reason'] == 'a <b>poster</b>, “no person”'
    for row in (worst[0], worst[2]):
        assert listed[row['image_id']]['kind'] == row['kind']
    written = document['runs'][0]
    assert written == {'workdir': str(analysis.workdir), 'split': 'val', 'step': 600}

    # Forgotten here, and brought back by the file.
    page.once('dialog', lambda dialog: dialog.accept())
    page.get_by_text('Delete all').click()
    settle(page)
    assert page.evaluate('Decisions.exclusionList().ids') == []
    page.set_input_files('#import-decisions', path)
    wait_until(page, 'Decisions.exclusionList().ids.length === 2')
    assert page.evaluate('Decisions.exclusionList()') == document


def go_to(page, kind, place=0):
    """Shows a label issue of a kind; returns it."""
    page.evaluate(
        f"State.save('kind', {json.dumps(kind)}); State.save('issue', {place}); "
        "State.showPage('clusters'); State.showPage('findings'); Events.emit('view')"
    )
    settle(page)
    return page.evaluate(
        f"State.view.label_issues.filter((region) => region.kind === '{kind}')[{place}]"
    )


def test_a_verdict_says_what_to_correct(analysis, open_page, tmp_path):
    page = open_page('page=findings&finding=issues')
    missing = go_to(page, 'missing instance')
    assert page.locator('.verdict.accept').text_content() == f'Accept: add {missing["suggested"]}a'
    press(page, 'a')
    wrong = go_to(page, 'wrong class')
    page.locator('.verdict.accept').first.click()  # with the mouse
    settle(page)
    other = go_to(page, 'wrong class', 1)
    press(page, 'c')
    page.keyboard.type('truck')
    press(page, 'Enter')
    removed = go_to(page, 'sloppy outline')
    press(page, 'd')
    spurious = go_to(page, 'spurious label')
    press(page, 'a')
    outline = go_to(page, 'sloppy outline', 1)
    press(page, 'a')  # there is no better outline: the label is wrong, and nothing is corrected
    undone = go_to(page, 'spurious label', 1)
    press(page, 'a')
    go_to(page, 'spurious label', 1)
    assert page.locator('.verdict.accept').first.get_attribute('aria-pressed') == 'true'
    press(page, 'u')
    assert page.locator('[data-count=corrections]').text_content() == '5'

    with page.expect_download() as download:
        page.click('#export-decisions')
    path = tmp_path / 'exclude.json'
    download.value.save_as(path)
    found, skipped = decisions.read(path, FINGERPRINT)
    assert {reason: e['count'] for reason, e in skipped.as_dict().items()} == {
        decisions.NO_CORRECTION: 1
    }
    regions = {
        (row['row'], row['kind'], row['score']): row['rle']
        for row in artifacts.load(analysis, LabelIssues).regions.to_pylist()
    }

    def expected(issue, action, category=''):
        is_new, row = action == 'add', issue['row']
        size = analysis.config.data.image_size if is_new else 0
        return Correction(
            action, int(analysis.image_ids[row]), None if is_new else issue['annotation_id'],
            category, regions[row, issue['kind'], issue['score']] if is_new else b'', (size, size),
            page.evaluate(f"State.view.value('file_name', {row})"),
            page.evaluate(f"State.view.value('source_split', {row})"),
            issue['kind'], issue['score'],
        )  # fmt: skip

    wanted = [
        expected(missing, 'add', missing['suggested']),
        expected(wrong, 'change', wrong['suggested']),
        expected(other, 'change', 'truck'),
        expected(removed, 'remove'),
        expected(spurious, 'remove'),
    ]
    # File names that are no printable text are left out; ids remain.
    wanted = [
        dataclasses.replace(c, file_name=c.file_name if is_text(c.file_name) else '')
        for c in wanted
    ]
    assert sorted(found, key=str) == sorted(wanted, key=str)
    assert undone['row'] not in [correction.image_id for correction in found]

    # Brought back by the file; the panel of a sample says it too.
    page.once('dialog', lambda dialog: dialog.accept())
    page.get_by_text('Delete all').click()
    page.set_input_files('#import-decisions', path)
    wait_until(page, 'Decisions.corrections() === 5')
    page.evaluate(f'State.openSample({other["row"]})')
    settle(page)
    assert f'annotation {other["annotation_id"]} becomes truck' in (
        page.locator('.issues').text_content()
    )
    press(page, 'Escape')
    go_to(page, 'sloppy outline', 1)
    assert outline and page.locator('.verdict.accept').first.get_attribute('aria-pressed') == 'true'


def test_a_category_that_the_data_lack_is_refused(open_page):
    page = open_page('page=findings&finding=issues')
    press(page, 'c')
    page.keyboard.type('dragon')
    press(page, 'Enter')
    assert 'no category “dragon”' in page.locator('#toast').text_content()
    press(page, 'Escape')
    press(page, 'r')  # keys are keys again
    assert page.evaluate('Decisions.counts().reject') == 1
    # A class that is merged of several categories asks which one.
    merged = open_page('page=findings&finding=issues&view=other-val-600')
    place = merged.evaluate(
        """State.view.label_issues.filter(({ kind }) => kind === 'wrong class')
             .findIndex((region) => region.suggested === 'vehicle')"""
    )
    assert place >= 0
    go_to(merged, 'wrong class', place)
    press(merged, 'a')
    assert merged.evaluate("document.activeElement.id === 'other-category'")
    assert merged.evaluate('Decisions.corrections()') == 0


def test_decisions_of_older_reports_still_open(open_page):
    page = open_page('page=findings&finding=issues')
    id_, key = page.evaluate(
        """(() => {
             const region = State.view.label_issues[0];
             Decisions.judge(region, 'accept');
             const [[id, entry]] = Object.entries(Decisions.exclusionList().decisions);
             Decisions.clear();
             return [id, Object.keys(entry.regions)[0]];
           })()"""
    )
    hostile = [
        None, [], 'add', {'action': 'destroy'}, {'action': 'add', 'category': 'car'},
        {'action': 'add', 'category': 'car', 'region': {'size': [1, 'x'], 'counts': '1'}},
        {'action': 'change', 'annotation_id': 3}, {'action': 'remove', 'annotation_id': '3'},
    ]  # fmt: skip
    for corrections in ({}, *({'corrections': {key: entry}} for entry in hostile)):
        entry = {'exclude': False, 'regions': {key: 'accept', '__proto__': 'accept'}, **corrections}
        file = {'ids': [], 'fingerprint': FINGERPRINT, 'decisions': {id_: entry}}
        page.evaluate('(file) => Decisions.add(file)', file)
        settle(page)
        verdict = page.evaluate('Decisions.verdictOf(State.view.label_issues[0])')
        assert verdict == 'accept'
        assert page.evaluate('Decisions.correctionOf(State.view.label_issues[0])') is None
    assert page.evaluate('({}).accept') is None


def test_filter_by_decision(open_page):
    page = open_page('page=explore')
    page.evaluate("Filters.set('decision', {kind: 'set', column: 'decision', values: ['exclude']})")
    assert passing(page) == 0
    page.evaluate('for (const row of [3, 5, 8]) Decisions.exclude(row, true)')
    assert passing(page) == 3
    page.evaluate('Decisions.exclude(5, false)')
    assert passing(page) == 2


@pytest.mark.parametrize(
    'document, message',
    [
        ({'ids': [17000004], 'fingerprint': 'another'}, 'another data set'),
        ({'ids': [-1], 'fingerprint': FINGERPRINT}, 'not an image id'),
        ({'ids': ['17000004'], 'fingerprint': FINGERPRINT}, 'not an image id'),
        ({'fingerprint': FINGERPRINT}, "no list 'ids'"),
        ([17000004], "no list 'ids'"),
        ('{"ids": [', 'not JSON'),
    ],
)
def test_import_refuses_other_files(open_page, document, message, tmp_path):
    page, path = open_page('page=findings'), tmp_path / 'exclude.json'
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    page.set_input_files('#import-decisions', path)
    wait_until(page, "document.querySelector('#toast').textContent.startsWith('exclude.json: ')")
    assert message in page.locator('#toast').text_content()
    assert page.evaluate('Decisions.exclusionList().ids') == []


def test_import_of_what_label_issues_wrote(analysis, open_page, tmp_path):
    issues = artifacts.load(analysis, LabelIssues)
    excluded = exclusion.worst(analysis.image_ids, issues, 0.1, ERRORS)
    path = tmp_path / 'exclude.json'
    exclusion.write([analysis], excluded, path)
    rows = [dataclasses.asdict(image) for image in excluded]
    for row in rows:
        del row['probability']  # the page does not keep it
    page = open_page('page=findings')
    page.set_input_files('#import-decisions', path)
    wait_until(page, f'Decisions.exclusionList().ids.length === {len(rows)}')
    listed = page.evaluate('Decisions.exclusionList().images')
    assert listed == sorted(rows, key=lambda row: row['image_id'])


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
    for row, name in enumerate(report_fixture.HOSTILE):
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
    report_fixture.write_run(tmp_path / 'run', 40, only=('similarity_map',))
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
    analysis = report_fixture.write_run(tmp_path / 'run', 60)
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
    page = report_fixture.open_report(context, tmp_path / 'run' / 'report', '', wrong)
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
