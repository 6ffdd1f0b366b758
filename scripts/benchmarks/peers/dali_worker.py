"""NVIDIA DALI in training_speed.py: its path for CPUs, which needs no GPU."""

import importlib.metadata
import pathlib

import numpy as np
from coco_classes import CocoClasses
from nvidia.dali import fn, pipeline_def, types
from protocol import repeat, serve


class _Examples:
    """Reads a file and draws its class map, in a worker process of DALI."""

    def __init__(self, spec):
        self._spec = spec
        self._coco = self._epoch = self._order = None

    def __call__(self, sample):
        if self._coco is None:  # in the worker process, to which this is sent
            self._coco = CocoClasses(self._spec['folder'], self._spec['split'])
        epoch, place = divmod(sample.idx_in_epoch, len(self._coco.files))
        if epoch != self._epoch:
            rng = np.random.default_rng(epoch)
            self._epoch, self._order = epoch, rng.permutation(len(self._coco.files))
        index = int(self._order[place])
        data = np.frombuffer(pathlib.Path(self._coco.files[index]).read_bytes(), np.uint8)
        return data, self._coco.draw(index, self._spec['image_size'])


def pipeline(spec):
    size = spec['image_size']

    @pipeline_def(
        batch_size=spec['batch_size'],
        num_threads=spec['threads'],
        device_id=None,
        py_num_workers=spec['workers'],
        py_start_method='spawn',
        prefetch_queue_depth=2,
    )
    def batches():
        data, label = fn.external_source(
            _Examples(spec), num_outputs=2, batch=False, parallel=True,
            dtype=[types.UINT8, types.UINT8],
        )  # fmt: skip
        image = fn.decoders.image(data, device='cpu', output_type=types.RGB)
        image = fn.resize(image, size=(size, size), interp_type=types.INTERP_TRIANGULAR)
        return image, label

    endless = batches()
    endless.build()
    images = len(CocoClasses(spec['folder'], spec['split']).files)

    def step():
        image, label = endless.run()
        return image.as_array(), label.as_array()

    return repeat(step), {'images': images}


if __name__ == '__main__':
    about = {'versions': {'dali': importlib.metadata.version('nvidia-dali-cuda120')}}
    serve({'pipeline': pipeline}, lambda spec: about)
