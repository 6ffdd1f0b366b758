"""The report of the benchmark on an accelerator, what runs out of time, and its smallest form."""

import argparse
import json
import subprocess
import sys

import accelerator
import accelerator_report
import pytest

from scripts.experiments.record import of_tables
from tests.paths import ROOT


def rates(*values, **more):
    return {'per_second': list(values), **more}


@pytest.fixture
def result():
    layer = {'decoder/up_1': {'transposed': 0.004, 'sub-pixel': 0.002}}
    return {
        'device': 'abacus',
        'machine': {'cpu': 'beads', 'cores': 2, 'system': 'wood'},
        'versions': {'jax': '0.1'},
        'settings': {'image_size': 8},
        'left_out': ['steps, batch 8, tf32'],
        'products': {
            'float32 jax': rates(2.0, 1.0, 3.0),
            'float32 torch': rates(4.0),
            'tf32 jax': {'absent': 'no tf32'},
        },
        'transposed': {
            'float32': {'results': [layer], 'about': {'training_flop': 5 * 10**9}},
            'tf32': {'absent': 'no tf32'},
        },
        'pipeline': {'threads': rates(1000.0), '2 workers': {'absent': 'no workers'}},
        'steps': {
            'float32': {
                '16': {'ours': rates(400.0), 'PyTorch, compiled': rates(200.0)},
            }
        },
        'other_batches': {
            'float32': {
                '64': {'ours': {'absent': 'no memory'}, 'PyTorch, compiled': rates(100.0)},
            }
        },
        'demo': {'mean_iou_foreground': 0.25, 'seconds': 12.0},
        'numerics': {'summary': '3 passed, 1 skipped'},
    }


def test_utilization_is_of_the_largest_product_of_the_same_run(result):
    assert accelerator_report.find_peaks(result['products']) == {'float32': 4.0}
    text = accelerator_report.report(result)
    # 5 GFLOP at 400 img/s are 2 of 4 TFLOP/s.
    assert '| 16 | float32 | ours | 40.00 | 400 | 50.0 % | 2.00 | 2.5 |' in text
    assert '| 16 | float32 | PyTorch, compiled | 80.00 | 200 | 25.0 % |  |  |' in text
    assert '| decoder/up\\_1 | float32 | 4.000 | 2.000 | 2.00 |' in text


def test_what_is_missing_is_named(result):
    text = accelerator_report.report(result)
    assert '| 64 | float32 | ours | absent | no memory |' in text
    assert 'Left out for lack of time: steps, batch 8, tf32.' in text
    assert 'foreground mean IoU 0.250 after 12 s' in text
    assert '**Numerics**: 3 passed, 1 skipped' in text
    for part in accelerator.PARTS:
        del result[part]
    assert accelerator_report.report(result).startswith('abacus, beads')


def make_benchmark(tmp_path, minutes):
    arguments = argparse.Namespace(
        tiny=True, platform='cpu', minutes=minutes, peers=tmp_path, torch_python=sys.executable
    )
    return accelerator.Benchmark(arguments, tmp_path)


def test_no_step_begins_when_the_time_is_over(tmp_path):
    benchmark = make_benchmark(tmp_path, minutes=0)
    assert benchmark.steps() == {'bfloat16': {}}
    assert benchmark.result['left_out'] == ['steps, batch 2, bfloat16']


def test_command_that_takes_too_long_is_ended(tmp_path):
    benchmark = make_benchmark(tmp_path, minutes=1 / 60)
    with pytest.raises(accelerator.WorkerFailed, match='did not end in time'):
        benchmark._command('-c', 'import time; time.sleep(1000)')
    benchmark = make_benchmark(tmp_path, minutes=1)
    with pytest.raises(accelerator.WorkerFailed, match='exit status 1: no <room>'):
        benchmark._command('-c', 'import sys; sys.exit("no <room>")')


def test_smallest_form_runs_on_the_cpu(tmp_path):
    """The parts that take seconds; the others run commands that have tests of their own."""
    file = tmp_path / 'result.json'
    command = [
        sys.executable, ROOT / 'scripts/benchmarks/accelerator.py', '--tiny', '--platform', 'cpu',
        '--parts', 'products,transposed', '--json', file,
        # Of the project, which has no PyTorch.
        '--torch_python', sys.executable,
    ]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert len(found['products']['bfloat16 jax']['per_second']) == 1
    layers = found['transposed']['bfloat16']['results'][0]
    assert sorted(layers) == ['decoder/logits', *(f'decoder/up_{i}' for i in range(1, 5))]
    assert all(time > 0 for forms in layers.values() for time in forms.values())
    assert '| matrix product |' in done.stdout and '| decoder/logits | bfloat16 |' in done.stdout
    record = of_tables(found)
    assert record['products'].to_markdown() in done.stdout
    assert found['origin']['devices'] == ['cpu'] and '--tiny' in found['origin']['command']
