"""Applies corrections to all annotation files of a data set."""

import collections
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tqdm import tqdm

from segmentation.data.corrections import correcting, document, files, returned
from segmentation.data.corrections.decisions import Correction
from segmentation.data.entries import Annotations, Skipped, file_name


def apply(
    sources: Sequence[files.Source],
    output: pathlib.Path,
    corrections: Sequence[Correction],
    skipped: Skipped,
    *,
    members: Mapping[str, Sequence[str]] | None = None,
    exported: Sequence[Annotations] = (),
) -> dict[str, dict[str, Any]]:
    """Writes the corrected files and their undo files.

    Args:
      sources: the annotation files.
      output: folder of the corrected data set.
      corrections: the first one of an annotation counts.
      skipped: counts what does not fit.
      members: categories by class, see `correcting.Corrector`.
      exported: what came back from an annotation tool, see `returned.read`.

    Returns:
      By split: `written` (False if it is there already) and `corrections`, rows of action, category
      before, category after and the number of annotations.

    Raises:
      ValueError: a file is none of annotations, `output` has other files, or another process is
        writing into it.
      OSError: a file cannot be written.
    """
    for source in sources:
        files.check_output(source, output)
    with files.claim(output):
        return _apply(sources, output, corrections, skipped, members or {}, exported)


def _apply(
    sources: Sequence[files.Source],
    output: pathlib.Path,
    corrections: Sequence[Correction],
    skipped: Skipped,
    members: Mapping[str, Sequence[str]],
    exported: Sequence[Annotations],
) -> dict[str, dict[str, Any]]:
    shared = _shared_names(sources) if len(sources) > 1 else set()
    recognized: set[str] = set()  # images that came back
    splits = [source.name for source in sources]
    corrections = [
        dataclasses.replace(correction, split=correcting.resolve(correction.split, splits))
        for correction in corrections
    ]
    written = {}
    for source in tqdm(sources, desc='correct', unit='file'):
        read = source.read()
        corrector = correcting.Corrector(read, members, shared, source.name)
        mine: list[Correction] = []
        others: list[Correction] = []
        for correction in corrections:
            is_other = correcting.is_elsewhere(correction.split, source.name, splits)
            (others if is_other else mine).append(correction)
        corrections = [*correcting.correct(corrector, mine, skipped), *others]
        changes = returned.corrections(read, corrector, exported, splits, recognized, skipped)
        correcting.correct(corrector, changes, skipped)
        outcome = corrector.finish()
        is_new = files.write(source, read, outcome.edits, output)
        counts = [[*key, count] for key, count in outcome.counts.items()]
        written[source.name] = {'written': is_new, 'corrections': counts}
    for correction in corrections:
        skipped.add(_why_not(correction.split, splits), correction.image_id)
    for export in exported:
        skipped.update(export.skipped)
        for image in export.images:
            if image.file_name not in recognized:
                folder = correcting.resolve(returned.folder_of(image.file_name), splits)
                skipped.add(_why_not(folder, splits), image.file_name)
    return written


def _why_not(split: str, splits: Sequence[str]) -> str:
    """Why an image was in none of the files."""
    if split and all(correcting.is_elsewhere(split, each, splits) for each in splits):
        return 'image is of another split than the files'
    return correcting.UNKNOWN_IMAGE


def _shared_names(sources: Sequence[files.Source]) -> set[str]:
    """Names (see `correcting.forms`) that images of several files have."""
    counts: collections.Counter[str] = collections.Counter()
    for source in sources:
        images = document.read(source.path).content['images']
        counts.update({form for image in images for form in correcting.forms(file_name(image))})
    return {name for name, count in counts.items() if count > 1}
