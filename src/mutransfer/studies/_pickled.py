"""Studies as bytes, which another process can read."""

from __future__ import annotations

import importlib
import pickle
import sys
from importlib.util import find_spec

from ..core import MutransferError, needs
from ._study import Study


def pickled(study: Study) -> bytes:
    """Return a study as bytes, with what other processes cannot import by name.

    Raises:
        MutransferError: cloudpickle is not installed, or the study cannot be pickled.
    """
    with needs("training in other processes", "cloudpickle", "processes"):
        import cloudpickle
    names = {getattr(each, "__module__", None) for each in (study.build, study.train, study.task)}
    modules = [sys.modules[name] for name in names if name in sys.modules]
    foreign = [module for module in modules if not _is_importable(module.__name__)]
    for module in foreign:
        cloudpickle.register_pickle_by_value(module)
    try:
        data: bytes = cloudpickle.dumps(study)
    except Exception as error:
        raise MutransferError(
            f"the study cannot be sent to other processes ({type(error).__name__}: {error})"
        ) from error
    finally:
        for module in foreign:
            cloudpickle.unregister_pickle_by_value(module)
    return data


def unpickled(data: bytes, path: tuple[str, ...]) -> Study:
    """Return the study of these bytes.

    Args:
        data: What `pickled` returned.
        path: Where the sender finds its modules; what is missing here is added.
    """
    sys.path.extend(place for place in path if place not in sys.path)
    importlib.invalidate_caches()
    study: Study = pickle.loads(data)
    return study


def _is_importable(name: str) -> bool:
    if name == "__main__":
        # Functions of the main module travel by value in any case.
        return True
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):
        return False
