"""OpenVINO in training_speed.py, on the CPU."""

import importlib.metadata
import sys

from exported import inference
from protocol import serve


def _load(path, shape, threads):
    # Its telemetry would send a report to Google Analytics, from a fork of this process.
    sys.modules.setdefault('openvino_telemetry', None)
    import openvino

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(list(shape))
    settings = {
        # Without it, it computes in bfloat16 on processors that can.
        'INFERENCE_PRECISION_HINT': 'f32',
        # All threads work on one batch.
        'PERFORMANCE_HINT': 'LATENCY',
        'INFERENCE_NUM_THREADS': threads,
    }
    compiled = core.compile_model(model, 'CPU', settings)
    return lambda images: compiled(images)[0]


if __name__ == '__main__':
    about = {'versions': {'openvino': importlib.metadata.version('openvino')}}
    serve({'inference': lambda spec: inference(spec, _load)}, lambda spec: about)
