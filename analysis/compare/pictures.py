"""What two runs predict for the same images, side by side."""

import pathlib
from collections.abc import Mapping

from analysis.compare.schema import Comparison
from analysis.figures import contact_sheet
from analysis.predictions.schema import Predictions
from analysis.stage import artifacts
from analysis.stage.run import Analysis
from segmentation import overlays


def draw(both: Mapping[str, Analysis], result: Comparison, path: pathlib.Path) -> None:
    """Draws the labels of some images, and both predictions with their IoU, as PNG.

    `both` are the compared runs, 'this' and 'other'. Without an image that has an IoU there is no
    picture, and one of an earlier result is deleted.
    """
    if not result.examples:
        path.unlink(missing_ok=True)
        return
    labeled = [both['this'].examples[one.row] for one in result.examples]
    images = [overlays.overlay(example['image'], example['label']) for example in labeled]
    lines = [('labels of this', images)]
    captions = [[one.file_name[-16:] for one in result.examples]]
    for side, (name, analysis) in enumerate(both.items()):
        predicted = artifacts.load(analysis, Predictions)
        row_of = {image: row for row, image in enumerate(analysis.image_ids.tolist())}
        images = []
        for one in result.examples:
            row = row_of[one.image_id]
            pixels = analysis.examples[row]['image']
            images.append(overlays.overlay(pixels, predicted.class_map(row)))
        lines.append((f'{name}: {"/".join(analysis.workdir.parts[-2:])}', images))
        scores = [one.iou[side] for one in result.examples]
        captions.append([f'IoU {score:.2f}' if score is not None else '' for score in scores])
    contact_sheet.draw(lines, path, captions)
