"""Pictures of images for the report: the result of `analysis.pictures`, and where its files are.

They are WebP files in `pictures/` of the analysis' folder. All but the images themselves have
transparent parts and are laid over the image. Ground truth and prediction have the classes' colors;
ignored pixels are white.
"""

import dataclasses
from typing import ClassVar

from analysis.stage.artifacts import Result

THUMB, COLUMNS = 96, 6  # pixels a side of a thumbnail; thumbnails in a line of a sheet
PER_SHEET = COLUMNS * COLUMNS
SHEET_KINDS = 'image', 'truth', 'prediction', 'error'


@dataclasses.dataclass(frozen=True)
class Scale:
    """Legend of a heat-map: CSS colors from low to high."""

    colors: tuple[str, ...]
    low: float
    high: float
    unit: str


@dataclasses.dataclass(frozen=True)
class Pictures(Result):
    """Thumbnails of all images on sheets, and large pictures of some."""

    NAME: ClassVar[str] = 'pictures'
    VERSION: ClassVar[int] = 2

    thumb_size: int  # pixels a side of a thumbnail, into which the image is squeezed
    columns: int  # thumbnails in a line
    per_sheet: int  # row r is on sheet r // per_sheet at place r % per_sheet, line by line
    num_sheets: int  # of each of SHEET_KINDS
    details: tuple[int, ...]  # rows with large pictures, the most interesting first
    # Missed (an object called background), invented (the reverse), confused (one class called
    # another).
    error_colors: dict[str, str]
    scales: dict[str, Scale]  # of the heat-maps 'loss' and 'probability'
    bytes_per_thumbnail: float  # of all four kinds together
    bytes_per_detail: float  # of all large pictures of an image


def sheet_path(number: int, kind: str) -> str:
    """Path of a sheet within `pictures/`."""
    return f'sheets/{number:05d}-{kind}.webp'


def detail_paths(row: int, class_names: tuple[str, ...]) -> dict[str, str]:
    """Paths of the large pictures of a row within `pictures/`; 'image' is written last.

    Kinds are truth, prediction, error, loss (heat-map in nats), 'class <name>' (heat-map of the
    probability of each foreground class) and image (at most 320 pixels, in its own shape).
    """
    kinds = {kind: kind for kind in ('truth', 'prediction', 'error', 'loss')}
    kinds |= {f'class {name}': f'class{k}' for k, name in enumerate(class_names) if k}
    return {
        kind: f'details/{row}-{file}.webp' for kind, file in (*kinds.items(), ('image', 'image'))
    }
