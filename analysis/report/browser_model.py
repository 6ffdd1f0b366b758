"""The network in the report: ONNX Runtime Web and the run's network, as scripts of the page.

A page on disk may load scripts, but it may neither fetch files nor import modules from disk. So the
runtime's loader, its WebAssembly and the network are pieces of data (see `view_data.to_script`):

runtime   loader (JavaScript module), wasm (uint8, gzip); before it comes ONNX Runtime Web, which is
          a plain script already
network   network (uint8, gzip): an ONNX file that maps image uint8 `[1, H, W, 3]` to classes uint8
          `[1, S, S]` and embedding float32 `[1, D]`; points: embeddings of the view's samples,
          float32 `[N, D]`
"""

import dataclasses
import gzip
import hashlib
import pathlib
from collections.abc import Iterator

import numpy as np

from analysis.embeddings.schema import Embeddings
from analysis.report import view_data
from analysis.report.columns import encode
from analysis.report.options import PACKAGE
from analysis.stage import artifacts
from analysis.stage.view import View
from segmentation.workdir import read_description

VERSION = '1.30.0'  # of ONNX Runtime Web; npm calls it onnxruntime-web
# SHA-256 of the files that are taken from the package: the API, its loader, and the runtime.
_FILES = {
    'ort.wasm.min.js': 'faece07e84faa9001f5104bbe4e5c70861d06cb2376a0dea1fa0ad33a67adc81',
    'ort-wasm-simd-threaded.mjs': (
        'e13f7f94fc51b4ca72b12faeb1ee95f4ace6dfbc8939bc718aabdc0a27c4299b'
    ),
    'ort-wasm-simd-threaded.wasm': (
        '3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2'
    ),
}
_LICENSES = 'LICENSE', 'ThirdPartyNotices.txt'


@dataclasses.dataclass(frozen=True)
class BrowserModel:
    """What the page needs to run the network."""

    view: str  # name of the view whose samples it finds
    precision: str  # 'int8' or 'float16', of the weights
    runtime: dict[str, bytes]  # content of `_FILES`
    licenses: dict[str, bytes]  # of the runtime, by file name
    network: bytes  # ONNX
    points: np.ndarray  # float32 `[N, D]`, embeddings of the view

    def describe(self) -> dict[str, str]:
        """For the manifest."""
        return {'view': self.view, 'precision': self.precision}

    def files(self) -> Iterator[tuple[str, bytes]]:
        """(path within data/, content) of all of it."""
        interface, loader, wasm = (self.runtime[name] for name in _FILES)
        # Without the address of a source map, which is not there.
        plain = interface.decode().partition('//# sourceMappingURL=')[0]
        content = {'loader': loader.decode(), 'wasm': _pack(wasm)}
        yield 'model/runtime.js', (plain + view_data.to_script('runtime', content)).encode()
        content = {'network': _pack(self.network), 'points': encode(self.points)}
        yield 'model/network.js', view_data.to_script('network', content).encode()
        for name, text in self.licenses.items():
            yield f'model/onnxruntime-{name}', text


def _pack(data: bytes) -> dict:
    # Without a time stamp: the same content makes the same report.
    return encode(np.frombuffer(gzip.compress(data, 6, mtime=0), np.uint8))


def read_runtime(package: pathlib.Path = PACKAGE) -> dict[str, bytes]:
    """Reads ONNX Runtime Web from the folder that npm installed it to; content by file name.

    Raises:
      ValueError: it is not there, or a file is not the one of the pinned version.
    """
    how = (
        f'Install it with  npm install --no-save onnxruntime-web@{VERSION}  here, or say with '
        '--onnxruntime_web where it is.'
    )
    if not package.is_dir():
        raise ValueError(f'--with_model needs ONNX Runtime Web, but there is no {package}. {how}')
    found = {}
    for name, digest in _FILES.items():
        path = package / 'dist' / name
        if not path.is_file():
            raise ValueError(
                f'{path} is missing: {package} is not onnxruntime-web {VERSION}. {how}'
            )
        found[name] = path.read_bytes()
        if hashlib.sha256(found[name]).hexdigest() != digest:
            raise ValueError(
                f'{path} is not the file of onnxruntime-web {VERSION} (its SHA-256 differs). {how}'
            )
    return found


def prepare(name: str, view: View, precision: str, package: pathlib.Path = PACKAGE) -> BrowserModel:
    """Reads the runtime and exports the network of a view.

    Args:
      name: of the view in the report.
      view: whose checkpoint and samples.
      precision: see `browser_network.build`.
      package: see `read_runtime`.

    Raises:
      ValueError: see `read_runtime` and `browser_network.build`; or the model is foreign,
        the view has no embeddings, or a package is not installed.
    """
    if 'foreign' in read_description(view.workdir):
        raise ValueError(
            f'--with_model needs a network of this project; that of {view.workdir} was not trained '
            'here.'
        )
    runtime = read_runtime(package)
    if not artifacts.exists(view, Embeddings):
        raise ValueError(f'{view.folder} has no embeddings: run python -m analysis.embeddings.')
    try:
        import onnxruntime  # an extra, which other reports do without

        from analysis.report import browser_network
    except ImportError as error:
        raise ValueError(
            f"--with_model needs the package {error.name}: pip install -e '.[onnx]'"
        ) from error
    # npm's package lacks the license and the notices; the one for Python has them.
    folder = pathlib.Path(onnxruntime.__file__).parent
    licenses = {name: (folder / name).read_bytes() for name in _LICENSES}
    embeddings = artifacts.load(view, Embeddings)
    network = browser_network.build(view, embeddings, precision)
    return BrowserModel(name, precision, runtime, licenses, network, embeddings.points)


def allow(page: str) -> str:
    """The page with a policy under which WebAssembly and the runtime's loader may run."""
    old = "script-src 'self' file:"
    if page.count(old) != 1:
        raise ValueError('index.html has another content security policy than expected.')
    return page.replace(old, f"{old} blob: 'wasm-unsafe-eval'")
