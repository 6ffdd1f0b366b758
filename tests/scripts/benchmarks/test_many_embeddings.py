"""The synthetic embeddings are like those of images, and what costs too much shows."""

import json

import many_embeddings
import numpy as np
import pytest

from scripts.experiments import record


def test_embeddings_are_half_whitened_and_of_unit_length():
    points, center = many_embeddings.make(4000)
    assert points.shape == (4000, 48) and points.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, rtol=1e-5)
    spread = points.std(0)
    assert spread[0] > 2 * spread[-1] > 0
    counts = np.bincount(center, minlength=60)
    assert counts[0] > 10 * counts[-1] > 0


@pytest.mark.parametrize('part', many_embeddings.PARTS)
def test_each_part_is_measured(part):
    row = many_embeddings.measure(part, 120)
    assert row['cpu_seconds'] > 0 and row['peak_mb'] > 50
    quality = [float(value) for value in row['quality'].split(', ')]
    assert len(quality) == (2 if 'map' in part else 1) and all(-1 <= q <= 1 for q in quality)


def test_cost_is_compared_with_the_smallest_size():
    def row(seconds, peak):
        return {'cpu_seconds': seconds, 'peak_mb': peak, 'quality': '1'}

    sizes = {1000: row(1, 99), 100: row(0.1, 99), 2000: row(2.7, 99), 4000: row(4, 4000)}
    rows = many_embeddings.summarize({'neighbors': sizes})
    assert [each['images'] for each in rows] == [100, 1000, 2000, 4000]
    np.testing.assert_allclose([each['cost'] for each in rows], [1, 1, 1.35, 1])
    assert [each['met'] for each in rows] == [True, True, False, False]
    lines = many_embeddings.make_table(rows).to_markdown().splitlines()
    assert [line.endswith('no |') for line in lines[2:]] == [False, False, True, True]


def test_command(tmp_path, capsys):
    file = tmp_path / 'measured.json'
    command = ['--sizes', '200', '100', '--parts', 'neighbors', '--json', str(file)]
    assert many_embeddings.main(command) == 0
    found = json.loads(file.read_text())
    assert [row['images'] for row in found['measured']] == [100, 200]
    assert found['measured'][0]['quality'] == '1.000' and found['machine']['cores'] > 0
    assert '| neighbors | 100 |' in capsys.readouterr().out
    text = record.of_tables(found)['parts'].to_markdown()
    assert '| neighbors | 100 |' in text and found['origin']['command'].endswith(str(file))
    with pytest.raises(SystemExit):
        many_embeddings.main(['--parts', 'everything'])
