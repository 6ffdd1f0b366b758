"""Lasso, box, hover, color and size on the map."""

import re

import numpy as np
import pytest

from analysis.similarity_map.schema import SimilarityMap
from analysis.stage import artifacts
from tests.analysis.explorer.pages.reading import NUMBER, drag, inside, on_screen, passing
from tests.report_fixture.browsing import settle


def test_lasso_and_box_keep_the_dots_inside(open_page, analysis):
    points = artifacts.load(analysis, SimilarityMap).map_2d.astype(float)
    page = open_page()
    screen = on_screen(page, points)
    center = screen.mean(0)
    ring = [center + [90 * np.cos(a), 60 * np.sin(a)] for a in np.linspace(0, 5.5, 12)]

    page.keyboard.down('Shift')
    drag(page, ring)
    page.keyboard.up('Shift')
    rows = passing(page)
    chosen = page.evaluate("Filters.all.get('map')")
    assert rows.tolist() == np.flatnonzero(inside(points, chosen['points'])).tolist()
    assert rows.tolist() == np.flatnonzero(inside(screen, ring)).tolist()

    page.keyboard.press('Escape')
    assert len(passing(page)) == NUMBER
    page.click('[aria-label="Select a box"]')
    low, high = np.quantile(screen, 0.2, axis=0), np.quantile(screen, 0.7, axis=0)
    drag(page, [low, high])
    assert (
        passing(page).tolist()
        == np.flatnonzero(((screen >= low) & (screen <= high)).all(1)).tolist()
    )


def test_lasso_on_the_turned_map(open_page, analysis):
    points = artifacts.load(analysis, SimilarityMap).map_3d.astype(float)
    page = open_page()
    page.click('[aria-label="Two or three dimensions"]')
    box = page.locator('.map-surface').bounding_box()
    middle = np.array([box['x'] + box['width'] / 2, box['y'] + box['height'] / 2])
    drag(page, [middle, middle + [60, 25]])

    page.keyboard.down('Shift')
    drag(page, [middle + offset for offset in ([-80, -80], [10, -60], [30, 70], [-60, 60])])
    page.keyboard.up('Shift')
    rows = passing(page)

    chosen = page.evaluate("Filters.all.get('map')")
    yaw, pitch = chosen['turn']
    assert (yaw, pitch) == pytest.approx((0.6 + 60 / 150, 0.35 + 25 / 150))
    around = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    seen = (points @ (tilt @ around).T)[:, :2]
    assert 0 < len(rows) < NUMBER
    assert rows.tolist() == np.flatnonzero(inside(seen, chosen['points'])).tolist()


def test_hover_shows_the_sample_and_a_click_opens_it(open_page, analysis, table):
    page = open_page('overlay=error')
    screen = on_screen(page, artifacts.load(analysis, SimilarityMap).map_2d.astype(float))
    apart = np.hypot(*(screen[:, None] - screen[None]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    # The most lonely dot that no name or legend covers.
    covered = page.evaluate(
        """(points) => points.map(([x, y]) =>
            !document.elementFromPoint(x, y)?.matches('.map-surface, canvas'))""",
        screen.tolist(),
    )
    row = int(np.argmax(np.where(covered, 0, apart.min(1))))

    page.mouse.move(*screen[row])
    settle(page)
    card = page.locator('.map-card')
    assert card.is_visible()
    assert card.locator('.card-name').text_content() == table['file_name'][row]
    assert f'{table["loss"][row]:.3f}' in card.text_content()
    assert re.search('error', card.locator('.thumbnail i').nth(1).get_attribute('style'))
    page.mouse.click(*screen[row])
    settle(page)
    assert page.evaluate('State.selected') == row


def test_color_and_size_by_any_column(open_page):
    page = open_page()
    looks = set()
    for color, size in [('cluster', ''), ('loss', ''), ('loss', 'loss'), ('is_grayscale', 'loss')]:
        page.locator('.map-controls select').nth(0).select_option(color)
        page.locator('.map-controls select').nth(1).select_option(size)
        settle(page)
        looks.add(page.evaluate("document.querySelector('.map-surface canvas').toDataURL()"))
        assert page.text_content('.legend-title').startswith(color.replace('_', ' '))
    assert len(looks) == 4


def test_a_drag_that_ends_outside_of_the_map_is_over(open_page, analysis):
    page = open_page()
    screen = on_screen(page, artifacts.load(analysis, SimilarityMap).map_2d.astype(float))
    box = page.locator('.map-surface').bounding_box()
    page.mouse.move(box['x'] + 60, box['y'] + 60)
    page.mouse.down()
    page.mouse.move(box['x'] + 70, box['y'] + 70)
    page.mouse.move(box['x'] + 70, box['y'] + box['height'] + 90)
    page.mouse.up()
    page.locator('.map-surface').focus()
    page.keyboard.press('0')  # fits all samples again
    settle(page)
    hovered = []
    for x, y in screen[:20]:
        page.mouse.move(x, y)
        settle(page)
        hovered.append(page.evaluate('State.hovered'))
    assert any(row is not None for row in hovered)


def test_a_rotation_ends_with_its_page(open_page):
    page = open_page()
    page.click('[aria-label="Two or three dimensions"]')
    spin = page.locator('[aria-label="Rotate continuously"]')
    spin.click()
    assert spin.get_attribute('aria-pressed') == 'true'
    for name in ('samples', 'explore'):
        page.evaluate(f"State.showPage('{name}')")
        settle(page)
        settle(page)
    assert spin.get_attribute('aria-pressed') == 'false'
    assert page.text_content('.map-note').startswith('trustworthiness in 2-D 0.')
