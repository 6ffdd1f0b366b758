"""Reading, checking and merging encoder weights."""

import functools
import io
import urllib.error

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from configs import default
from segmentation import files, train_step
from segmentation.models import mobilenet_v2, pretrained, unet
from tests.paths import SHARED

REAL = SHARED / 'weights/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5'
WIDTH = 0.35

# Images that show one of ImageNet's classes and nothing else large.
PHOTOGRAPHS = {
    '000000000034.jpg': 'zebra',
    '000000000285.jpg': 'brown bear',
    '000000221184.jpg': 'airliner',
}


@pytest.fixture(scope='module')
def weights():
    """Random weights of a whole encoder of width 0.35."""
    rng = np.random.default_rng(0)
    layers = {}
    for tree in variables_of(mobilenet_v2.MobileNetV2(WIDTH, taps=('out_relu',))).values():
        for layer, arrays in tree.items():
            for name, array in arrays.items():
                random = rng.uniform(0.1, 1, array.shape).astype(np.float32)
                layers.setdefault(layer, {})[name] = random
    return layers


def name_of_2018(layer):
    """The layer's name in the official files."""
    for part in ('expand', 'depthwise', 'project'):
        for suffix, form in (('', 'mobl{i}_conv_{i}_{part}'), ('_BN', 'bn{i}_conv_{i}_bn_{part}')):
            if layer.endswith(f'_{part}{suffix}'):
                prefix = layer.removesuffix(f'_{part}{suffix}')
                i = 0 if prefix == 'expanded_conv' else prefix.removeprefix('block_')
                return form.format(i=i, part=part)
    return layer


def write_keras_file(path, weights, rename=lambda layer: layer):
    """An .h5 file in the layout of Keras' weight files."""
    names = {'scale': 'gamma', 'bias': 'beta', 'mean': 'moving_mean', 'var': 'moving_variance'}
    with h5py.File(path, 'w') as file:
        file.attrs['layer_names'] = [b'input_1', *(rename(layer).encode() for layer in weights)]
        file.create_group('input_1').attrs['weight_names'] = np.array([], 'S1')
        for layer, arrays in weights.items():
            group, listed = file.create_group(rename(layer)), []
            for name, array in arrays.items():
                if name == 'kernel' and layer.endswith('depthwise'):
                    name, array = 'depthwise_kernel', array.transpose(0, 1, 3, 2)
                listed.append(f'{rename(layer)}/{names.get(name, name)}:0')
                group[listed[-1]] = array
            group.attrs['weight_names'] = [n.encode() for n in listed]
    return path


def assert_same(a, b):
    assert set(a) == set(b)
    for layer in a:
        assert set(a[layer]) == set(b[layer])
        for name in a[layer]:
            np.testing.assert_array_equal(a[layer][name], b[layer][name])


@pytest.mark.parametrize('rename', [lambda layer: layer, name_of_2018])
def test_reads_keras_files_with_old_and_new_names(tmp_path, weights, rename):
    path = write_keras_file(tmp_path / 'w.h5', weights, rename)
    loaded = pretrained.load_weights(path, WIDTH, 128)
    assert_same(loaded, weights)
    assert rename('block_3_expand_BN') in ('block_3_expand_BN', 'bn3_conv_3_bn_expand')


def variables_of(network):
    shapes = jax.eval_shape(
        functools.partial(network.init, train=False), jax.random.key(0), jnp.zeros((1, 32, 32, 3))
    )
    return jax.tree.map(lambda a: np.full(a.shape, 7, a.dtype), shapes)


def test_merge_puts_every_array_in_its_place(weights):
    before = variables_of(unet.SegmentationModel(3, width=WIDTH))
    after = pretrained.merge(before, weights)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert all((a == 7).all() for a in jax.tree.leaves(after['params']['decoder']))
    assert all((a == 7).all() for a in jax.tree.leaves(before))
    kinds = {
        'kernel': 'params',
        'scale': 'params',
        'bias': 'params',
        'mean': 'batch_stats',
        'var': 'batch_stats',
    }
    for layer in set(weights) - set(pretrained.UNUSED_LAYERS):
        for name, array in weights[layer].items():
            np.testing.assert_array_equal(after[kinds[name]]['encoder'][layer][name], array)


def test_a_training_begins_with_the_file_of_its_config(tmp_path, weights):
    config = default.get_config()
    config.data.image_size, config.model.width = 32, WIDTH
    config.model.pretrained = str(write_keras_file(tmp_path / 'w.h5', weights))
    network = unet.build_model(config.model, 3)
    optimizer, _ = train_step.make_optimizer(config.optimizer, 1, True)
    state = train_step.init_state(network, optimizer, config)
    for kind in ('params', 'batch_stats'):
        for layer, arrays in getattr(state, kind)['encoder'].items():
            for name, array in arrays.items():
                np.testing.assert_array_equal(array, weights[layer][name], err_msg=layer)
    # The decoder is that of a training without pretrained weights.
    config.model.pretrained = ''
    random = train_step.init_state(network, optimizer, config)
    same = jax.tree.map(np.array_equal, state.params, random.params)
    assert all(jax.tree.leaves(same['decoder']))
    assert not any(arrays['kernel'] for arrays in same['encoder'].values() if 'kernel' in arrays)


def test_merge_names_everything_that_does_not_fit(weights):
    variables = variables_of(unet.SegmentationModel(3, width=WIDTH))
    changed = {layer: dict(arrays) for layer, arrays in weights.items()}
    del changed['block_4_expand_BN']['mean']
    changed['block_99_expand'] = {'kernel': np.zeros(3)}
    changed['Conv1'] = {'kernel': np.zeros((3, 3, 3, 5))}
    with pytest.raises(ValueError) as error:
        pretrained.merge(variables, changed)
    for line in (
        'missing: block_4_expand_BN/mean',
        'left over: block_99_expand/kernel',
        'Conv1/kernel has shape (3, 3, 3, 5), expected (3, 3, 3, 16)',
    ):
        assert line in str(error.value)
    with pytest.raises(ValueError, match='left over: Conv_1/kernel'):
        pretrained.merge(variables, weights, unused=())


def test_wrong_files_are_refused(tmp_path, weights):
    def refuse(path, message, width=WIDTH):
        with pytest.raises(ValueError, match=message) as error:
            pretrained.load_weights(path, width, 128)
        assert path.name in str(error.value)

    good = write_keras_file(tmp_path / 'good.h5', weights)
    refuse(good, 'width 1.0.*\n(.*\n)*  Conv1/kernel has shape', width=1.0)
    for name in ('text.h5', 'text.npz', 'weights.bin'):
        (tmp_path / name).write_text('not weights')
        refuse(tmp_path / name, 'is no .* file or is damaged')
    content = good.read_bytes()
    for share in (0.02, 0.5, 0.99):
        (tmp_path / 'cut.h5').write_bytes(content[: int(len(content) * share)])
        refuse(tmp_path / 'cut.h5', 'damaged')
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['x'] = np.zeros(3)
    refuse(tmp_path / 'other.h5', 'layer_names')
    without = {layer: arrays for layer, arrays in weights.items() if layer != 'Conv_1'}
    refuse(write_keras_file(tmp_path / 'less.h5', without), 'missing: Conv_1/kernel')
    more = {**weights, 'predictions': {'kernel': np.zeros((1280, 1000))}}
    refuse(write_keras_file(tmp_path / 'more.h5', more), 'left over: predictions/kernel')
    infinite = {**weights, 'Conv1': {'kernel': weights['Conv1']['kernel'] * np.inf}}
    refuse(write_keras_file(tmp_path / 'infinite.h5', infinite), 'Conv1/kernel.*not finite')
    with pytest.raises(FileNotFoundError, match='nowhere.h5'):
        pretrained.load_weights(tmp_path / 'nowhere.h5', WIDTH, 128)


def test_h5_links_out_of_the_file_are_refused(tmp_path, weights):
    other = write_keras_file(tmp_path / 'other.h5', weights)
    path = write_keras_file(tmp_path / 'w.h5', weights)
    with h5py.File(path, 'a') as file:
        del file['Conv1/Conv1/kernel:0']
        file['Conv1/Conv1/kernel:0'] = h5py.ExternalLink(str(other), 'Conv1/Conv1/kernel:0')
    with pytest.raises(ValueError, match='Conv1/kernel:0 is listed but not stored in the file'):
        pretrained.load_weights(path, WIDTH, 128)


class Response(io.BytesIO):
    def __init__(self, content, length=None):
        super().__init__(content)
        self.headers = {'Content-Length': str(len(content) if length is None else length)}


def test_official_file_is_downloaded_once_and_its_hash_enforced(tmp_path, weights, monkeypatch):
    content = write_keras_file(tmp_path / 'w.h5', weights, name_of_2018).read_bytes()
    urls = []

    def urlopen(url, timeout):
        urls.append(url)
        return Response(content)

    monkeypatch.setattr('urllib.request.urlopen', urlopen)
    cache = tmp_path / 'cache'
    monkeypatch.setattr(pretrained, 'CACHE_DIR', cache)
    for _ in range(2):
        assert_same(pretrained.load_weights('imagenet', WIDTH, 128), weights)
    name = 'mobilenet_v2_weights_tf_dim_ordering_tf_kernels_0.35_128_no_top.h5'
    assert len(urls) == 1 and urls[0].endswith(f'/keras-applications/mobilenet_v2/{name}')
    assert {p.name for p in cache.iterdir()} == {name, f'{name}.sha256'}
    assert (cache / f'{name}.sha256').read_text().split() == [files.sha256(cache / name), name]
    (cache / name).write_bytes(content + b'!')
    with pytest.raises(ValueError, match='delete both'):
        pretrained.load_weights('imagenet', WIDTH, 128)
    # A resolution without a file uses the file for 224.
    assert pretrained.official_file(WIDTH, 300).name == name.replace('128', '224')
    with pytest.raises(ValueError, match='widths .* only, not 0.4'):
        pretrained.load_weights('imagenet', 0.4, 128)


def test_failed_download_says_what_to_do_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, 'CACHE_DIR', tmp_path)

    def offline(url, timeout):
        raise urllib.error.URLError('no route')

    for urlopen, message in (
        (offline, 'no route'),
        (lambda url, timeout: Response(b'half', 9), 'got 4 of 9 bytes'),
    ):
        monkeypatch.setattr('urllib.request.urlopen', urlopen)
        with pytest.raises(ConnectionError, match=message) as error:
            pretrained.load_weights('imagenet', 1.0, 128)
        assert str(tmp_path) in str(error.value) and '_1.0_128_no_top.h5' in str(error.value)
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not REAL.exists(), reason='real weights (../shared/weights) are absent')
def test_names_what_is_on_real_photographs():
    weights = pretrained.load_weights(REAL, 1.0, 224)
    encoder = mobilenet_v2.MobileNetV2(taps=('out_relu',))
    blank = {kind: {'encoder': tree} for kind, tree in variables_of(encoder).items()}
    merged = pretrained.merge(blank, weights, unused=())
    variables = {kind: tree['encoder'] for kind, tree in merged.items()}
    with np.load(SHARED / 'weights/imagenet_classifier_head.npz', allow_pickle=False) as file:
        kernel, bias = file['kernel'], file['bias']
    labels = (SHARED / 'weights/imagenet_labels.txt').read_text().splitlines()
    photographs = np.stack(
        [
            np.asarray(
                PIL.Image.open(SHARED / 'coco/train' / name).convert('RGB').resize((224, 224))
            )
            for name in PHOTOGRAPHS
        ]
    )
    images = unet.scale_images(photographs, 'imagenet')
    features = jax.jit(functools.partial(encoder.apply, train=False))(variables, images)['out_relu']
    probabilities = np.asarray(jax.nn.softmax(features.mean((1, 2)) @ kernel + bias))
    for name, scores in zip(PHOTOGRAPHS.values(), probabilities, strict=True):
        assert labels[scores.argmax()].startswith(name)
        assert scores.max() > 0.8
