"""What the first page shows: rows, fragments, dots."""

import json
import urllib.parse

import numpy as np

from tests.report_fixture.browsing import settle

NUMBER = 150  # of samples


def passing(page):
    """Rows that pass, by the filters; the number on the page must say the same."""
    settle(page)
    rows = page.evaluate('[...Order.rows()]')
    assert int(page.text_content('#passing').replace(',', '')) == len(rows)
    return np.sort(rows)


def filters(**named):
    """A fragment with these filters."""
    return urllib.parse.urlencode({'filters': json.dumps(list(named.items()))})


def fragment_of(page, part):
    """The page's fragment, when it has that part: it is written after a moment."""
    for _ in range(50):
        fragment = page.evaluate('location.hash').removeprefix('#')
        if part in fragment:
            return fragment
        page.wait_for_timeout(50)
    raise AssertionError(f'{part} is not in {fragment}')


def inside(points, polygon):
    """Which points `[N, 2]` are in a polygon `[M, 2]`, by the crossings of a ray."""
    result = np.zeros(len(points), bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, 1, axis=0), strict=True):
        between = (y0 > points[:, 1]) != (y1 > points[:, 1])
        with np.errstate(divide='ignore', invalid='ignore'):
            crosses = points[:, 0] < (x1 - x0) * (points[:, 1] - y0) / (y1 - y0) + x0
        result ^= between & crosses
    return result


def on_screen(page, points, padding=28):
    """Where the dots must be if all fit into the map with that padding, `[N, 2]` in pixels."""
    box = page.locator('.map-surface').bounding_box()
    low, high = points.min(0), points.max(0)
    size = np.array([box['width'], box['height']])
    scale = ((size - 2 * padding) / (high - low)).min()
    middle = np.array([box['x'], box['y']]) + size / 2
    return middle + (points - (low + high) / 2) * scale * [1, -1]


def drag(page, points, steps=4):
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=steps)
    page.mouse.up()
