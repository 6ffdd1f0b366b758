"""ONNX files are run as their adapter says; those that cannot be are refused with the reason."""

import json

import numpy as np
import pytest

from analysis.foreign import adapter as adapters
from analysis.foreign.describe import draft
from analysis.foreign.onnx_graph import load_graph
from analysis.foreign.onnx_model import OnnxModel
from tests import onnx_models

NAMES = ('background', 'person', 'car')


def open_model(path, **changes):
    text = json.dumps(onnx_models.adapter(**changes))
    return OnnxModel(path, adapters.parse(text, 'test'), NAMES)


def patches():
    """Red, green, blue, and black squares of 8 pixels."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[:8, :8, 0] = image[:8, 8:, 1] = image[8:, :8, 2] = 255
    return image


EXPECTED = np.kron([[1, 0], [2, 0]], np.ones((8, 8), int))


@pytest.mark.parametrize('layout', ['NCHW', 'NHWC'])
@pytest.mark.parametrize('ending', [None, 'Softmax', 'ArgMax'])
def test_layouts_and_forms(tmp_path, layout, ending):
    path = onnx_models.colors(tmp_path / 'm.onnx', layout, ending=ending)
    form, out = {None: 'logits', 'Softmax': 'probabilities', 'ArgMax': 'class map'}[ending], 'NCHW'
    out = 'NHW' if ending == 'ArgMax' else out
    model = open_model(path, input__layout=layout, output__form=form, output__layout=out)
    (made,) = model.of_images(patches()[None])
    np.testing.assert_array_equal(made.logits.argmax(-1), EXPECTED)
    # The activations are the pixels, and features their means.
    np.testing.assert_allclose(made.features, patches().mean((0, 1)) / 255, rtol=1e-5)
    assert model.layers == {'hidden': 3}


def test_bgr_is_swapped(tmp_path):
    model = open_model(onnx_models.colors(tmp_path / 'm.onnx'), input__channels='BGR')
    (made,) = model.of_images(patches()[None])
    swapped = np.choose(EXPECTED, [0, 2, 1])
    np.testing.assert_array_equal(made.logits.argmax(-1), swapped)


def test_the_range_of_the_input_is_described(tmp_path):
    path, mean = onnx_models.colors(tmp_path / 'm.onnx'), [0.5, 0.25, 0]
    model = open_model(path, input__mean=mean, input__std=0.5)
    assert model.describe_input() == 'input: pixels 0 … 255 become -1 … 2'


def test_a_fixed_size_stretches_images(tmp_path):
    model = open_model(onnx_models.colors(tmp_path / 'm.onnx', size=32), input__size=32)
    assert model.side == 32
    (made,) = model.of_images(patches()[None])
    assert made.logits.shape == (32, 32, 3)
    np.testing.assert_array_equal(made.logits.argmax(-1)[4:12, 4:12], 1)


def test_without_embeddings_the_stages_that_need_them_are_not_available(tmp_path):
    model = open_model(onnx_models.colors(tmp_path / 'm.onnx'), embeddings=[])
    assert set(model.unavailable) == {'embeddings', 'clusters', 'similarity_map', 'similar'}
    assert not model.layers


@pytest.mark.parametrize(
    'layers, names',
    [
        ('{"encoder/block_1_relu": "hidden"}', ['encoder/block_1_relu']),
        # Metadata of other programs, or made up.
        ('{"encoder/block_1_relu": "stranger"}', ['hidden']),
        ('{"seen": "hidden"}', ['hidden']),
        ('["hidden"]', ['hidden']),
        ('{"hidden": 3}', ['hidden']),
        ('[' * 10_000, ['hidden']),
    ],
)
def test_an_exported_network_keeps_the_names_of_its_layers(tmp_path, layers, names):
    path = onnx_models.colors(tmp_path / 'm.onnx', metadata={'layers': layers})
    assert list(open_model(path).layers) == names
    # Three channels are too few to be suggested, unless the layer is known.
    drafted = draft(path).adapter['embeddings']
    assert drafted == ([] if names == ['hidden'] else ['hidden'])


@pytest.mark.parametrize(
    'changes, message',
    [
        ({'input__name': 'img'}, "no input 'img'; it has image"),
        ({'output__name': 'mask'}, "no output 'mask'; it has logits"),
        ({'input__layout': 'NHWC'}, 'in the layout NHWC'),
        ({'input__layout': 'CHW'}, 'which is not CHW'),
        ({'input__channels': 'gray'}, '3 channels, not 1'),
        ({'input__size': 48}, r'must be \[32, 32\], not 48'),
        ({'input__size': [0, 32]}, 'must be 1 … 16384'),
        ({'input__size': 'any'}, r"must be \[32, 32\], not 'any'"),
        ({'input__mean': [1, 2]}, 'input.mean'),
        ({'output__layout': 'NHW'}, 'which is not NHW'),
        ({'output__form': 'single logit'}, 'has 4 channels'),
        ({'output__form': 'probabilities', 'input__divide_by': 1}, 'these are no probabilities'),
        ({'output__stride': 8}, 'no stride of 8'),
        ({'output__stride': 0}, 'no stride of 0'),
        ({'output__layout': 'NHWC'}, 'has 4×32 pixels .* channels seem to be first'),
        ({'channels': ['a', 'b']}, 'names 2 channels, but the model returns 4'),
        ({'classes': {'person': ['red']}}, 'does not cover car'),
        ({'embeddings': ['nothing']}, "no tensor 'nothing'"),
        ({'output': None}, 'needs "input" and "output"'),
    ],
)
def test_an_adapter_that_does_not_fit(tmp_path, changes, message):
    path = onnx_models.colors(tmp_path / 'm.onnx', size=32)
    with pytest.raises(ValueError, match=message):
        open_model(path, **{'input__size': 32, **changes})


def test_probabilities_are_no_logits(tmp_path):
    path = onnx_models.colors(tmp_path / 'm.onnx', ending='Softmax')
    with pytest.raises(ValueError, match='these are probabilities, not logits'):
        open_model(path)


def test_custom_operators_are_refused(tmp_path):
    path = onnx_models.colors(tmp_path / 'm.onnx', ending='Magic', domain='my.company')
    with pytest.raises(ValueError, match=r'custom operators: my\.company\.Magic'):
        load_graph(path)
    path = onnx_models.colors(tmp_path / 'm.onnx', ending='Magic')
    with pytest.raises(ValueError, match='ONNX Runtime cannot run'):
        open_model(path)


@pytest.mark.parametrize('content', [b'', b'\x00\x01', b'not a model', b'{"a": 1}'])
def test_other_files_are_no_models(tmp_path, content):
    path = tmp_path / 'm.onnx'
    path.write_bytes(content)
    with pytest.raises(ValueError, match='cannot be read as an ONNX file'):
        load_graph(path)
    with pytest.raises(ValueError, match='does not exist'):
        load_graph(tmp_path / 'nothing.onnx')


def test_a_class_map_with_a_number_that_is_no_class(tmp_path):
    path = onnx_models.colors(tmp_path / 'm.onnx', ending='ArgMax')
    known = {'channels': ['a', 'b', 'c'], 'classes': {'person': ['b'], 'car': ['c']}}
    with pytest.raises(ValueError, match='number 3, but the classes are 0 … 2'):
        open_model(path, output__form='class map', output__layout='NHW', **known)


def test_a_tensor_twice_is_one_embedding(tmp_path):
    model = open_model(onnx_models.colors(tmp_path / 'm.onnx'), embeddings=['hidden', 'hidden'])
    assert model.layers == {'hidden': 3}
    assert model.of_images(patches()[None])[0].features.shape == (3,)


def test_embeddings_that_are_not_finite_are_an_error(tmp_path):
    path = onnx_models.colors(tmp_path / 'm.onnx')
    model = onnx_models.onnx.load(path)
    for kind, source, made in (('Neg', 'hidden', 'less'), ('Sqrt', 'less', 'bad')):
        model.graph.node.append(onnx_models.helper.make_node(kind, [source], [made]))
    onnx_models.onnx.save(model, path)
    with pytest.raises(ValueError, match='NaN or infinity in a tensor'):
        open_model(path, embeddings=['bad'])


def external(tmp_path, location):
    """A model whose weights are in another file."""
    folder = tmp_path / 'model'
    folder.mkdir()
    path = onnx_models.colors(folder / 'm.onnx')
    model = onnx_models.onnx.load(path)
    weights = next(each for each in model.graph.initializer if each.name == 'weights')
    (folder / 'w.bin').write_bytes(weights.raw_data)
    (tmp_path / 'w.bin').write_bytes(weights.raw_data)
    weights.ClearField('raw_data')
    weights.data_location = onnx_models.TensorProto.EXTERNAL
    weights.external_data.add(key='location', value=location)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_beside_the_model(tmp_path):
    (made,) = open_model(external(tmp_path, 'w.bin')).of_images(patches()[None])
    np.testing.assert_array_equal(made.logits.argmax(-1), EXPECTED)


@pytest.mark.parametrize('location', ['../w.bin', '/etc/hostname', 'sub/../../w.bin', ''])
def test_external_weights_elsewhere_are_not_read(tmp_path, location):
    with pytest.raises(ValueError, match='outside its folder'):
        load_graph(external(tmp_path, location))


def test_external_weights_behind_a_link_are_not_read(tmp_path):
    path = external(tmp_path, 'link.bin')
    (path.parent / 'link.bin').symlink_to(tmp_path / 'w.bin')
    with pytest.raises(ValueError, match='outside its folder'):
        load_graph(path)
    with pytest.raises(ValueError, match='not beside it'):
        (path.parent / 'link.bin').unlink()
        load_graph(path)


def test_a_draft_says_what_it_does_not_know(tmp_path):
    drafted = draft(onnx_models.colors(tmp_path / 'm.onnx', size=32))
    assert drafted.adapter['input'] == {
        'name': 'image', 'layout': 'NCHW', 'size': 32, 'channels': 'RGB',
        'divide_by': None, 'mean': None, 'std': None,
    }  # fmt: skip
    expected = {'name': 'logits', 'layout': 'NCHW', 'form': 'logits'}
    assert drafted.adapter['output'] == expected
    assert [line.split(':')[0] for line in drafted.unknown] == [
        'input.divide_by, mean and std', 'label_space and classes',
    ]  # fmt: skip
    assert any('RGB' in line for line in drafted.assumed)
    assert drafted.adapter['embeddings'] == []  # 3 channels are too few


@pytest.mark.parametrize(
    'ending, layout, form, out',
    [
        ('Softmax', 'NHWC', 'probabilities', 'NCHW'),
        ('ArgMax', 'NCHW', 'class map', 'NHW'),
        (None, 'NHWC', 'logits', 'NCHW'),
    ],
)
def test_a_draft_reads_the_end_of_the_graph(tmp_path, ending, layout, form, out):
    drafted = draft(onnx_models.colors(tmp_path / 'm.onnx', layout, ending=ending))
    assert drafted.adapter['input']['layout'] == layout
    assert drafted.adapter['input']['size'] == 'any'
    assert (drafted.adapter['output']['form'], drafted.adapter['output']['layout']) == (form, out)


@pytest.mark.parametrize(
    'side, stride, axes, layout, drafted_stride',
    [
        # More channels than rows, as of 150 classes at a quarter of the size.
        (64, 4, (150, 16, 16), 'NCHW', 4),
        (64, 4, (16, 16, 150), 'NHWC', 4),
        ((32, 128), 4, (150, 8, 32), 'NCHW', 4),
        # No power of two is the stride.
        (96, 3, (4, 32, 32), 'NCHW', None),
    ],
)
def test_a_draft_finds_the_channels_by_the_proportions(
    tmp_path, side, stride, axes, layout, drafted_stride
):
    path = onnx_models.strided(tmp_path / 'm.onnx', side, stride, axes)
    output = draft(path).adapter['output']
    assert (output['layout'], output['form']) == (layout, 'logits')
    assert output.get('stride') == drafted_stride
    changes = {'input__size': side, 'channels': [], 'embeddings': []}
    model = open_model(path, **changes, output=output, classes={'person': [1], 'car': [3]})
    height, width = (side, side) if isinstance(side, int) else side
    (made,) = model.of_images(np.zeros((1, height, width, 3), np.uint8))
    assert made.logits.shape == (height // stride, width // stride, 3)


@pytest.mark.parametrize(
    'ending, shape, layout, form',
    [
        ('Greater', [1, 1, 32, 32], 'NCHW', 'class map'),
        ('Sigmoid', [32, 32], 'HW', 'single probability'),
        ('Greater', [32, 32], 'HW', 'class map'),
        ('Sigmoid', [1, 32, 32], 'NHW', 'single probability'),
    ],
)
def test_a_draft_reads_masks_of_one_channel(tmp_path, ending, shape, layout, form):
    path = onnx_models.mask(tmp_path / 'm.onnx', ending, shape)
    output = draft(path).adapter['output']
    assert (output['layout'], output['form']) == (layout, form)
    model = OnnxModel(
        path,
        adapters.parse(
            json.dumps(
                onnx_models.adapter(
                    input__size=32,
                    output=output,
                    channels=[],
                    classes={'person': [1]},
                    embeddings=[],
                )
            ),
            'test',
        ),
        NAMES[:2],
    )
    red = np.zeros((1, 32, 32, 3), np.uint8)
    red[:, :8, :, 0] = 255
    (made,) = model.of_images(red)
    np.testing.assert_array_equal(made.logits.argmax(-1), red[0, ..., 0] > 0)


@pytest.mark.parametrize(
    'text',
    ['["nothing", "person", "dog", "car"]', "{0: 'nothing', 1: 'person', 2: 'dog', 3: 'car'}"],
)
def test_a_draft_reads_names_in_the_metadata(tmp_path, text):
    drafted = draft(onnx_models.colors(tmp_path / 'm.onnx', metadata={'names': text}))
    assert drafted.adapter['channels'] == ['nothing', 'person', 'dog', 'car']
