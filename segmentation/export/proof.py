"""Runs a network and its exported files on the same images, and compares what they give."""

import contextlib
import dataclasses
import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from segmentation import cpu_runtime, evaluate, metrics
from segmentation.data import transforms
from segmentation.data.examples import Examples
from segmentation.predictor import Model

# Maps an image, uint8 `[H, W, 3]`, to classes `[H, W]`, or to logits `[S, S, C]`.
Runner = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass
class Measured:
    """What a runtime gave for N images of a split with C classes."""

    confusions: np.ndarray  # int64 `[N, C, C]`, at the images' own size, or the network's of logits
    agreeing: int = 0  # pixels with the class that the project predicts
    pixels: int = 0
    seconds: float = 0.0  # of all images, without compilation
    processor_seconds: float = 0.0  # user and system time of all threads in these seconds
    largest: float = 0.0  # difference of a logit; 0 if classes are compared

    @property
    def agreement(self) -> float:
        return self.agreeing / self.pixels

    @property
    def images_per_second(self) -> float:
        return len(self.confusions) / self.seconds

    @property
    def images_per_processor_second(self) -> float:
        """Unlike `images_per_second`, does not depend on what else the machine does."""
        return len(self.confusions) / self.processor_seconds

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the time that the block takes."""
        began, processor = time.perf_counter(), time.process_time()
        yield
        self.seconds += time.perf_counter() - began
        self.processor_seconds += time.process_time() - processor


def load_onnx_runtime(path: pathlib.Path) -> Runner:
    """Runs an exported file in ONNX Runtime on the CPU."""
    import onnxruntime  # an optional requirement

    options = onnxruntime.SessionOptions()
    # Threads that wait actively would take the processor from the others that are timed.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda image: session.run(None, {'image': image[None]})[0][0]


def load_openvino(path: pathlib.Path) -> Runner:
    """Runs an exported file in OpenVINO on the CPU, in float32."""
    # Its telemetry would send a report to Google Analytics, from a fork of this process.
    sys.modules.setdefault('openvino_telemetry', None)  # type: ignore[arg-type]
    import openvino  # an optional requirement

    # Without the hint, it computes in bfloat16 on processors that can.
    hints = {'INFERENCE_PRECISION_HINT': 'f32', 'PERFORMANCE_HINT': 'LATENCY'}
    compiled = openvino.Core().compile_model(path, 'CPU', hints)
    return lambda image: compiled(image[None])[0][0]


def load_stablehlo(path: pathlib.Path) -> Runner:
    """Runs an exported file in JAX, on the default device."""
    exported = jax.export.deserialize(bytearray(path.read_bytes()))
    call = jax.jit(exported.call)
    return lambda image: np.asarray(call(image[None])[0])


def compare(
    model: Model,
    examples: Examples,
    runners: Mapping[str, Runner],
    logits: bool,
    warm_up: bool = False,
) -> dict[str, Measured]:
    """Runs the project and others on every image of a split.

    All take turns at every batch of images, so that their times compare on a busy machine too.

    Args:
      model: the project's.
      examples: the split.
      runners: others by name.
      logits: whether the others give logits.
      warm_up: whether the others compile for each size of an image, which then is not timed.

    Returns:
      By name; the project's is the first, ''.
    """
    shape = len(examples), len(model.class_names), len(model.class_names)
    result = {name: Measured(np.zeros(shape, np.int64)) for name in ('', *runners)}
    compiled: set[tuple[int, ...]] = set()
    # Compilation does not count.
    side = model.run.config.data.image_size
    list(model.logits(np.zeros((1, side, side, 3), np.uint8)))
    cpu_runtime.release_memory()
    with tqdm(total=len(examples), unit='img', desc='compare') as bar:
        for rows in np.array_split(np.arange(len(examples)), -(-len(examples) // model.batch_size)):
            images = [_image(examples, row) for row in rows.tolist()]
            with result[''].timed():
                expected = list(_predict(model, images, logits))
            for name, runner in runners.items():
                for image, row, reference in zip(images, rows.tolist(), expected, strict=True):
                    if warm_up and image.shape not in compiled:
                        runner(image)
                        compiled.add(image.shape)
                    with result[name].timed():
                        found = runner(image)
                    _count(result[name], row, found, reference, examples, logits)
            for row, reference in zip(rows.tolist(), expected, strict=True):
                _count(result[''], row, reference, reference, examples, logits)
            bar.update(len(rows))
    return result


def _image(examples: Examples, row: int) -> np.ndarray:
    """The image of an example at its own size, uint8 `[H, W, 3]`."""
    return np.asarray(transforms.decode_record(examples.record(row)))


def calibration_images(examples: Examples, count: int, without: np.ndarray) -> Iterator[np.ndarray]:
    """Images spread over a split, uint8 `[H, W, 3]`, none of which has an id in `without`.

    Raises:
      ValueError: all of them have.
    """
    rows = np.flatnonzero(~np.isin(examples.image_ids, without))
    if not len(rows):
        raise ValueError(
            'All training images are also in the split to compare on, so none can calibrate the '
            'quantization. Compare on another split (--split).'
        )
    for place in np.unique(np.linspace(0, len(rows) - 1, count).astype(int)):
        yield _image(examples, int(rows[place]))


def _predict(model: Model, images: list[np.ndarray], logits: bool) -> Iterator[np.ndarray]:
    inputs = [model.read(image) for image in images]
    found = model.logits(image.pixels for image in inputs)
    for image, values in zip(inputs, found, strict=True):
        if logits:
            yield values
        else:
            yield evaluate.enlarge_and_classify(values, image.height, image.width)


def _count(
    measured: Measured,
    row: int,
    found: np.ndarray,
    expected: np.ndarray,
    examples: Examples,
    logits: bool,
) -> None:
    if found.shape != expected.shape:
        raise ValueError(f'The exported file gives {found.shape} instead of {expected.shape}.')
    if logits:
        measured.largest = max(measured.largest, float(np.abs(found - expected).max()))
        found, expected = found.argmax(-1), expected.argmax(-1)
    measured.agreeing += int((found == expected).sum())
    measured.pixels += found.size
    label = examples.label(row) if logits else examples.full_label(row)
    classes = measured.confusions.shape[-1]
    measured.confusions[row] = metrics.confusion_matrix(label, found, classes)


def difference(this: Measured, other: Measured, weights: np.ndarray) -> dict[str, Any]:
    """Difference of foreground mean IoU over the set, other - this, with a paired 95 % interval.

    Args:
      this: of the project.
      other: of the exported file, on the same images.
      weights: `[R, N]` of bootstrap resamples.

    Returns:
      `iou_difference` and `interval`; None if no image shows a foreground class.
    """

    def scores(counts: np.ndarray) -> np.ndarray:
        a, b = (
            metrics.weighted_scores(m.confusions.astype(np.float64), counts)['mean_iou_foreground']
            for m in (this, other)
        )
        return b - a

    plain = scores(np.ones((1, len(this.confusions))))[0]
    if np.isnan(plain):
        return {'iou_difference': None, 'interval': None}
    low, high = metrics.percentile_interval(scores(weights))
    return {'iou_difference': float(plain), 'interval': [float(low), float(high)]}
