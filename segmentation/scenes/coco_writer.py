"""Writes drawn scenes as a COCO-format folder: JPEG files and instance annotations."""

import concurrent.futures
import io
import json
import multiprocessing
import os
import pathlib
import shutil

import contourpy
import numpy as np
import tqdm
from PIL import Image
from pycocotools import mask as mask_utils

from segmentation.scenes.description import CATEGORIES, Scene
from segmentation.scenes.rendering import Rendered, render
from segmentation.scenes.sampling import sample_scene, split_number

# Goes up when the same seed gives other pictures, so that no folder mixes two generators.
VERSION = 1
MIN_VISIBLE = 20  # pixels; what shows less than this is left out of the annotations
FEWEST_FOR_PROCESSES = 40  # scenes; fewer are drawn sooner than processes start


def image_id(split: str, index: int) -> int:
    """COCO image id, below 2^31 and distinct between splits (which may be merged for folds)."""
    return (1 + split_number(split) % 2000) * 1_000_000 + index + 1


def annotate(scene: Scene, rendered: Rendered, number: int) -> list[dict]:
    """COCO annotations of the visible part of every object of a COCO category, in mixed order."""
    found = []
    for index, thing in enumerate(scene.things):
        if thing.category_id is None:
            continue
        mask = rendered.owner == index
        rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        area = int(np.count_nonzero(mask))
        if area < MIN_VISIBLE:
            continue
        top, left, bottom, right = rows[0], cols[0], rows[-1] + 1, cols[-1] + 1
        box = top, left, bottom, right
        annotation = {
            'segmentation': _uncompressed(mask) if thing.crowd else _outline(mask, box),
            'area': area,
            'iscrowd': int(thing.crowd > 0),
            'image_id': number,
            'bbox': [int(left), int(top), int(right - left), int(bottom - top)],
            'category_id': thing.category_id,
        }
        found.append(annotation)
    order = np.random.default_rng([scene.seed, 5]).permutation(len(found))
    return [found[i] | {'id': number * 1000 + k} for k, i in enumerate(order)]


def _uncompressed(mask: np.ndarray) -> dict:
    flat = np.concatenate([[0], mask.ravel(order='F').astype(np.int8), [0]])
    edges = np.flatnonzero(np.diff(flat))
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    if counts[-1] == 0:
        counts = counts[:-1]
    return {'counts': counts.tolist(), 'size': list(mask.shape)}


def _outline(mask: np.ndarray, box: tuple[int, int, int, int]) -> list | dict:
    """Polygons around the mask, or compressed RLE where polygons would miss it (holes)."""
    top, left, bottom, right = box
    part = np.pad(mask[top:bottom, left:right], 1)
    polygons = []
    for line in contourpy.contour_generator(z=part.astype(np.float32)).lines(0.5):
        # Pixel centres lie at half integers in COCO coordinates; the padding shifts by one.
        line = _simplify(line[:-1] - 0.5)
        x, y = line.T
        signed = 0.5 * (x @ np.roll(y, -1) - y @ np.roll(x, -1))
        if signed > 2 and len(line) >= 3:  # holes turn the other way
            polygons.append(line)
    if polygons:
        h, w = bottom - top, right - left
        drawn = mask_utils.frPyObjects([p.ravel().tolist() for p in polygons], h, w)
        drawn = mask_utils.decode(mask_utils.merge(drawn)).astype(bool)
        target = part[1:-1, 1:-1]
        if (drawn & target).sum() >= 0.92 * (drawn | target).sum() or target.sum() < 100:
            return [np.round(p + (left, top), 1).ravel().tolist() for p in polygons]
    rle = mask_utils.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {'counts': rle['counts'].decode('ascii'), 'size': list(mask.shape)}


def _simplify(line: np.ndarray, tolerance: float = 0.3) -> np.ndarray:
    """Drops every other vertex of a closed line that lies within the tolerance (pixels), thrice."""
    for start in (0, 1, 0):
        if len(line) < 8:
            break
        before, after = np.roll(line, 1, 0), np.roll(line, -1, 0)
        along, offset = after - before, line - before
        cross = along[:, 0] * offset[:, 1] - along[:, 1] * offset[:, 0]
        distance = np.abs(cross) / np.maximum(np.hypot(*along.T), 1e-6)
        drop = distance < tolerance
        drop[1 - start :: 2] = False
        drop[-1] = False
        line = line[~drop]
    return line


def write_scenes(
    folder: str | os.PathLike,
    counts: dict[str, int],
    seed: int = 0,
    progress: bool = True,
    workers: int | None = None,
) -> None:
    """Draws a COCO-format folder: `<split>/*.jpg` and `annotations/instances_<split>.json`.

    The same arguments give the same bytes, whatever the number of workers (default: one per
    processor), and scene i of a split is the same for every count. An interrupted call can be
    repeated: finished pictures are kept. Raises ValueError when the folder holds anything else, or
    scenes of other arguments. As with every process pool, a script that calls this needs
    `if __name__ == '__main__'`.
    """
    folder = pathlib.Path(folder)
    if seed < 0:
        raise ValueError(f'seed {seed} is negative; choose 0 or more')
    for split, count in counts.items():
        if not split.isidentifier() or count < 1:
            raise ValueError(
                f'split {split!r} with {count} scenes: a split needs a plain name '
                '(letters, digits, underscores) and at least one scene'
            )
    if len({image_id(split, 0) for split in counts}) < len(counts):
        raise ValueError(f'splits {sorted(counts)} would share image ids; rename one of them')
    manifest = {'generator': 'segmentation.scenes', 'version': VERSION}
    _claim(folder, manifest | {'seed': seed, 'counts': counts})
    (folder / 'annotations').mkdir(exist_ok=True)
    missing = [split for split in counts if not _annotation_file(folder, split).exists()]
    jobs = []
    for split in missing:
        (folder / split).mkdir(exist_ok=True)
        _part(folder, split, 0).parent.mkdir(parents=True, exist_ok=True)
        indices = range(counts[split])
        jobs += [(folder, seed, split, i) for i in indices if not _part(folder, split, i).exists()]
    total, workers = sum(counts.values()), workers or os.cpu_count() or 1
    done = total - len(jobs)
    with tqdm.tqdm(
        total=total, initial=done, desc='drawing scenes', unit=' scenes', disable=not progress
    ) as bar:
        if workers == 1 or len(jobs) < FEWEST_FOR_PROCESSES:
            for job in jobs:
                _write_scene(*job)
                bar.update()
        else:
            # spawn: forking a process that runs JAX threads may hang.
            context = multiprocessing.get_context('spawn')
            with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
                for _ in pool.map(_write_scene, *zip(*jobs, strict=True), chunksize=8):
                    bar.update()
    for split in missing:
        _write_annotations(folder, split, counts[split])
    shutil.rmtree(folder / '.parts', ignore_errors=True)


def _annotation_file(folder: pathlib.Path, split: str) -> pathlib.Path:
    return folder / 'annotations' / f'instances_{split}.json'


def _part(folder: pathlib.Path, split: str, index: int) -> pathlib.Path:
    """Holds the annotations of a finished picture until all of its split are done."""
    return folder / '.parts' / split / f'{index}.json'


def _claim(folder: pathlib.Path, wanted: dict) -> None:
    manifest = folder / 'scenes.json'
    if manifest.exists():
        found = json.loads(manifest.read_text())
        if found != wanted:
            raise ValueError(
                f'{folder} holds other scenes ({found}) than asked for ({wanted}); '
                'choose another folder or remove this one'
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(path.name != '.parts' for path in folder.iterdir()):
        raise ValueError(
            f'{folder} is not empty and was not drawn here (it has no scenes.json); '
            'choose an empty or a new folder'
        )
    (folder / '.parts').mkdir(exist_ok=True)
    _write(folder, manifest, json.dumps(wanted, indent=1).encode())


def _write(folder: pathlib.Path, path: pathlib.Path, data: bytes) -> None:
    """Writes a file elsewhere first, so that it never exists in part.

    The process id keeps apart a worker that outlived a killed run and one of the next run.
    """
    temporary = folder / '.parts' / f'{path.name}.{os.getpid()}.tmp'
    temporary.write_bytes(data)
    temporary.replace(path)


def _write_scene(folder: pathlib.Path, seed: int, split: str, index: int) -> None:
    """One picture, and after it its entries of the annotation file."""
    scene = sample_scene(seed, split, index)
    rendered = render(scene)
    number = image_id(split, index)
    picture = Image.fromarray(rendered.image[..., 0] if scene.grayscale else rendered.image)
    buffer = io.BytesIO()
    picture.save(buffer, 'JPEG', quality=88)
    name = f'{number:012d}.jpg'
    _write(folder, folder / split / name, buffer.getvalue())
    entry = {
        'license': 1,
        'file_name': name,
        'width': scene.width,
        'height': scene.height,
        'id': number,
        'all_categories_annotated': True,
    }
    part = {'image': entry, 'annotations': annotate(scene, rendered, number)}
    _write(folder, _part(folder, split, index), json.dumps(part).encode())


def _write_annotations(folder: pathlib.Path, split: str, count: int) -> None:
    parts = [json.loads(_part(folder, split, i).read_text()) for i in range(count)]
    url = 'https://creativecommons.org/publicdomain/zero/1.0/'
    document = {
        'info': {'description': 'Scenes drawn by segmentation.scenes', 'version': str(VERSION)},
        'licenses': [{'id': 1, 'name': 'CC0 1.0', 'url': url}],
        'images': [part['image'] for part in parts],
        'annotations': [a for part in parts for a in part['annotations']],
        'categories': CATEGORIES,
    }
    _write(folder, _annotation_file(folder, split), json.dumps(document).encode())
