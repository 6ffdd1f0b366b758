"""What the report says of columns; that it agrees with the page is tested in the browser."""

import numpy as np
import pytest

from analysis.report import column_bins
from analysis.report.columns import encode


def _column(name, values, role='metadata', kind='number', **more):
    return {'name': name, 'role': role, 'kind': kind, 'values': values, **more}


def test_which_columns_vary_and_what_they_explain():
    rng = np.random.default_rng(0)
    group = np.arange(300) % 3
    loss = (group + rng.normal(0, 0.01, 300)).astype(np.float32)
    loss[7] = np.nan
    columns = column_bins.describe(
        [
            _column('loss', encode(loss), 'metric'),
            _column('constant', encode(np.full(300, 2.5, np.float32))),
            _column('missing', encode(np.full(300, 255, np.uint8), missing=255)),
            _column('noise', encode(rng.normal(size=300).astype(np.float32))),
            _column('infinite', encode(np.where(group == 1, np.inf, group).astype(np.float32))),
            _column(
                'group',
                encode(group.astype(np.uint16)),
                kind='category',
                categories=['a', 'b', 'c'],
            ),
            _column('first', encode((group == 0).astype(np.uint8)), kind='boolean'),
            _column('same', encode(np.ones(300, np.uint8)), kind='boolean'),
        ]
    )
    found = {column['name']: column for column in columns}
    varying = {name for name, column in found.items() if column['varies']}
    assert varying == {'loss', 'noise', 'infinite', 'group', 'first'}
    assert 'explained' not in found['loss']
    explained = {name: found[name]['explained']['loss'] for name in found if name != 'loss'}
    assert explained['group'] == pytest.approx(1, abs=1e-3)
    assert explained['infinite'] == pytest.approx(1, abs=1e-3)
    assert explained['first'] == pytest.approx(0.75, abs=0.01)
    assert explained['noise'] < 0.1
    assert explained['constant'] == explained['missing'] == explained['same'] == 0


@pytest.mark.parametrize(
    ('stop', 'step'), [(60, 2), (66, 5), (70, 5), (73, 5), (29, 2), (0.6, 0.02)]
)
def test_ticks_are_those_of_d3(stop, step):
    assert column_bins._tick_step(0, stop) == pytest.approx(step)
