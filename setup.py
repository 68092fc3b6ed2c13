"""Put the top-level ``defaults.cfg`` into the package; all else is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

DEFAULTS = "defaults.cfg"


class BuildWithDefaults(build_py):
    """Build the package with the defaults, which lie above it in the source tree.

    An editable install needs no copy: the package reads the file where it is.
    """

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            self.copy_file(DEFAULTS, self._target())

    def get_source_files(self) -> list[str]:
        return [*super().get_source_files(), DEFAULTS]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        return [*super().get_outputs(include_bytecode), self._target()]

    def get_output_mapping(self) -> dict[str, str]:
        return {**super().get_output_mapping(), self._target(): DEFAULTS}

    def _target(self) -> str:
        return str(Path(self.build_lib, "cottoncandy", DEFAULTS))


setup(cmdclass={"build_py": BuildWithDefaults})
