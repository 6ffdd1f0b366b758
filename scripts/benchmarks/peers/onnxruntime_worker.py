"""ONNX Runtime in training_speed.py, on the CPU."""

import onnxruntime
from exported import inference
from protocol import serve


def _load(path, shape, threads):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # It plans its memory better if it knows the shapes.
    options.add_free_dimension_override_by_name('batch', shape[0])
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda images: session.run(None, {'image': images})[0]


if __name__ == '__main__':
    about = {'versions': {'onnxruntime': onnxruntime.__version__}}
    serve({'inference': lambda spec: inference(spec, _load)}, lambda spec: about)
