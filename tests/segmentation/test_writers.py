import json

import numpy as np
from PIL import Image

from segmentation import overlays, writers


def test_resumed_run_drops_what_comes_again_and_half_lines(tmp_path):
    path = tmp_path / 'metrics.jsonl'
    lines = [json.dumps({'step': step, 'loss': 1.0}) for step in (1, 2, 3)]
    path.write_text('\n'.join(lines) + '\n{"step": 4, "lo')
    writer = writers.MetricWriter(tmp_path, resume_step=2)
    writer.scalars(3, {'loss': 0.5, 'iou': None})
    writer.close()
    written = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line['step'] for line in written] == [1, 2, 3]
    assert written[-1] == {'step': 3, 'loss': 0.5, 'iou': None}
    assert list((tmp_path / 'tensorboard').iterdir())


def test_overlay_leaves_background_alone_and_shows_ignored():
    image = np.full((2, 2, 3), 100, np.uint8)
    shown = overlays.overlay(image, np.array([[0, 1], [2, 255]], np.uint8))
    assert (shown[0, 0] == 100).all()
    assert len({tuple(color) for color in shown.reshape(-1, 3)}) == 4


def test_every_class_has_a_color():
    colors = overlays.colorize(np.arange(255, dtype=np.uint8))
    assert (colors[1:].sum(-1) > 0).all() and (colors[0] == 0).all()


def test_picture_file(tmp_path):
    writer = writers.MetricWriter(tmp_path, resume_step=0)
    images = np.zeros((2, 8, 8, 3), np.uint8)
    label = np.ones((2, 8, 8), np.uint8)
    writer.picture(7, 'predictions', overlays.prediction_grid(images, label, label))
    writer.close()
    assert Image.open(tmp_path / 'pictures' / 'predictions-0000007.png').size == (24, 16)
