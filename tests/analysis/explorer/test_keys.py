"""Who gets the keys: dialogs, fields and controls that are drawn again keep theirs."""

import pytest

from tests.analysis.explorer.driving import click, passing, press, shown_sample
from tests.report_fixture.browsing import settle

NO_VERDICT = 'State.view.label_issues.every((one) => !Decisions.verdictOf(one))'


def test_keys_while_a_dialog_is_open_are_not_for_the_page(open_page):
    page = open_page('page=findings&finding=issues')
    click(page, '#saved-views')
    page.keyboard.type('first')
    press(page, 'Enter')
    page.keyboard.type('radar')
    assert page.input_value('#view-name') == 'radar'
    page.locator('.saved-views li button').last.click()  # deletes it
    settle(page)
    assert page.locator('.saved-views li').count() == 0
    assert page.evaluate('document.activeElement.id') == 'view-name'
    page.evaluate('document.activeElement.blur()')
    press(page, 'r')
    page.evaluate('State.openSample(3)')
    settle(page)
    page.evaluate('document.activeElement.blur()')
    press(page, 'x')
    assert page.evaluate(f'{NO_VERDICT} && !Decisions.of(3)')


@pytest.mark.parametrize(
    'fragment, selector, key',
    [
        ('', '.map-controls label:nth-of-type(1) select', 'ArrowDown'),
        ('', '.map-controls label:nth-of-type(2) select', 'ArrowDown'),
        ('', '.map-controls .overlay-control select', 'ArrowDown'),
        ('', '.page-explore .samples-head select', 'ArrowDown'),
        ('', '.page-explore .samples-head .link', 'Enter'),
        ('', '.page-explore [data-sort=loss]', 'Enter'),
        ('color=cluster', '.page-explore .legend li:nth-child(2) button', 'Enter'),
        ('', '.rows-choice select', 'ArrowDown'),
        ('page=clusters', '.page-clusters .page-tools label:nth-of-type(2) select', 'ArrowDown'),
        ('page=findings', '.page-findings .page-tools select', 'ArrowDown'),
        ('page=findings&finding=associations', '.page-tools input', 'Space'),
        ('page=models', '.page-models .page-tools select', 'ArrowDown'),
    ],
)
def test_the_keyboard_stays_on_a_control_that_is_drawn_again(open_page, fragment, selector, key):
    page = open_page(fragment)
    page.wait_for_selector(selector)
    page.locator(selector).first.focus()
    page.evaluate('void (window.before = document.activeElement)')
    press(page, key)
    page.wait_for_selector('body[data-loaded]')
    settle(page)
    assert page.evaluate('!before.isConnected')
    assert page.evaluate(
        '(selector) => document.activeElement === document.querySelector(selector)', selector
    )


def test_a_control_that_is_gone_does_not_leave_the_keys_to_a_field(open_page):
    page = open_page('')
    script = """() => {
        const [button, field] = [document.createElement('button'), document.createElement('input')];
        field.type = 'text';
        const box = document.createElement('div');
        document.body.append(box);
        box.append(button);
        button.focus({ focusVisible: true });
        Dom.replace(box, field);
    }"""
    page.evaluate(script)
    assert page.evaluate('document.activeElement.tagName') != 'INPUT'


def test_after_another_tile_was_clicked_arrow_keys_step(open_page):
    page = open_page('page=samples')
    tiles = page.locator('.page-samples .tile')
    for place in (0, 1):
        tiles.nth(place).click()
        settle(page)
    before, order = page.evaluate('[State.selected, [...Order.rows()]]')
    press(page, 'ArrowRight')
    assert page.evaluate('State.selected') == order[order.index(before) + 1]


def test_after_a_category_was_typed_keys_are_verdicts_again(open_page):
    page = open_page('page=findings&finding=issues')
    press(page, 'c')
    page.keyboard.type('truck')
    press(page, 'Enter')
    press(page, 'r')
    assert page.evaluate('[Decisions.counts().accept, Decisions.counts().reject]') == [1, 1]


@pytest.mark.parametrize('name', ['explore', 'clusters'])
def test_the_opacity_of_overlays_is_dragged(open_page, name):
    page = open_page(f'page={name}')
    box = page.locator(f'.page-{name} .overlay-control input').bounding_box()
    middle = box['y'] + box['height'] / 2
    page.mouse.move(box['x'] + box['width'] / 2, middle)
    page.mouse.down()
    found = []
    for share in (0.5, 0.7, 0.95):
        page.mouse.move(box['x'] + share * box['width'], middle)
        settle(page)
        found.append(page.evaluate('State.appearance.opacity'))
    page.mouse.up()
    assert found[0] < found[1] < found[2]


def test_keys_that_a_control_uses_do_not_step_through_samples(open_page):
    page = open_page('')
    page.evaluate('State.openSample(3)')
    shown = shown_sample(page)
    page.locator('#tab-explore').focus()
    press(page, 'ArrowRight')
    assert page.evaluate('State.page') == 'samples'
    page.locator('.page-samples .samples-scroll').focus()
    press(page, 'ArrowRight')
    page.evaluate("State.showPage('explore')")
    settle(page)
    page.locator('.chart[data-column="loss"] .brush').focus()
    press(page, 'ArrowRight')
    assert passing(page) < 60 and shown_sample(page) == shown
    press(page, 'Escape')
    assert passing(page) == 60 and shown_sample(page) == shown
    press(page, 'Escape')
    assert shown_sample(page) is None
