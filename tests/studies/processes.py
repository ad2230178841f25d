"""Programs for processes that need a file or two of the package, and start in an instant."""

LIGHT = """
import importlib, json, os, sys, time, types
from pathlib import Path
# The package without its __init__, which imports torch. The first argument is one of its files.
sources = Path(sys.argv[1]).parents[2]
for name in ("mutransfer", "mutransfer.studies"):
    package = types.ModuleType(name)
    package.__path__ = [str(sources / name.replace(".", "/"))]
    sys.modules[name] = package
"""
