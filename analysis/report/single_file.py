"""The report as one file of limited size, to be mailed."""

import base64
import dataclasses
import hashlib
import html
import io
import pathlib
import re
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from analysis.figures import images
from analysis.pictures import schema as pictures
from analysis.report import view_data
from analysis.report.contents import Contents, Shown, detail_files, scripts
from segmentation.files import write_text

SOURCES = pathlib.Path(__file__).parents[1] / 'explorer'
# Sides of thumbnails: the largest that fits is taken, or none.
_THUMBS = (96, 80, 64, 48, 32)
# Share of the file that thumbnails leave for large pictures.
_DETAIL_SHARE = 0.25


@dataclasses.dataclass(frozen=True)
class Written:
    """What went into the file."""

    bytes: int  # size of the file
    thumb_size: int  # pixels a side of the thumbnails, 0 for none
    details: int  # images with large pictures


def _resize_sheet(data: bytes, side: int, is_image: bool) -> bytes:
    """A sheet with thumbnails of `side` pixels."""
    sheet = Image.open(io.BytesIO(data), formats=['WEBP'])
    width, height = (length * side // pictures.THUMB for length in sheet.size)
    how = Image.Resampling.LANCZOS if is_image else Image.Resampling.NEAREST
    small = np.asarray(sheet.convert('RGB' if is_image else 'RGBA').resize((width, height), how))
    return images.encode(small, 60 if is_image else None)


def _read(shown: Shown, path: str) -> bytes:
    return (shown.pictures / path).read_bytes()


def _choose_thumbs(contents: Contents, room: float) -> int:
    """The largest side of thumbnails for which all of them fit into `room` bytes; 0 for none.

    Estimated from every 20th sheet.
    """
    for side in _THUMBS:
        total = 0.0
        for shown in contents.views.values():
            sheets = shown.pieces.view.get('pictures', {'sheets': []})['sheets']
            tried = sheets[::20]
            for sheet in tried:
                for kind, path in sheet.items():
                    small = _resize_sheet(_read(shown, path), side, kind == 'image')
                    total += len(small) * len(sheets) / len(tried)
        if total * 4 / 3 <= room:
            return side
    return 0


def write(output: pathlib.Path, contents: Contents, limit: int) -> Written:
    """Writes the report as one file of at most `limit` bytes; changes `contents`.

    Raises:
      ValueError: even without pictures it would be larger, or `output` is another file.
    """
    if output.exists() and 'explorer.provide(' not in output.read_text(errors='replace'):
        raise ValueError(f'{output} is not a report and is not replaced: choose another --output.')
    page = sum(path.stat().st_size for path in SOURCES.rglob('*') if path.is_file())
    room: float = limit - page - 1000 * len(contents.views)
    room -= sum(len(text) for _, text in scripts(contents))
    if room < 0:
        raise ValueError(
            f'One file of all views would be {-room / 1e6:.1f} MB larger than --megabytes allows, '
            'even without pictures: raise --megabytes, or write a folder.'
        )
    side = _choose_thumbs(contents, room * (1 - _DETAIL_SHARE))
    files: dict[str, str] = {}

    def add(name: str, path: str, data: bytes) -> int:
        text = f'image/webp;{base64.b64encode(data).decode()}'
        files[f'{name}/{path}'] = text
        return len(text) + len(name) + len(path) + 10

    for name, shown in contents.views.items():
        described: dict[str, Any] | None = shown.pieces.view.get('pictures')
        if described and not side:
            del shown.pieces.view['pictures']
            for cluster in shown.pieces.findings.get('clusters', []):
                cluster['heat_map'] = None
        elif described:
            described['thumb_size'] = side
            for sheet in tqdm(described['sheets'], desc=f'thumbnails of {name}', unit='sheet'):
                for kind, path in sheet.items():
                    data = _resize_sheet(_read(shown, path), side, kind == 'image')
                    room -= add(name, path, data)
            for path, data in shown.pieces.files.items():
                if path.startswith('clusters/'):
                    room -= add(name, path, data)
    kept = 0
    for name, shown in contents.views.items():
        details = shown.pieces.view.get('pictures', {'details': {}})['details']
        for row in list(details):  # the most interesting first
            heat_maps = details[row].get('saliency', {}).values()
            data_of = {path: _read(shown, path) for path in detail_files(details[row])}
            data_of |= {path: shown.pieces.files[path] for path in heat_maps}
            size = sum(len(part) * 4 / 3 + len(path) + 60 for path, part in data_of.items())
            if size <= room:
                room -= sum(add(name, path, part) for path, part in data_of.items())
                kept += 1
            else:
                del details[row]
    texts = [view_data.to_script('files', files), *(text for _, text in scripts(contents))]
    write_text(output, inline(''.join(texts)))
    return Written(output.stat().st_size, side, kept)


def inline(data: str) -> str:
    """The page with its scripts, styles and `data` inlined; its policy lets no other script run."""
    page, hashes = (SOURCES / 'index.html').read_text(), []

    def script(text: str) -> str:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        hashes.append(f"'sha256-{digest}'")
        return f'<script>{text}</script>'

    def replace_script(match: re.Match) -> str:
        source = html.unescape(match[1])
        file = SOURCES / source.removeprefix('explorer/')
        text = data if source == 'data/manifest.js' else file.read_text()
        if '</script' in text.lower():
            raise ValueError(f'{source} would end its own script element.')
        return script(text)

    def replace_style(match: re.Match) -> str:
        return f'<style>{(SOURCES / match[1].removeprefix("explorer/")).read_text()}</style>'

    page = re.sub(r'<script src="([^"]+)"></script>', replace_script, page)
    page = re.sub(r'<link rel="stylesheet" href="([^"]+)">', replace_style, page)
    policy = (
        f"default-src 'none'; script-src {' '.join(hashes)}; style-src 'unsafe-inline'; "
        'img-src data: blob:'
    )
    return re.sub(
        r'(<meta http-equiv="Content-Security-Policy"\s+content=")[^"]*',
        lambda match: match[1] + policy,
        page,
        count=1,
    )
