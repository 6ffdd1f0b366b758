"""Writes drawn scenes as a folder in COCO's format: JPEG files and instance annotations.

Planted scenes also have a manifest of the planted truth (see `planted.truth`).
"""

import concurrent.futures
import io
import json
import multiprocessing
import os
import pathlib
import shutil

import tqdm
from PIL import Image

from segmentation.scenes.description import CATEGORIES, Scene
from segmentation.scenes.drawing.rendering import render
from segmentation.scenes.outlines import annotate
from segmentation.scenes.planted import sampling, truth
from segmentation.scenes.planted.label_errors import annotate_with_error
from segmentation.scenes.sampling import sample_scene, split_number

# Increased when the same seed gives other images, so that no folder mixes two generators.
VERSION = 1
FEWEST_FOR_PROCESSES = 40  # scenes; fewer are drawn before processes would start


def image_id(split: str, index: int) -> int:
    """COCO image id, below 2^31 and distinct between splits, which may be merged for folds."""
    return (1 + split_number(split) % 2000) * 1_000_000 + index + 1


def write_scenes(
    folder: str | os.PathLike,
    counts: dict[str, int],
    seed: int = 0,
    workers: int | None = None,
    error_rate: float | None = None,
    planted_version: int = sampling.VERSION,
) -> None:
    """Draws a folder in COCO's format: `<split>/*.jpg` and `annotations/instances_<split>.json`.

    The same arguments give the same bytes, whatever the number of workers. Scene i of a split does
    not depend on the count. An interrupted call can be repeated: finished images are kept. As with
    every process pool, a script that calls this needs `if __name__ == '__main__'`.

    Args:
      folder: new, empty, or that of an interrupted call with the same arguments.
      counts: number of scenes per split.
      seed: >= 0; another seed gives other scenes.
      workers: number of processes; default one per processor.
      error_rate: if given, draws planted scenes, with each kind of label error in this fraction of
        the images, and writes the truth to `annotations/planted_<split>.jsonl`.
      planted_version: of the planted scenes, one of `sampling.VERSIONS`.

    Raises:
      ValueError: an invalid argument, or the folder holds anything else.
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
    if error_rate is not None and not 0 <= error_rate <= sampling.MOST_ERRORS:
        raise ValueError(
            f'error rate {error_rate}: a scene has at most one label error, and none in a hard '
            f'slice, so choose a rate of each kind from 0 to {sampling.MOST_ERRORS:.3f}'
        )
    if len({image_id(split, 0) for split in counts}) < len(counts):
        raise ValueError(f'splits {sorted(counts)} would share image ids; rename one of them')
    wanted = {'generator': 'segmentation.scenes', 'version': VERSION, 'seed': seed}
    wanted['counts'] = counts
    if error_rate is not None:
        wanted['planted'] = {'version': planted_version, 'error_rate': error_rate}
    _claim(folder, wanted)
    (folder / 'annotations').mkdir(exist_ok=True)
    missing = [split for split in counts if not _annotation_file(folder, split).exists()]
    for split in missing:
        (folder / split).mkdir(exist_ok=True)
        _part(folder, split, 0).parent.mkdir(parents=True, exist_ok=True)
    jobs = [
        (folder, seed, split, i, error_rate, planted_version)
        for split in missing
        for i in range(counts[split])
        if not _part(folder, split, i).exists()
    ]
    total, workers = sum(counts.values()), workers or os.cpu_count() or 1
    done = total - len(jobs)
    with tqdm.tqdm(total=total, initial=done, desc='drawing scenes', unit=' scenes') as bar:
        if workers == 1 or len(jobs) < FEWEST_FOR_PROCESSES:
            for job in jobs:
                _write_scene(*job)
                bar.update()
        else:
            # spawn, because a fork of a process with JAX threads may hang.
            context = multiprocessing.get_context('spawn')
            with concurrent.futures.ProcessPoolExecutor(workers, context) as pool:
                for _ in pool.map(_write_scene, *zip(*jobs, strict=True), chunksize=8):
                    bar.update()
    for split in missing:
        parts = [json.loads(_part(folder, split, i).read_text()) for i in range(counts[split])]
        if error_rate is not None:
            lines = [truth.header(seed, split, counts[split], error_rate, planted_version)]
            lines += [part['truth'] for part in parts]
            text = ''.join(json.dumps(line) + '\n' for line in lines)
            _write(folder, truth.manifest_file(folder, split), text.encode())
        _write_annotations(folder, split, parts)
    shutil.rmtree(folder / '.parts', ignore_errors=True)


def _annotation_file(folder: pathlib.Path, split: str) -> pathlib.Path:
    return folder / 'annotations' / f'instances_{split}.json'


def _part(folder: pathlib.Path, split: str, index: int) -> pathlib.Path:
    """File with the annotations of a finished image, until the whole split is finished."""
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
    """Writes a file atomically, by way of `.parts`, which is removed in the end.

    Not by `files.replacing`, which searches the folder of thousands of files for abandoned ones
    each time. The process id keeps a worker that outlived a killed run apart from the next run's.
    """
    temporary = folder / '.parts' / f'{path.name}.{os.getpid()}.tmp'
    temporary.write_bytes(data)
    temporary.replace(path)


def find_scene(folder: str | os.PathLike, number: int) -> Scene:
    """The description of the scene with this image id in a folder that `write_scenes` drew.

    Raises:
      ValueError: the folder has no scenes of this version, or not this image.
    """
    path = pathlib.Path(folder) / 'scenes.json'
    try:
        made = json.loads(path.read_text())
        version, seed, counts = made['version'], made['seed'], made['counts']
        options = made.get('planted', {'version': sampling.VERSION, 'error_rate': None})
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f'{folder} holds no drawn scenes (no readable {path.name})') from error
    if version != VERSION or options['version'] not in sampling.VERSIONS:
        raise ValueError(f'{path} is of another version of the generator; draw the scenes again')
    for split, count in counts.items():
        index = number - image_id(split, 0)
        if 0 <= index < count:
            return _sample(seed, split, index, options['error_rate'], options['version'])[0]
    ids = [f'{s} {image_id(s, 0)} to {image_id(s, count - 1)}' for s, count in counts.items()]
    raise ValueError(f'{folder} has no image {number}; its image ids are {", ".join(ids)}')


def _sample(
    seed: int, split: str, index: int, error_rate: float | None, planted_version: int
) -> tuple[Scene, sampling.Planted | None]:
    if error_rate is None:
        return sample_scene(seed, split, index), None
    found = sampling.sample_planted(seed, split, index, error_rate, planted_version)
    return found.scene, found


def _write_scene(
    folder: pathlib.Path,
    seed: int,
    split: str,
    index: int,
    error_rate: float | None,
    planted_version: int,
) -> None:
    """Writes one image and, after it, its entries in the annotation file and the manifest."""
    scene, found = _sample(seed, split, index, error_rate, planted_version)
    rendered = render(scene)
    number = image_id(split, index)
    image = Image.fromarray(rendered.image[..., 0] if scene.grayscale else rendered.image)
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=88)
    name = f'{number:012d}.jpg'
    _write(folder, folder / split / name, buffer.getvalue())
    size = {'width': scene.width, 'height': scene.height}
    entry = {'license': 1, 'file_name': name, **size, 'id': number}
    entry['all_categories_annotated'] = True
    if found:
        annotations, error = annotate_with_error(scene, rendered, number, found.error)
        line = {'image_id': number, 'file_name': name, 'index': index, **size}
        line |= truth.describe(found, rendered, annotations, error)
        part = {'image': entry, 'annotations': list(annotations.values()), 'truth': line}
    else:
        part = {'image': entry, 'annotations': annotate(scene, rendered, number)}
    _write(folder, _part(folder, split, index), json.dumps(part).encode())


def _write_annotations(folder: pathlib.Path, split: str, parts: list[dict]) -> None:
    url = 'https://creativecommons.org/publicdomain/zero/1.0/'
    document = {
        'info': {'description': 'Scenes drawn by segmentation.scenes', 'version': str(VERSION)},
        'licenses': [{'id': 1, 'name': 'CC0 1.0', 'url': url}],
        'images': [part['image'] for part in parts],
        'annotations': [a for part in parts for a in part['annotations']],
        'categories': CATEGORIES,
    }
    _write(folder, _annotation_file(folder, split), json.dumps(document).encode())
