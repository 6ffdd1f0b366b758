"""What a stage is: one object that names what it computes, from what, and how to show it."""

import argparse
import contextlib
import dataclasses
import functools
import inspect
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from analysis.stage import artifacts, command, shards, storage
from analysis.stage.artifacts import Result
from analysis.stage.run import Analysis, open_chosen
from analysis.stage.view import View

R = TypeVar('R', bound=Result)


@dataclasses.dataclass(frozen=True)
class Stage(Generic[R]):
    """An analysis of a checkpoint on a split; `analysis.registry` lists all of them."""

    # The dataclass that it computes; has the stage's name, the version of its schema, and which
    # parts of an experiment it is about.
    result: type[R]
    # The parser of its command, with all settings. It is in a module of its own, `options`, which
    # imports nothing heavy, so that `--help` and invalid arguments are answered at once.
    make_parser: Callable[[], argparse.ArgumentParser]
    # `compute(analysis, **settings)` returns the result. The settings are its keyword arguments,
    # all with the defaults of the parser.
    compute: Callable[..., R]
    table: Callable[[R], str]  # the result as Markdown
    # Draws the result into the analysis' folder and returns the files.
    figure: Callable[[Analysis, R], Sequence[pathlib.Path]] | None = None
    # Stages whose results it needs; they are computed first if they do not exist.
    reads: tuple['Stage', ...] = ()
    reads_if_there: tuple['Stage', ...] = ()  # stages whose results it uses if they exist
    # Files and folders that `compute` writes itself into the analysis' folder. It keeps what is up
    # to date; --force removes all.
    parts: tuple[str, ...] = ()
    # Whether all processes run `compute` and share the images (`shards`); else process 0 does.
    shared: bool = False

    @property
    def name(self) -> str:
        return self.result.NAME

    def why_not(self, view: View) -> str:
        """Why it cannot be run on a view, or a stage that it reads cannot; '' if it can."""
        reasons = [artifacts.why_not(view, self.result)]
        reasons += [stage.why_not(view) for stage in self.reads]
        return next(filter(None, reasons), '')

    def defaults(self) -> dict[str, Any]:
        """The settings, as `compute` has them."""
        parameters = list(inspect.signature(self.compute).parameters.values())[1:]
        return {parameter.name: parameter.default for parameter in parameters}

    def prepare(self, analysis: Analysis) -> None:
        """Computes the result if there is none or if it is stale, with the settings it had."""
        settings = artifacts.settings(analysis, self.result)
        known = {name: value for name, value in settings.items() if name in self.defaults()}
        self._refresh(analysis, False, {**self.defaults(), **known})

    def get(self, analysis: Analysis, force: bool = False, **settings: Any) -> R:
        """The result: read if it is up to date, else computed and written.

        Args:
          analysis: the checkpoint and images.
          force: compute it again, even if it is up to date.
          **settings: of `compute`; the others have their defaults.

        Raises:
          ValueError: an artifact is damaged or of other images and `force` is not given, or the
            stage cannot be computed for these images.
        """
        computed = self._refresh(analysis, force, {**self.defaults(), **settings})
        return artifacts.load(analysis, self.result) if computed is None else computed

    def _refresh(self, analysis: Analysis, force: bool, settings: dict[str, Any]) -> R | None:
        """Computes and writes the result; None if it is up to date or another process did it."""
        if reason := self.why_not(analysis):
            raise ValueError(f'{self.name} is not available for {analysis.workdir}: {reason}.')
        for stage in self.reads:
            stage.prepare(analysis)
        for stage in self.reads_if_there:
            if shards.agreed(functools.partial(artifacts.exists, analysis, stage.result)):
                stage.prepare(analysis)
        reads = [stage.name for stage in (*self.reads, *self.reads_if_there)]
        parts = [analysis.folder / part for part in self.parts]

        def is_stale() -> bool:
            if force:
                for path in parts:
                    shutil.rmtree(path, ignore_errors=True)  # leaves files
                    path.unlink(missing_ok=True)
            elif artifacts.is_current(analysis, self.result, reads, settings):
                return not all(path.exists() for path in parts)
            return True

        def compute() -> R:
            result = self.compute(analysis, **settings)
            artifacts.save(analysis, result, reads, settings)
            return result

        if not shards.agreed(is_stale):
            return None
        if not self.shared:
            return shards.by_first(compute)
        with shards.together(), contextlib.suppress(shards.OnFirst):
            return compute()
        return None

    def draw(self, analysis: Analysis, result: R) -> Sequence[pathlib.Path]:
        """Draws the figures, if there are any."""
        return self.figure(analysis, result) if self.figure else []

    def main(self, argv: list[str] | None = None) -> int:
        """The command `python -m analysis.<name>`; returns the exit status."""
        arguments = self.make_parser().parse_args(argv)
        return command.run_command(arguments, shards.in_all(self._run))

    def _run(self, arguments: argparse.Namespace) -> dict[str, Any]:
        analysis = open_chosen(arguments)
        settings = {name: getattr(arguments, name) for name in self.defaults()}
        result = self.get(analysis, arguments.force, **settings)
        return shards.by_first(lambda: self._show(analysis, result)) or {}

    def _show(self, analysis: Analysis, result: R) -> dict[str, Any]:
        drawn = [str(path) for path in self.draw(analysis, result)]
        print(f'{artifacts.path_of(analysis, self.result)}:', self.table(result), sep='\n\n')
        if drawn:
            print(f'\nFigures: {", ".join(drawn)}')
        return storage.to_json(result)
