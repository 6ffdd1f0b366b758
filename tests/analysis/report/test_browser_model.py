"""The network in a report: the runtime is the pinned one, and the exported network agrees."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from analysis.embeddings.schema import Embeddings
from analysis.predictions.schema import Predictions
from analysis.report import browser_model, options
from analysis.report import stage as report
from analysis.stage import artifacts
from tests.paths import ROOT
from tests.report_fixture import made_run


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A folder like that of npm's package, whose files are taken for the pinned ones."""
    (tmp_path / 'web/dist').mkdir(parents=True)
    digests = {}
    for name in browser_model._FILES:
        text = f'var ort = "{name}";\n//# sourceMappingURL=map'.encode()
        (tmp_path / 'web/dist' / name).write_bytes(text)
        digests[name] = hashlib.sha256(text).hexdigest()
    monkeypatch.setattr(browser_model, '_FILES', digests)
    return tmp_path / 'web'


def test_without_the_runtime_the_error_says_how_to_get_it(tmp_path, capsys):
    made_run.write_run(tmp_path / 'run', 40, only=())
    command = ['--workdir', str(tmp_path / 'run'), '--with_model', '--output', str(tmp_path / 'r')]
    assert report.main([*command, '--onnxruntime_web', str(tmp_path / 'none')]) == 1
    text = capsys.readouterr().err
    assert f'npm install --no-save onnxruntime-web@{browser_model.VERSION}' in text
    assert not (tmp_path / 'r').exists()


def test_ci_installs_the_pinned_runtime():
    pinned = json.loads((ROOT / '.ci/javascript/package.json').read_text())['devDependencies']
    assert pinned['onnxruntime-web'] == browser_model.VERSION


def test_another_version_of_the_runtime_is_refused(package):
    assert len(browser_model.read_runtime(package)) == 3
    path = package / 'dist/ort.wasm.min.js'
    path.write_bytes(path.read_bytes() + b' ')
    with pytest.raises(ValueError, match='ort.wasm.min.js is not the file of onnxruntime-web'):
        browser_model.read_runtime(package)
    path.unlink()
    with pytest.raises(ValueError, match='ort.wasm.min.js is missing'):
        browser_model.read_runtime(package)


@pytest.mark.parametrize('option', ['--with_model', '--parquet'])
def test_a_single_file_cannot_hold_what_needs_a_folder(tmp_path, capsys, option):
    with pytest.raises(SystemExit):
        report.main(['--workdir', str(tmp_path), '--single_file', option])
    assert f'{option} needs a folder' in capsys.readouterr().err


def test_only_a_report_with_the_network_may_run_webassembly(tmp_path, package):
    made_run.write_run(tmp_path / 'run', 40, only=('similarity_map',))
    assert report.main(['--workdir', str(tmp_path / 'run')]) == 0
    page = (tmp_path / 'run/report/index.html').read_text()
    assert 'wasm' not in page.partition('<body>')[0]
    policy = browser_model.allow(page).partition('Content-Security-Policy"')[2].partition('>')[0]
    assert "script-src 'self' file: blob: 'wasm-unsafe-eval';" in policy
    assert "default-src 'none'" in policy and "'unsafe-eval'" not in policy


@pytest.mark.parametrize('precision', options.PRECISIONS)
def test_the_exported_network_agrees_with_the_analysis(analyzed_run, precision):
    runtime = pytest.importorskip('onnxruntime')
    pytest.importorskip('onnx')
    from analysis.report import browser_network

    analysis = analyzed_run
    embeddings = artifacts.load(analysis, Embeddings)
    predictions = artifacts.load(analysis, Predictions)
    network = browser_network.build(analysis, embeddings, precision)
    session = runtime.InferenceSession(network, providers=['CPUExecutionProvider'])
    for row in range(len(analysis)):
        image = analysis.examples[row]['image'][None]
        classes, embedding = session.run(['classes', 'embedding'], {'image': image})
        agreement = (classes[0] == predictions.class_map(row)).mean()
        distance = np.linalg.norm(embeddings.points - embedding, axis=1)
        assert distance.argmin() == row
        if precision == 'float16':
            assert agreement >= 0.99
            assert distance[row] < 0.02
        else:
            assert agreement >= 0.9
    assert len(network) < 4 * sum(np.size(array) for array in _arrays(analysis.run.variables))


def _arrays(tree):
    if isinstance(tree, dict):
        for part in tree.values():
            yield from _arrays(part)
    else:
        yield tree


def test_embeddings_of_layers_that_the_export_lacks(analyzed_run):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    from analysis.report import browser_network

    analysis = analyzed_run
    embeddings = artifacts.load(analysis, Embeddings)
    changed = dataclasses.replace(embeddings, layers={'encoder/block_2_expand': 16})
    with pytest.raises(ValueError, match='lacks .*block_2_expand'):
        browser_network.build(analysis, changed, 'float16')
