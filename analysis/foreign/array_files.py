"""Reads `.npy` files that were not written by this project."""

import json
import pathlib

import numpy as np


def load_array(path: pathlib.Path) -> np.ndarray:
    """Reads a `.npy` file.

    Raises:
      ValueError: it is damaged or empty, or has pickled objects.
    """
    try:
        values = np.load(path, allow_pickle=False)
    except Exception as error:  # What NumPy raises on damage is not documented.
        raise ValueError(f'{path} cannot be read as an array: {error}') from error
    if not isinstance(values, np.ndarray):
        raise ValueError(f'{path} cannot be read as an array: it is an .npz archive of several.')
    if not values.size:
        raise ValueError(f'{path} is empty: it has the shape {values.shape}.')
    return values


def read_embeddings(
    path: pathlib.Path, ids_path: pathlib.Path | None, image_ids: np.ndarray
) -> dict[int, np.ndarray]:
    """Reads embeddings of images.

    Args:
      path: `.npy`, float `[N, D]`.
      ids_path: image ids of the rows, `.npy` `[N]` or a JSON list; None: one row per image of the
        data, in the order of their ids.
      image_ids: of the data.

    Returns:
      float32 `[D]` by image id.

    Raises:
      ValueError: the files do not fit each other or the data.
    """
    points = load_array(path)
    if points.ndim != 2 or not np.issubdtype(points.dtype, np.floating):
        raise ValueError(f'{path} has the shape {points.shape}, not float [images, dimensions].')
    with np.errstate(over='ignore'):
        points = points.astype(np.float32)
    if not np.isfinite(points).all():
        raise ValueError(f'{path} has NaN or infinity.')
    if ids_path is None:
        if len(points) != len(image_ids):
            raise ValueError(
                f'{path} has {len(points)} rows, but there are {len(image_ids)} images: say with '
                '--embedding_ids which image each row is.'
            )
        ids = np.sort(image_ids)
    elif ids_path.suffix == '.npy':
        ids = load_array(ids_path)
    else:
        try:
            ids = np.array(json.loads(ids_path.read_bytes()))
        except ValueError as error:
            raise ValueError(f'{ids_path} is not a JSON list of image ids: {error}') from error
    if ids.shape != (len(points),) or not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(
            f'The ids of the embeddings must be {len(points)} whole numbers, one per row of {path}.'
        )
    if len(np.unique(ids)) < len(ids):
        raise ValueError(f'{ids_path} has an image id twice.')
    return dict(zip(ids.tolist(), points, strict=True))
