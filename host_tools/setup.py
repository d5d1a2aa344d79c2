"""The part of the package that pyproject.toml cannot say: the engine is built from C by cffi."""

from setuptools import setup
from setuptools.command.build_ext import build_ext


class BuildCore(build_ext):
    """The core's sources lie beside this package, so a manifest of the package leaves them out."""

    def get_source_files(self):
        return []


setup(cffi_modules=["_tinyinc/build.py:ffi"], cmdclass={"build_ext": BuildCore})
