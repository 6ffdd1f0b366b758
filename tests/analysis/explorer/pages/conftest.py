"""A report of many samples in two checkpoints; what it must show, from its artifacts."""

import numpy as np
import pytest

from analysis.clusters.schema import Clusters
from analysis.report import stage as report
from analysis.samples.schema import Samples
from analysis.stage import artifacts
from tests.analysis.explorer.pages.reading import NUMBER
from tests.report_fixture import browsing, made_run


@pytest.fixture(scope='session')
def analysis(tmp_path_factory):
    """An analysis whose names try to be markup. Its run has an earlier one, too."""
    folder = tmp_path_factory.mktemp('explorer')
    made_run.write_run(folder / 'run', NUMBER, name='val-400', hostile=True)
    made = made_run.write_run(folder / 'run', NUMBER, name='val-600', hostile=True)
    command = ['--workdir', str(folder / 'run'), '--output', str(folder / 'report')]
    assert report.main(command) == 0
    return made


@pytest.fixture(scope='session')
def table(analysis):
    """Columns of the samples as arrays: NaN where a number is missing."""
    read = artifacts.load(analysis, Samples).table
    return {name: read[name].to_numpy() for name in read.column_names}


@pytest.fixture(scope='session')
def names(analysis):
    """Name of each sample's k-means cluster, as the report has it."""
    clusters = artifacts.load(analysis, Clusters)
    return np.array([f'{label}: {clusters.names[label]}' for label in clusters.label])


@pytest.fixture
def open_page(browser, analysis):
    """Opens a report. Afterwards nothing may have gone wrong or been asked for outside of it."""
    wrong, contexts = [], []

    def open_at(
        fragment='',
        folder=analysis.workdir.parent / 'report',
        width=1280,
        height=800,
        **options,
    ):
        context = browser.new_context(viewport={'width': width, 'height': height}, **options)
        context.set_default_timeout(60_000)  # on a busy machine a page takes many seconds
        contexts.append(context)
        return browsing.open_report(context, folder, fragment, wrong)

    yield open_at
    for context in contexts:
        context.close()
    assert wrong == []
