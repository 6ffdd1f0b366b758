"""What the proof of an exported file must not do."""

import sys

from segmentation.export import proof

OPENVINO = """
try:
    import openvino_telemetry
    sent = True
except ImportError:
    sent = False

class Core:
    def compile_model(self, *_):
        return None
"""


def test_openvino_sends_no_report(tmp_path, monkeypatch):
    (tmp_path / 'openvino.py').write_text(OPENVINO)
    (tmp_path / 'openvino_telemetry.py').write_text('')
    monkeypatch.syspath_prepend(tmp_path)
    for name in ('openvino', 'openvino_telemetry'):
        monkeypatch.setitem(sys.modules, name, None)  # so that it is restored
        del sys.modules[name]
    proof.load_openvino(tmp_path / 'model.onnx')
    assert not sys.modules['openvino'].sent
