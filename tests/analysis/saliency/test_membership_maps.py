import jax
import numpy as np
import pytest
from flax import linen as nn

from analysis.embeddings import stage as embeddings
from analysis.saliency import membership_maps
from analysis.saliency import scores as saliency_scores
from analysis.stage.run import open_analysis
from segmentation import activations
from segmentation.models.unet import scale_images


@pytest.fixture(scope='module')
def analysis(tiny_run):
    return open_analysis(tiny_run)


@pytest.fixture(scope='module')
def clusters(analysis):
    """Each image's own embedding is its cluster, the next image's the other one."""
    found = embeddings.compute(analysis, dimensions=3)
    embedding, label = found.points, np.arange(len(found.points), dtype=np.int32)
    return saliency_scores.Clusters(
        found.reduction, embedding, label, np.roll(label, -1), embedding
    )


def test_maps_add_up_to_what_the_average_image_lacks(analysis, clusters):
    """Of each layer Σ (A - Ā) · ∂margin/∂A, by derivatives along the way to the average."""
    run, number = analysis.run, len(analysis.examples)
    images = np.stack([analysis.examples[row]['image'] for row in range(number)])
    scaled = scale_images(images, run.config.data.input_range)
    scores = saliency_scores.Scores(analysis, clusters)
    target = scores.target(np.arange(number))
    layers = saliency_scores.MEMBERSHIP_LAYERS
    responses = activations.activations(run.model, run.variables, scaled, set(layers).__contains__)
    offsets = {layer.split('/')[1]: each.mean(0) - each for layer, each in responses.items()}

    def margins(amounts):
        def add(call, args, kwargs, context):
            output, name = call(*args, **kwargs), context.module.name
            if context.method_name == '__call__' and name in offsets:
                output += amounts[name][:, None, None, None] * offsets[name]
            return output

        with nn.intercept_methods(add):
            return scores.all_scores(run.variables, scaled, target)[:, -1].sum()

    changes = jax.jit(jax.grad(margins))(dict.fromkeys(offsets, np.zeros(number, np.float32)))
    expected = -sum(np.asarray(change) for change in changes.values())
    maps = membership_maps.compute(analysis, clusters, np.arange(number))
    assert maps.shape[1] == maps.shape[2] and maps.dtype == np.float32
    np.testing.assert_allclose(maps.sum((1, 2)), expected, rtol=1e-3, atol=1e-5)
