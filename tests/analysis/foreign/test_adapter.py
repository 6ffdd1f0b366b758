"""What a model returns as logits of the label space, and adapters that do not fit."""

import json
import sys

import numpy as np
import pytest

from analysis.foreign import adapter as adapters
from analysis.foreign.adapter import Adapter, Input, to_logits
from analysis.foreign.onnx_graph import load_graph

NAMES = ('background', 'person', 'car')


def mapping(classes, channels=4, names=()):
    adapter = Adapter(classes=classes, channels=names)
    return adapters.class_of_channel(adapter, NAMES, channels).tolist()


def test_channels_by_number_and_name():
    assert mapping({'person': [1], 'car': [3, 2]}) == [0, 1, 2, 2]
    names = ('nothing', 'person', 'dog', 'car')
    assert mapping({'person': ['person'], 'car': []}, names=names) == [0, 1, 0, 0]
    assert mapping(None, names=names) == [0, 1, 0, 2]  # by their names
    assert mapping(None, channels=3) == [0, 1, 2]  # as they come


@pytest.mark.parametrize(
    'classes, message',
    [
        ({'person': [1]}, 'does not cover car'),
        ({'person': [1], 'car': [2], 'dog': [3]}, 'has dog, but the classes'),
        ({'person': [1], 'car': [1]}, 'Channel 1 is in two classes'),
        ({'person': [4], 'car': [1]}, r'Channel 4 .* the channels are 0 … 3'),
        ({'person': ['red'], 'car': [1]}, "no channel 'red'"),
        ({'person': [0, 1], 'car': [2, 3]}, 'none is left for background'),
        (None, 'does not say which of the 4 channels'),
    ],
)
def test_class_maps_that_do_not_fit(classes, message):
    with pytest.raises(ValueError, match=message):
        mapping(classes)


def test_what_the_channels_are_taken_for_is_said():
    names = Adapter(channels=('sky', 'car', 'person'))
    assert adapters.assumed_classes(names, NAMES) == [
        'classes person, car: the channels of these names'
    ]
    (line,) = adapters.assumed_classes(Adapter(), NAMES)
    assert 'person, car: assumed to be the channels 1, 2, … in this order' in line
    assert adapters.assumed_classes(Adapter(classes={'person': (2,), 'car': (1,)}), NAMES) == []


def test_a_name_of_two_channels_and_a_number_beyond_all():
    with pytest.raises(ValueError, match="two channels 'car'"):
        mapping({'person': [1], 'car': ['car']}, names=('sky', 'person', 'car', 'car'))
    with pytest.raises(ValueError, match='Channel 1000000000000 .* does not exist'):
        mapping({'person': [1], 'car': [10**12]}, None)


def test_the_class_is_that_of_the_best_channel():
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(9, 7, 6)).astype(np.float32)
    chosen = np.array([0, 2, 0, 1, 1, 0])
    for form in ('logits', 'probabilities'):
        values = np.exp(raw) / np.exp(raw).sum(-1, keepdims=True) if form[0] == 'p' else raw
        logits = to_logits(values, form, None, chosen, 3)
        np.testing.assert_array_equal(logits.argmax(-1), chosen[raw.argmax(-1)])


def test_one_channel_against_its_threshold():
    values = np.linspace(0.003, 0.997, 101, dtype=np.float32).reshape(1, -1)
    classes = np.array([0, 1])
    for form, threshold, level in (
        ('single probability', None, 0.5),
        ('single probability', 0.8, 0.8),
        ('single logit', 0.2, 0.2),
    ):
        logits = to_logits(values, form, threshold, classes, 3)
        np.testing.assert_array_equal(logits.argmax(-1), values > level)
    # The probability of a logit without threshold is the sigmoid.
    logits = to_logits(values, 'single logit', None, classes, 2)
    share = 1 / (1 + np.exp(-(logits[..., 1] - logits[..., 0])))
    np.testing.assert_allclose(share, 1 / (1 + np.exp(-values)), rtol=1e-5)


def test_class_map_and_a_class_that_the_model_does_not_know():
    numbers = np.array([[0, 1, 2, 3, 255, -1]])
    logits = to_logits(numbers, 'class map', None, np.array([0, 1, 0, 1]), 3)
    np.testing.assert_array_equal(logits.argmax(-1), [[0, 1, 0, 1, 0, 0]])
    probability = np.exp(logits)
    np.testing.assert_allclose(probability.sum(-1), 1, rtol=1e-5)
    np.testing.assert_allclose(probability.max(-1), adapters.CERTAIN, rtol=1e-5)
    raw = np.random.default_rng(0).normal(size=(4, 4, 2))
    assert not (to_logits(raw, 'logits', None, np.array([0, 1]), 3).argmax(-1) == 2).any()


def test_scaling():
    image = np.array([[[[255, 0, 51]]]], np.uint8)
    common = {'name': 'x', 'layout': 'NCHW', 'size': 'any'}
    plain = Input(**common, divide_by=255, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 0.1))
    np.testing.assert_allclose(adapters.scale(image, plain), [[[[1, -0.5, 2]]]], rtol=1e-6)
    # Means are in the model's order.
    swapped = Input(**common, channels='BGR', mean=(50, 0, 200), std=1)
    np.testing.assert_allclose(adapters.scale(image, swapped), [[[[1, 0, 55]]]], rtol=1e-6)
    gray = Input(**common, channels='gray', divide_by=127.5, mean=1)
    luma = (0.299 * 255 + 0.114 * 51) / 127.5 - 1
    np.testing.assert_allclose(adapters.scale(image, gray), [[[[luma]]]], rtol=1e-5)
    with pytest.raises(ValueError, match='input.mean .* has 2 numbers'):
        adapters.scale(image, Input(**common, mean=(1, 2)))
    with pytest.raises(ValueError, match='must not be 0'):
        adapters.scale(image, Input(**common, std=0))


@pytest.mark.parametrize(
    'text, message',
    [
        ('{', 'not valid'),
        ('{"inputs": {}}', 'unknown field `inputs`'),
        ('{"input": {"name": "x", "layout": "NCWH", "size": 3}}', r'\$\.input\.layout'),
        ('{"input": {"name": "x", "layout": "NCHW"}}', 'missing required field `size`'),
        ('{"output": {"name": "x", "layout": "NCHW", "form": null}}', r'\$\.output\.form'),
        (
            '{"output": {"name": "x", "layout": "NHW", "form": "logits", "threshold": 2}}',
            "the form 'logits' does not use",
        ),
        (
            '{"output": {"name": "x", "layout": "HW", "form": "single probability", '
            '"threshold": 50}}',
            'between 0 and 1',
        ),
    ],
)
def test_adapters_that_are_not_valid(tmp_path, text, message):
    path = tmp_path / 'adapter.json'
    path.write_text(text)
    with pytest.raises(ValueError, match=message) as raised:
        adapters.read(path)
    assert str(path) in str(raised.value)


def test_a_draft_that_was_filled_in_is_read():
    text = {'label_space': None, 'classes': None, 'embeddings': ['a']}
    assert adapters.parse(json.dumps(text), 'x').embeddings == ('a',)


def test_without_onnx_runtime_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    with pytest.raises(ValueError, match=r'pip install .*\[onnx\]'):
        load_graph(tmp_path / 'm.onnx')
