"""The benchmark's report, its workers' protocol, exported networks, layers and the plain form."""

import functools
import importlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import contenders
import exported
import jax
import jax.numpy as jnp
import jax_layers
import jax_worker
import numpy as np
import plain_flax
import pytest
import speed_report
import training_speed
from jax import lax

from segmentation import checks
from segmentation.config import load_config
from segmentation.models.unet import SegmentationModel
from tests import coco_fixtures


def entry(rates, peak=1000.0, parameters=7):
    return {
        'per_second': rates,
        'peak_mb': peak,
        'parameters': parameters,
    }


@pytest.fixture
def result():
    layer = {
        'name': 'encoder/Conv1', 'kind': 'dense', 'input': (2, 8, 8, 3), 'kernel': (3, 3, 3, 4),
        'flop': 10**9, 'training_flop': 2 * 10**9, 'seconds': [0.2, 0.1, 0.3],
    }  # fmt: skip
    return {
        'machine': {'cpu': 'abacus', 'cores': 2, 'memory_gb': 1.0, 'system': 'wood'},
        'settings': {'threads': 2, 'batch_size': 2, 'image_size': 8, 'rounds': 3, 'gemm_size': 2},
        'versions': {'jax': '0.1'},
        'training': {
            'contenders': {
                'ours': entry([10.0, 30.0, 20.0], peak=800.0),
                'TensorFlow': entry([25.0, 24.0, 26.0], peak=1200.0),
                'PyTorch': entry([40.0, 5.0, 10.0], peak=600.0),
                'plain Flax': entry([99.0], peak=1.0),
            },
            'absent': {'PyTorch, compiled': 'no compiler'},
        },
        'frozen': {
            'contenders': {'ours': entry([60.0]), 'PyTorch': entry([40.0])},
            'absent': {},
        },
        'inference': {
            '1': {
                'contenders': {
                    'ours': entry([8.0]),
                    'PyTorch': entry([5.0]),
                    'OpenVINO': entry([10.0], 100.0),
                },
                'absent': {},
            },
            '16': {'contenders': {'ours': entry([30.0])}, 'absent': {}},
        },
        'pipeline': {
            'contenders': {'ours': entry([100.0]), 'tf.data, decoded once': entry([900.0])},
            'absent': {'tf.data': 'not installed'},
            'preparation': {'images': 12, 'seconds': 3.0},
        },
        'layers': {
            'gemm': {'jax gemm': [90.0, 100.0, 110.0], 'torch gemm': [50.0]},
            'absent': {},
            'layers': [layer],
        },
    }


def test_ratios_are_of_medians_to_the_best_peer(result):
    ratios = speed_report.compute_ratios(result)
    assert ratios['training'] == 20 / 25
    assert ratios['memory_training'] == 600 / 800  # PyTorch is the leaner one
    assert ratios['training, frozen encoder'] == 60 / 40
    assert ratios['inference, batch 1'] == 8 / 10
    assert ratios['memory_inference, batch 1'] == 100 / 1000
    assert ratios['against'] == {
        'training': 'TensorFlow',
        'memory_training': 'PyTorch',
        'training, frozen encoder': 'PyTorch',
        'memory_training, frozen encoder': 'PyTorch',
        'inference, batch 1': 'OpenVINO',
        'memory_inference, batch 1': 'OpenVINO',
    }
    assert ratios['pipeline_over_training'] == 100 / 60  # the frozen one consumes more
    # Without a peer there is nothing to be faster than. Decoded images in memory are no peer.
    assert 'pipeline' not in ratios and 'inference, batch 16' not in ratios


def test_report_names_peers_and_the_absent(result):
    result['ratios'] = speed_report.compute_ratios(result)
    text = speed_report.report(result)
    assert '| ours | 20.0 (10.0–30.0) | 1.00 | 800 |' in text
    assert '| TensorFlow | 25.0 (24.0–26.0) | 0.80 |' in text
    assert 'Ours is 0.80× as fast as TensorFlow; PyTorch needs 0.75× our memory.' in text
    assert 'PyTorch, compiled is absent: no compiler' in text
    assert '| inference, batch 1 | img/s | ours / this | peak memory, MB |' in text
    assert 'Ours is 0.80× as fast as OpenVINO; OpenVINO needs 0.10× our memory.' in text
    assert '| tf.data | absent |  |' in text
    named = speed_report.contender_tables(result)
    parts = 'training', 'training_frozen_encoder', 'inference_batch_1'
    assert set(parts) < named.keys() and all(
        table.to_markdown() in text for table in named.values()
    )
    # Value and kernel gradient of 1 GFLOP each in 0.2 s, beside the faster product's 100 GFLOP/s.
    layer = '| encoder/Conv1 | dense | 2×8×8×3 | 3×3×3×4 | 2.00 | 200.0 | 10 | 10 % |'
    assert layer in text


FAKE = """
from protocol import serve

def count(spec):
    done = []
    def run(steps):
        print('a library prints')
        if len(done) >= spec['most']:
            raise RuntimeError('no <memory>')
        done.extend(range(steps))
        return len(done)
    return run, {'parameters': 3}

serve({'count': count})
"""


@pytest.fixture
def fake(tmp_path):
    path = tmp_path / 'fake_worker.py'
    path.write_text(FAKE)
    shutil.copy(contenders.PEERS / 'protocol.py', tmp_path)

    def start(most=1000):
        return contenders.Worker(
            'fake', [sys.executable, path], {'task': 'count', 'most': most}, 16, 5, 10
        )

    return start


def test_worker_answers_requests_and_ends(fake):
    worker = fake()
    assert worker.about['parameters'] == 3 and worker.about['peak_mb'] > 0
    worker.turn(skip=2)
    # One step before it was ready, two skipped, five timed.
    assert worker.answers[0]['result'] == 8 and worker.rates[0] > 0
    worker.close()
    assert worker.process.returncode is not None


def test_worker_that_does_not_answer_is_ended():
    command = [sys.executable, '-c', 'import time; time.sleep(1000)']
    with pytest.raises(contenders.WorkerFailed, match='no answer within 1 s'):
        contenders.Worker('slow', command, {}, 1, 1, patience=1)


def test_stop_while_a_worker_starts_ends_it(tmp_path):
    pid = tmp_path / 'pid'
    pressed = (
        'import os, pathlib, signal, time\n'
        f'pathlib.Path({str(pid)!r}).write_text(str(os.getpid()))\n'
        'os.kill(os.getppid(), signal.SIGINT)\n'  # as if Ctrl-C were pressed now
        'time.sleep(1000)'
    )
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored
    try:
        with pytest.raises(KeyboardInterrupt):
            contenders.Worker('slow', [sys.executable, '-c', pressed], {}, 1, 1, 1)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


def test_contender_that_fails_is_absent_and_ours_an_error(fake):
    workers, absent = contenders.alternate(
        [('ours', fake), ('peer', lambda: fake(1)), ('later', lambda: fake(8))], 3, title='test'
    )
    assert list(workers) == ['ours'] and len(workers['ours'].rates) == 3
    assert list(absent) == ['peer', 'later']
    assert all('RuntimeError: no <memory>' in reason for reason in absent.values())
    with pytest.raises(contenders.WorkerFailed, match='test, ours: RuntimeError'):
        contenders.alternate([('ours', lambda: fake(1))], 1, title='test')


def test_a_worker_has_no_more_time_than_its_deadline(fake):
    command = [sys.executable, '-c', 'import time; time.sleep(1000)']
    with pytest.raises(contenders.WorkerFailed, match='no answer within 1 s'):
        contenders.Worker('slow', command, {}, 1, 1, deadline=time.monotonic())
    worker = fake()
    worker.deadline = time.monotonic()
    worker.turn(skip=0)  # What comes at once is not lost.
    assert worker.rates
    worker.close()


def test_parts_that_fail_lose_no_other(monkeypatch, tmp_path, capsys, result):
    def fail(benchmark):
        raise ValueError('no scenes')

    names = 'training', 'frozen', 'inference', 'pipeline'
    for name in names:
        measured = fail if name in ('frozen', 'pipeline') else lambda _, name=name: result[name]
        monkeypatch.setattr(training_speed.Benchmark, name, measured)
    monkeypatch.setattr(training_speed, 'stop_once', lambda: None)
    file = tmp_path / 'result.json'
    monkeypatch.setattr(sys, 'argv', ['x', '--parts', ','.join(names), '--json', str(file)])
    assert training_speed.main() == 1
    found = json.loads(file.read_text())
    assert found['training'] == result['training'] and found['inference'] == result['inference']
    shown = capsys.readouterr()
    assert '| ours | 20.0 (10.0–30.0) |' in shown.out
    assert 'frozen: no scenes' in shown.err and 'pipeline: no scenes' in shown.err


def test_the_training_that_is_timed_takes_a_folder_with_one_split(monkeypatch, tmp_path):
    folder = coco_fixtures.write_folder(tmp_path / 'own', {'train': coco_fixtures.document(8)})
    given = ['--coco', str(folder), '--batch_size', '4']
    benchmark = training_speed.Benchmark(training_speed.parse_arguments(given), tmp_path)
    started = []

    def start(command, *_, **__):
        started.append([*map(str, command)])
        return subprocess.Popen([sys.executable, '-c', ''], start_new_session=True)

    monkeypatch.setattr(training_speed, 'start', start)
    benchmark._train('timed', lambda process, _: process.poll() == 0, {})
    ((_, _, workdir, config, *fields),) = started
    config = load_config(config.removeprefix('--config='), fields)
    inputs = checks.open_inputs(config, pathlib.Path(workdir.removeprefix('--workdir=')))
    assert len(inputs.examples) + len(inputs.selection) == 8
    # What the worker has prepared is not prepared again.
    assert len([*(tmp_path / 'data').glob('*/*/*')]) == 1


def model_variables(model, size=64):
    images = jnp.zeros((1, size, size, 3))
    return jax.eval_shape(lambda key: model.init(key, images, train=False), jax.random.key(0))


def test_layers_are_the_models_kernels():
    model = SegmentationModel(3)
    layers = jax_layers.list_layers(model, 64, 2)
    parameters = jax.tree_util.tree_flatten_with_path(model_variables(model)['params'])[0]
    kernels = {
        '/'.join(key.key for key in path[:-1]): leaf.shape
        for path, leaf in parameters
        if path[-1].key == 'kernel'
    }
    assert {layer['name']: layer['kernel'] for layer in layers} == kernels
    assert [layer['name'] for layer in layers if not layer['inputs_needed']] == ['encoder/Conv1']
    assert layers[-1]['output'] == (2, 64, 64, 3)


def test_a_convolution_of_a_repeated_map_costs_four_times_a_transposed_one():
    transposed, repeated = (
        jax_layers.list_layers(SegmentationModel(3, upsampling=upsampling), 64, 2)
        for upsampling in ('transposed', 'nearest_conv')
    )
    growing = [
        (one['flop'], other['flop']) for one, other in zip(transposed, repeated, strict=True)
        if one['output'][1] > one['input'][1]
    ]  # fmt: skip
    assert len(growing) == 5 and all(other == 4 * one for one, other in growing)


SPEC = {
    'form': 'project', 'threads': 1, 'image_size': 32, 'model': {'width': 0.35}, 'classes': 3,
    'batch_size': 2,
}  # fmt: skip


@pytest.fixture(scope='module')
def exported_network(tmp_path_factory):
    pytest.importorskip('onnx', reason="pip install -e '.[onnx]'")
    folder = tmp_path_factory.mktemp('exported')
    assert jax_worker.export({**SPEC, 'folder': str(folder)}) == (None, {'images': 2})
    return {**SPEC, 'exported': str(folder)}


@pytest.mark.parametrize('name', ['onnxruntime', 'openvino'])
def test_runtime_gives_our_logits_of_the_exported_network(exported_network, name):
    pytest.importorskip(name, reason=f'{name} is not installed')
    worker = importlib.import_module(f'{name}_worker')
    # One image of the two that were exported.
    run, about = exported.inference({**exported_network, 'batch_size': 1}, worker._load)
    run(1)
    assert about['difference'] <= 1e-4


def test_runtime_with_other_logits_is_not_timed(exported_network):
    with np.load(f'{exported_network["exported"]}/batch.npz', allow_pickle=False) as batch:
        logits = batch['logits'].copy()
    # Of the size that a test for equality needs.
    assert logits.shape == (2, 3, 32, 32) and 0.1 < logits.std() < 10
    logits[1, 2, 3, 4] += 2e-4
    with pytest.raises(ValueError, match='differ from ours by up to 0.0002'):
        exported.inference(exported_network, lambda path, shape, threads: lambda images: logits)


@pytest.mark.parametrize('kind', ['dense', 'depthwise', 'pointwise', 'transposed'])
def test_layer_flop_agrees_with_xla(kind):
    layers = jax_layers.list_layers(SegmentationModel(3, width=0.35), 64, 2)
    layer = [layer for layer in layers if layer['kind'] == kind][-1]
    b, height, width, channels = layer['input']
    transposed = kind == 'transposed'
    # XLA leaves out what meets the padding, our count does not: so no window may reach over it.
    if not transposed:
        height, width = (
            layer['stride'] * (side - 1) + layer['kernel'][0] for side in layer['output'][1:3]
        )
    options = {'dimension_numbers': ('NHWC', 'HWIO', 'NHWC')}
    if transposed:
        plain = functools.partial(
            lax.conv_transpose, strides=(2, 2), padding='VALID', transpose_kernel=True, **options
        )
    else:
        plain = functools.partial(
            lax.conv_general_dilated,
            window_strides=(layer['stride'],) * 2,
            padding='VALID',
            feature_group_count=channels if kind == 'depthwise' else 1,
            **options,
        )
    lowered = jax.jit(plain).lower(
        jnp.zeros((b, height, width, channels)), jnp.zeros(layer['kernel'])
    )
    if not transposed:
        assert lowered.out_info.shape == layer['output']
    assert lowered.cost_analysis()['flops'] == layer['flop']


def test_plain_form_has_our_variables():
    ours = model_variables(SegmentationModel(3))
    plain = model_variables(plain_flax.PlainModel(3))
    assert jax.tree.map(jnp.shape, ours) == jax.tree.map(jnp.shape, plain)
