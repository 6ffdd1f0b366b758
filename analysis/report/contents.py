"""Everything that a report shows: its views, and the comparisons between runs."""

import dataclasses
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from tqdm import tqdm

from analysis.compare import schema as compare
from analysis.objects.schema import FOLDER, Objects
from analysis.report import object_data, view_data
from analysis.report.columns import encode
from analysis.report.view_data import Pieces
from analysis.stage import artifacts, storage
from analysis.stage.view import View, find_views
from segmentation import overlays


@dataclasses.dataclass(frozen=True)
class Shown:
    """A view and its pieces, or those of its objects."""

    view: View
    pieces: Pieces
    pictures: pathlib.Path  # folder of the pictures that the pieces name

    @property
    def has_images(self) -> bool:
        """Whether the rows are images."""
        return self.pieces.view['rows_are'] == 'images'


@dataclasses.dataclass(frozen=True)
class Contents:
    """What a report shows."""

    manifest: dict[str, Any]  # for JSON, which views and comparisons there are
    views: dict[str, Shown]  # by name
    # For JSON, in the manifest's order: results, with `rows` of the common images.
    comparisons: list[dict[str, Any]]


def _names(workdir: pathlib.Path, other: pathlib.Path | None) -> dict[pathlib.Path, str]:
    if other is None:
        return {workdir: workdir.resolve().name}
    # Runs of a reproduction differ in the name of their parent.
    parts = [path.resolve().parts[-2:] for path in (workdir, other)]
    names = [path[-1] for path in parts]
    if names[0] == names[1]:
        names = ['-'.join(path) for path in parts]
    if names[0] == names[1]:
        names[1] += ' (other)'
    return {workdir: names[0], other: names[1]}


def read(workdir: pathlib.Path, other: pathlib.Path | None, first: str) -> Contents:
    """Reads everything that a report shows.

    Args:
      workdir: the run directory.
      other: another run's, if any.
      first: view that is shown first, `<split>-<step>`; empty for the newest of validation.

    Raises:
      ValueError: a run was not analyzed, or an artifact does not fit.
    """
    names = _names(workdir, other)
    views = {view.folder.name: view for view in find_views(workdir)}
    first = first or next(iter(views))
    if first not in views:
        raise ValueError(f'--first {first}: there is no such view; there are {", ".join(views)}.')
    if other:
        for view in find_views(other):
            views[f'{re.sub("[^A-Za-z0-9_-]+", "-", names[other])}-{view.folder.name}'] = view
    shown = {}
    for name, view in tqdm(views.items(), desc='views', unit='view'):
        of_images = view_data.read_view(view)
        shown[name] = Shown(view, of_images, view.folder / 'pictures')
        if artifacts.exists(view, Objects):
            objects = artifacts.load(view, Objects)
            pieces = object_data.read(view, of_images.view, objects)
            shown[f'{name}-objects'] = Shown(view, pieces, view.folder / FOLDER)
    for name, each in shown.items():
        there = bool(each.pieces.findings)
        each.pieces.view.update(name=name, run_name=names[each.view.workdir], has_findings=there)
    comparisons = dict(_comparisons(views, other)) if other else {}
    most = max(len(view.class_names) for view in views.values())
    colors = overlays.colorize(np.arange(most))
    manifest = {
        'title': f'{names[workdir]}: {", ".join(views[first].class_names[1:])}',
        'views': [
            {key: each.pieces.view[key] for key in 'name run_name split step n rows_are'.split()}
            for each in shown.values()
        ],
        'default': first,
        'class_colors': ['#' + bytes(rgb.tolist()).hex() for rgb in colors],
        'compare': [
            {'this': this, 'other': that, 'name': f'{this} and {that}', 'file': f'compare-{i}.js'}
            for i, (this, that) in enumerate(comparisons)
        ],
        'model': None,  # or what `BrowserModel.describe` says
    }
    return Contents(manifest, shown, list(comparisons.values()))


def _comparisons(
    views: dict[str, View], other: pathlib.Path
) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """(names of two views, comparison) for views of the other run."""
    for name, this in views.items():
        for other_name, that in views.items():
            if this.workdir == other or that.workdir != other or this.split != that.split:
                continue
            artifact = compare.find_artifact(this, that)
            if artifact is None:
                continue
            _, *rows = np.intersect1d(this.image_ids, that.image_ids, return_indices=True)
            content = storage.to_json(artifacts.load(this, compare.Comparison, artifact))
            # Paths as given to this command: the runs may have been moved since.
            for side, view in (('this', this), ('other', that)):
                content[side] |= {'workdir': str(view.workdir)}
            content['rows'] = {
                side: encode(numbers.astype(np.int32))
                for side, numbers in zip(('this', 'other'), rows, strict=True)
            }
            yield (name, other_name), content


def scripts(contents: Contents) -> Iterator[tuple[str, str]]:
    """(path within data/, JavaScript) of every piece."""
    yield 'manifest.js', view_data.to_script('manifest', contents.manifest)
    for name, shown in contents.views.items():
        for path, text in view_data.scripts(name, shown.pieces):
            yield f'{name}/{path}', text
    for entry, content in zip(contents.manifest['compare'], contents.comparisons, strict=True):
        yield entry['file'], view_data.to_script(f'compare/{entry["name"]}', content)


def detail_files(paths: dict[str, Any]) -> list[str]:
    """Paths of the large pictures of a row, from its entry in `details`, within `pictures/`."""
    plain = [path for path in paths.values() if isinstance(path, str)]
    return plain + list(paths['classes'].values())


def picture_files(shown: Shown) -> Iterator[tuple[str, pathlib.Path | bytes]]:
    """(path within data/<view>/, file or content) of every picture of a view."""
    described = shown.pieces.view.get('pictures', {'sheets': [], 'details': {}})
    folder = shown.pictures
    for sheet in described['sheets']:
        for path in sheet.values():
            yield path, folder / path
    for paths in described['details'].values():
        for path in detail_files(paths):
            yield path, folder / path
    yield from shown.pieces.files.items()
