"""Occlusion maps of a model that looks at one place are that place."""

import numpy as np
import pytest

from analysis.foreign.model import ForeignModel, Prediction
from analysis.saliency import occlusion


class Corner(ForeignModel):
    """Sees class 1 everywhere as far as the upper right cell is white."""

    can_run, side, layers, unavailable = True, 0, {}, {}
    runs = 0

    def of_examples(self, examples, rows, images):
        return self.of_images(images)

    def of_images(self, images):
        self.runs += len(images)
        size = images.shape[1] // occlusion.GRID
        seen = images[:, :size, -size:].mean((1, 2, 3)) / 255
        logits = np.zeros((len(images), 20, 20, 3), np.float32)
        logits[..., 1] = 6 * seen[:, None, None] - 3
        return [Prediction(each) for each in logits]


def test_the_cell_that_matters_is_found():
    model, side = Corner(), 10 * occlusion.GRID
    image = np.zeros((side, side, 3), np.uint8)
    image[:10, -10:] = 255
    label = np.ones((20, 20), np.uint8)
    label[0] = 255
    whole, maps = occlusion.explain(model, image, np.ones((20, 20), np.uint8), label, 3)
    assert model.runs == occlusion.GRID**2 + 1
    probability = np.exp(3) / (np.exp(3) + 2)
    np.testing.assert_allclose(whole, [probability, 0, -np.log(probability)], rtol=1e-5)
    assert np.unravel_index(maps[0].argmax(), maps[0].shape) == (0, occlusion.GRID - 1)
    assert maps[0].max() > 0.1 > 10 * np.sort(maps[0].ravel())[-3]
    # Without the cell the loss is higher: it speaks against the loss.
    assert np.unravel_index(maps[2].argmin(), maps[2].shape) == (0, occlusion.GRID - 1)
    # A class that is not predicted has no map.
    assert not maps[1].any()


@pytest.mark.parametrize('number, expected', [(10, 4), (500, 5), (4900, 50)])
def test_maps_cost_half_a_pass(number, expected):
    assert occlusion.affordable(number) == expected
