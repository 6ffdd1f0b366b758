"""A report whose names try to be markup, with a second model, in a browser."""

import pytest

from analysis.report import stage as report
from tests.report_fixture import browsing, findings, made_run


@pytest.fixture(scope='session')
def analysis(tmp_path_factory):
    """An analysis whose names try to be markup; its report has a second model too."""
    folder = tmp_path_factory.mktemp('explorer')
    this = made_run.write_run(folder / 'this', 60, hostile=True)
    names = ('background', 'person', 'vehicle')
    other = made_run.write_run(folder / 'other', 60, class_names=names)
    findings.write_comparison(this, other)
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
        return browsing.open_report(context, folder, fragment, wrong)

    yield open_at
    assert wrong == []
