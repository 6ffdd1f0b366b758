"""A look at a prepared data set before training: what is in it, and what its masks look like."""

import pathlib
from typing import Any

from segmentation.data import coco
from segmentation.data.inspection import page, scan, summary
from segmentation.files import write_text


def inspect(
    prepared: coco.Prepared, output: pathlib.Path | None = None
) -> tuple[str, dict[str, Any]]:
    """Reads all images of a data set once, and writes a page about them.

    Args:
      prepared: the data set.
      output: the page, one HTML file that needs no other; default `inspection.html` in the folder
        of the data set.

    Returns:
      A summary in Markdown, and the same numbers for JSON.

    Raises:
      ValueError: the data set is damaged.
      OSError: the page cannot be written.
    """
    output = output or prepared.path / 'inspection.html'
    found = scan.scan(prepared)
    write_text(output, page.render(prepared, found))
    return summary.text(prepared, found, output), summary.numbers(prepared, found, output)
