"""Decisions on label issues: verdicts, files and what they exclude, in a real browser."""

import dataclasses
import json

import pytest

from analysis.label_issues import exclusion
from analysis.label_issues.schema import ERRORS, LabelIssues
from analysis.stage import artifacts
from segmentation.data import selection
from segmentation.data.corrections import decisions
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import is_text
from tests.analysis.explorer.driving import FINGERPRINT, click, passing, press, wait_until
from tests.report_fixture.browsing import settle


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


def test_a_class_is_its_only_category(open_page):
    page = open_page('page=findings&finding=issues')
    found = page.evaluate(
        """(() => {
             const kinds = ['missing instance', 'wrong class'];
             const region = State.view.label_issues.find(({ kind, suggested }) =>
                 kinds.includes(kind) && suggested === 'car');
             const own = State.view.members.car;
             return [own, ['truck'], ['car', 'truck'], ['dragon']].map((members) => {
               State.view.members.car = members;
               return [Corrections.isAmbiguous(region), Corrections.suggested(region).category];
             });
           })()"""
    )
    assert found == [[False, 'car'], [False, 'truck'], [True, 'car'], [True, 'car']]


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


def test_a_reason_is_of_the_sample_that_it_was_typed_for(analysis, open_page):
    ids = analysis.image_ids[:2].tolist()
    page = open_page('page=samples')
    reasons = '[0, 1].map((row) => Decisions.of(row)?.reason)'
    for row in (1, 0):
        page.evaluate(f'State.openSample(State.view.rowOf({ids[row]}))')
        settle(page)
        press(page, 'x')
    field = page.locator('#sample input[placeholder=Reason]')
    field.fill('first')
    page.evaluate('State.openSample(1)')  # as Back does
    settle(page)
    assert page.evaluate(reasons) == ['first', ''] and field.input_value() == ''
    field.fill('second')
    press(page, 'Escape')
    settle(page)
    assert page.evaluate(reasons) == ['first', 'second']
    assert page.locator('#sample').is_hidden()


def test_escape_chooses_no_category(open_page):
    page = open_page('page=findings&finding=issues')
    before = page.locator('.issue-card .where').text_content()
    press(page, 'c')
    page.keyboard.type('truck')
    press(page, 'Escape')
    settle(page)
    assert page.locator('.issue-card .where').text_content() == before
    assert page.evaluate('State.view.label_issues.every((one) => !Decisions.verdictOf(one))')


def test_the_chart_of_decisions_counts_each(open_page):
    drawn = """() => {
        const body = document.createElement('div');
        const draw = CategoryChart.create(body, State.view.column('decision'), 'loss');
        const texts = () => [...body.querySelectorAll('.row')].map((row) =>
            [row.querySelector('.row-name').textContent, row.querySelector('.number').textContent]);
        draw();
        const before = texts();
        Decisions.exclude(0, true);
        draw();
        return [before, texts()];
    }"""
    page = open_page('page=explore')
    assert page.evaluate(drawn) == [[['none', '60']], [['exclude', '1'], ['none', '59']]]


def test_what_cannot_be_stored_is_said_after_an_import_too(open_page, tmp_path):
    page, path = open_page('page=findings'), tmp_path / 'file.json'
    page.evaluate("void (Storage.prototype.setItem = () => { throw new Error('it is full'); })")
    number = int(page.evaluate("State.view.value('image_id', 4)"))
    path.write_text(json.dumps({'ids': [number], 'fingerprint': FINGERPRINT}))
    page.set_input_files('#import-decisions', path)
    wait_until(page, 'Decisions.of(4)?.exclude')
    assert 'could not be saved; export them' in page.text_content('#toast')
    path.write_text(json.dumps({'views': [{'name': 'one', 'ids': [number]}]}))
    click(page, '#saved-views')
    page.set_input_files('#import-views', path)
    wait_until(page, "Selections.saved().has('one')")
    assert 'could not be stored; export them' in page.text_content('#toast')


@pytest.mark.parametrize('fragment', ['view=val-600-objects&', ''])
def test_decisions_leave_without_a_label_issue_too(open_page, fragment):
    page = open_page(f'{fragment}page=findings&finding=issues')
    if not fragment:
        page.evaluate("State.view.label_issues = []; Events.emit('view')")
    page.evaluate('Decisions.exclude(0, true)')
    settle(page)
    assert page.locator('.findings-content .empty').count() == 1
    assert page.text_content('[data-count=exclude]') == '1'
    with page.expect_download() as download:
        page.click('#export-decisions')
    assert len(json.loads(download.value.path().read_text())['ids']) == 1


def test_missing_instances_of_two_classes_in_one_place(open_page):
    page = open_page('page=findings&finding=issues')
    state = """[window.region, window.other].map((one) =>
        [Decisions.verdictOf(one), Decisions.correctionOf(one)?.category ?? null])"""
    page.evaluate("""() => {
        window.region = State.view.label_issues.find((one) => one.annotation_id === null);
        window.other = { ...region, suggested: 'another' };
        Decisions.judge(region, 'accept', Corrections.suggested(region));
    }""")
    name = page.evaluate('region.suggested')
    assert page.evaluate(state) == [['accept', name], [None, None]]
    page.evaluate("Decisions.judge(other, 'reject')")
    assert page.evaluate(state) == [['accept', name], ['reject', None]]
    # Reports before the class was in the name of a region: the verdict counts until the next one.
    page.evaluate("""() => {
        const {decisions} = Decisions.exclusionList();
        const [[id, entry]] = Object.entries(decisions);
        const key = Object.keys(entry.regions)[0];
        const old = key.slice(0, key.lastIndexOf(` ${region.suggested}`));
        const corrections = { [old]: entry.corrections[key] };
        const made = { ...entry, regions: { [old]: 'accept' }, corrections };
        Decisions.clear();
        Decisions.add({ ids: [], fingerprint: State.view.fingerprint, decisions: { [id]: made } });
    }""")
    assert page.evaluate(state)[0] == ['accept', name]
    page.evaluate("Decisions.judge(region, 'accept', Corrections.suggested(region))")
    assert page.evaluate('Decisions.corrections()') == 1
    page.evaluate('Decisions.judge(region, null)')
    assert page.evaluate(state)[0] == [None, None]
