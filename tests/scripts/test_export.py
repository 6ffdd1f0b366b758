import json
import subprocess
import sys

import pytest

from scripts.experiments import record
from tests.paths import ROOT


def export(*arguments):
    command = [sys.executable, 'scripts/export.py', *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


def test_onnx_with_its_proof(tiny_run, tmp_path):
    pytest.importorskip('onnx', reason="pip install -e '.[onnx]'")
    pytest.importorskip('onnxruntime', reason="pip install -e '.[onnx]'")
    output, result = tmp_path / 'new folder' / 'model.onnx', tmp_path / 'result.json'
    done = export('--workdir', tiny_run, '--output', output, '--json', result)
    assert done.returncode == 0, done.stderr
    written = json.loads(result.read_text())
    project, exported = written['rows'][:2]
    assert project['name'] == 'this project' and project['images'] == 6
    assert exported['agreement'] > 0.98 and exported['bytes'] == output.stat().st_size
    low, high = exported['interval']
    assert low <= exported['iou_difference'] <= high
    assert '| ONNX Runtime, float32 |' in done.stdout
    assert written['origin']['command'].startswith(f'python scripts/export.py --workdir {tiny_run}')
    recorded = record.of_export(written)['files'].to_markdown().splitlines()
    assert len(recorded) == 1 + len(written['rows'])
    cells = [cell.strip() for cell in recorded[2].strip('|').split('|')]
    assert cells[:2] == ['ONNX Runtime, float32', f'{exported["agreement"]:.3%}']
    for cell, time in zip(cells[3:5], ('second', 'processor_second'), strict=True):
        rates = [row[f'images_per_{time}'] for row in (exported, project)]
        assert cell == f'{rates[0] / rates[1]:.2f}'


def test_arguments_that_exclude_each_other_are_named(tmp_path):
    done = export('--workdir', tmp_path, '--output', 'x', '--format=stablehlo', '--quantize=int8')
    assert done.returncode == 2 and 'only possible with --format onnx' in done.stderr
    done = export('--workdir', tmp_path, '--output', 'x', '--calibration=7')
    assert done.returncode == 2 and 'only for --quantize' in done.stderr
