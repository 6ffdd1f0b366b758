"""What tests do in a page of a report, and read from it."""

import numpy as np

from analysis.samples.schema import Samples
from analysis.stage import artifacts
from tests.report_fixture.browsing import settle

FINGERPRINT = 'drawn0'  # of the images that `made_run.write_run` writes


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
