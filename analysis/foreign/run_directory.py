"""A run directory for a foreign model, so that every stage finds what it needs."""

import dataclasses
import hashlib
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import msgspec
from ml_collections import ConfigDict

from analysis.foreign import adapter as adapters
from analysis.foreign.adapter import Adapter
from analysis.foreign.array_files import read_embeddings
from analysis.foreign.describe import draft, embedding_tensors
from analysis.foreign.model import ForeignModel
from analysis.foreign.onnx_graph import external_files, load_graph
from analysis.foreign.onnx_model import OnnxModel
from analysis.foreign.prediction_files import PredictionFiles, files_within
from segmentation import workdir as workdirs
from segmentation.config import (
    NEUTRAL_FIELDS,
    differences,
    flat,
    read_config,
    save_config,
    with_overrides,
)
from segmentation.data import coco, examples, label_spaces
from segmentation.files import sha256, write_json

_FILES = 'onnx', 'predictions', 'embeddings', 'embedding_ids'


@dataclasses.dataclass(frozen=True)
class Source:
    """What is to be analyzed: a model or predictions, as files."""

    onnx: pathlib.Path | None = None
    predictions: pathlib.Path | None = None
    adapter: pathlib.Path | None = None  # default: <model>.adapter.json, or a draft
    embeddings: pathlib.Path | None = None
    embedding_ids: pathlib.Path | None = None


def find_adapter(source: Source) -> tuple[Adapter, str]:
    """The adapter of a model, and where it is from.

    Raises:
      ValueError: the file is not valid, or there is none and the graph does not tell enough.
    """
    if source.adapter:
        return adapters.read(source.adapter), str(source.adapter)
    if source.onnx is None:
        return Adapter(), ''
    beside = source.onnx.with_suffix('.adapter.json')
    if beside.is_file():
        return adapters.read(beside), str(beside)
    drafted = draft(source.onnx)
    needed = [each for each in drafted.unknown if not each.startswith('label_space')]
    if needed:
        raise ValueError(
            f'{source.onnx} does not tell all that is needed:\n  '
            + '\n  '.join(needed)
            + f'\nDraft an adapter with --describe {source.onnx}, fill it in and save it as '
            f'{beside.name} beside the model, or give it with --adapter.'
        )
    text = msgspec.json.encode({k: v for k, v in drafted.adapter.items() if v is not None})
    assumed = ''.join(f'\n  {each}' for each in drafted.assumed)
    return adapters.parse(text, 'drafted'), f'drafted from the graph; assumed:{assumed}'


def choose_label_space(adapter: Adapter, asked: str, categories: Sequence[Any]) -> str:
    """The label space: as asked for, else the adapter's, else categories of its classes' names.

    Raises:
      ValueError: there is none of these.
    """
    if asked or adapter.label_space:
        return asked or adapter.label_space or ''
    known = [category.name for category in categories]
    if adapter.classes:
        names = list(adapter.classes)
    else:
        names = [name for name in adapter.channels if name in known and label_spaces.can_name(name)]
    if names and all(name in known and label_spaces.can_name(name) for name in names):
        return '; '.join(f'{name}: {name}' for name in names)
    raise ValueError(
        'Which categories of the data belong to which class? Give --label_space, for example '
        f"'{known[0] if known else 'person'}: {known[0] if known else 'person'}'; the data have "
        f'the categories {", ".join(known[:12])}{", …" if len(known) > 12 else ""}.'
    )


def choose_split(config: ConfigDict, splits: Sequence[str]) -> ConfigDict:
    """The config with the only split of a data set, if it does not have those of the config.

    Raises:
      ValueError: there are several.
    """
    if set(config.data.val_splits) <= set(splits):
        return config
    if len(splits) > 1:
        raise ValueError(
            f'The data have the splits {", ".join(splits)}: choose those to analyze with '
            f'--config.data.val_splits="(\'{splits[0]}\',)"'
        )
    return with_overrides(config, {'data.val_splits': tuple(splits)})


def create(
    output: pathlib.Path, source: Source, config: ConfigDict, label_space: str, data_path: str = ''
) -> list[str]:
    """Writes a run directory, or checks that it is of the same model and data.

    Args:
      output: the run directory.
      source: the model or the predictions.
      config: of the data; an empty `data.source` means `data_path`.
      label_space: see `choose_label_space`.
      data_path: of a prepared data set.

    Returns:
      Lines for people: what was assumed or ignored.

    Raises:
      ValueError: the model, adapter, predictions and data do not fit each other, or the directory
        holds something else.
      OSError: a file cannot be read or written.
    """
    adapter, origin = find_adapter(source)
    notes = [f'adapter: {origin}'] if origin else []
    if source.onnx and adapter.embeddings is None:
        tensors = tuple(embedding_tensors(load_graph(source.onnx)))
        adapter = msgspec.structs.replace(adapter, embeddings=tensors)
        notes.append(f'embeddings: of {len(tensors)} tensors that are spread over the graph')
    prepared = coco.open_prepared(data_path) if data_path else examples.open_data(config.data)
    space = choose_label_space(adapter, label_space, prepared.categories)
    config = with_overrides(choose_split(config, prepared.splits), {'data.label_space': space})
    notes.append(f'label space: {space}')
    selected, report = examples.select_examples(prepared, config.data, 'val')
    class_names = label_spaces.parse_label_space(space).class_names
    described: dict[str, Any] = {
        'kind': 'onnx' if source.onnx else 'predictions',
        'adapter': msgspec.json.decode(msgspec.json.encode(adapter)),  # lists, no tuples
    }
    for name in _FILES:
        if path := getattr(source, name):
            described[name] = {'path': str(path.resolve()), 'sha256': _digest(path, name == 'onnx')}
    model = _open(described, class_names, selected)
    if isinstance(model, OnnxModel):
        notes.append(model.describe_input())
    if not (isinstance(model, PredictionFiles) and model.kind == 'coco'):
        notes += adapters.assumed_classes(adapter, class_names)
    if isinstance(model, PredictionFiles) and (left := model.check(selected)):
        notes.append(left)
    described['unavailable'] = model.unavailable
    output.mkdir(parents=True, exist_ok=True)
    run = workdirs.describe_run(prepared, {'val': report}, class_names)
    run['foreign'] = described
    if (output / 'run.json').is_file():
        _check_same(output, config, run)
    save_config(config, output / 'config.json')
    write_json(output / 'run.json', run)
    return notes


def _check_same(output: pathlib.Path, config: ConfigDict, run: dict[str, Any]) -> None:
    """Checks that a run directory is of the same model, data and options, or holds no result yet.

    Raises:
      ValueError: it holds the results of something else.
    """
    before, differing = workdirs.read_description(output), []
    if 'foreign' not in before:
        raise ValueError(f'{output} holds a run of this project: choose another --output.')
    if _identity(before['foreign']) != _identity(run['foreign']):
        differing.append('another model, adapter or predictions')
    if before['data']['fingerprint'] != run['data']['fingerprint']:
        differing.append('other data')
    fields = [
        {name: value for name, value in flat(each).items() if name.startswith('data.')}
        for each in (read_config(output / 'config.json'), config)
    ]
    # Where the data are does not matter, what they are is compared above.
    differing += differences(fields[0], fields[1], NEUTRAL_FIELDS | {'data.source'})
    if differing and any(output.glob('analysis/*/*.json')):
        raise ValueError(
            f'{output} holds the analysis of {"; ".join(differing)}: choose another --output.'
        )
    if differing:  # A start that failed leaves at most predictions.
        shutil.rmtree(output / 'outputs', ignore_errors=True)


def _identity(described: dict[str, Any]) -> list[Any]:
    """What makes results differ; files may have been moved."""
    return [
        described.get('kind'), described.get('adapter'),
        [described.get(name, {}).get('sha256') for name in _FILES],
    ]  # fmt: skip


def _digest(path: pathlib.Path, is_model: bool = False) -> str:
    """SHA-256 of a file, or of the names and contents of the files below a folder.

    That of a model is also of its external data.
    """
    files, root = [path], path.resolve().parent
    if path.is_dir():
        files, root = files_within(path), path
    elif not path.is_file():
        raise ValueError(f'{path} does not exist.')
    elif is_model:
        files += external_files(path)
    if files == [path]:
        return sha256(path)
    total = hashlib.sha256()
    for file in files:
        name = os.fsencode(os.path.relpath(file, root))
        total.update(name + f' {sha256(file)}\n'.encode())
    return total.hexdigest()


def open_model(
    described: dict[str, Any], class_names: Sequence[str], selected: examples.Examples
) -> ForeignModel:
    """Opens the model that a run directory describes.

    Args:
      described: 'foreign' of its run.json.
      class_names: of the label space, background first.
      selected: images of its data.

    Raises:
      ValueError: it is missing or has changed.
    """
    for name in _FILES:
        file = described.get(name)
        # Folders of predictions can be large: nothing but their files is read.
        if file and (path := pathlib.Path(file['path'])) and not path.is_dir():
            if not path.is_file() or _digest(path, name == 'onnx') != file['sha256']:
                what = 'model' if name == 'onnx' else 'file'
                raise ValueError(
                    f'The {what} {path} is missing or has changed since it was analyzed; give it '
                    f'again with scripts/analyze.py --{name} and another --output.'
                )
    return _open(described, class_names, selected)


def _open(
    described: dict[str, Any], class_names: Sequence[str], selected: examples.Examples
) -> ForeignModel:
    adapter = msgspec.convert(described['adapter'], Adapter)
    paths = {name: pathlib.Path(described[name]['path']) for name in _FILES if name in described}
    if described['kind'] == 'onnx':
        return OnnxModel(paths['onnx'], adapter, class_names)
    embeddings = None
    if 'embeddings' in paths:
        embeddings = read_embeddings(
            paths['embeddings'], paths.get('embedding_ids'), selected.image_ids
        )
    space = label_spaces.parse_label_space(selected.config.label_space)
    classes = space.category_to_class(selected.splits[0].categories)
    return PredictionFiles(paths['predictions'], adapter, class_names, classes, embeddings)
