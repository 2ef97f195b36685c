"""What the user names as ``module:function``: found beside the experiment file, or installed.

A module beside the file is loaded under a private name, so a ``random.py`` there neither replaces nor is replaced by
the standard one, and two experiments may both have a ``model.py``. It may import its neighbours, at its top: the
folder stands at the end of the import path while the module loads.
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from paretune.spaces.errors import ConfigurationError, ModelRefused, ParetuneError
from paretune.spaces.suggest import nearest

_NAMES = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*"
_REFERENCE = re.compile(rf"({_NAMES}):({_NAMES})")
_FILE_ENDINGS = (".keras", ".h5", ".hdf5", ".npz", ".tflite", ".yaml", ".yml")


def is_function_reference(text: str) -> bool:
    """Say whether ``text`` has the form ``module:function``; both parts may be dotted.

    File names, drives (``C:model``, ``C:/model.keras``) and data sets by name (``keras:mnist``) are no references.
    """
    match = _REFERENCE.fullmatch(text)
    if match is None or text.lower().endswith(_FILE_ENDINGS):
        return False
    module = match[1]
    return module != "keras" and not (len(module) == 1 and module.isupper())


def resolve_function(reference: str, beside: Path) -> Callable[..., Any]:
    """Return the function that ``module:function`` names; see :func:`resolve_named`.

    Raises:
        ConfigurationError: The module or function does not exist, cannot be imported or called.
    """
    found = resolve_named(reference, beside)
    if not callable(found):
        module_name, function_path = _split(reference)
        module = _import(reference, module_name, beside.resolve())
        raise ConfigurationError(
            f"'{reference}' must name a function, but '{function_path}' in {_whereabouts(module)} "
            f"is of type {type(found).__name__}."
        )
    function: Callable[..., Any] = found
    return function


def resolve_named(reference: str, beside: Path) -> Any:
    """Return what ``module:function`` names, whether it can be called or not.

    The module is ``module.py`` or a package in the folder ``beside``; else an installed one. Each file is imported
    once per process.

    Args:
        reference: Such as ``my_models:build`` or ``paretune.objectives.zoo:digits_resnet``.
        beside: Folder of the experiment file.

    Raises:
        ConfigurationError: The module or what it is to hold does not exist, or cannot be imported.
    """
    module_name, function_path = _split(reference)
    module = _import(reference, module_name, beside.resolve())
    found: Any = module
    for part in function_path.split("."):
        if not hasattr(found, part):
            known = [name for name, value in vars(found).items() if callable(value) and not name.startswith("_")]
            raise ConfigurationError(
                f"'{reference}' needs a function '{function_path}', which {_whereabouts(module)} does not define."
                + nearest(part, known)
            )
        found = getattr(found, part)
    return found


@contextmanager
def refused_if_it_raises(what: str) -> Iterator[None]:
    """Turn whatever the user's own code raises into one line about ``what``.

    Raises:
        ModelRefused: Names the error; Paretune's own errors pass.
    """
    try:
        yield
    except ParetuneError:
        raise
    except Exception as error:
        raise ModelRefused(f"{what} raised {type(error).__name__}: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Return the line of an error's message that says what is wrong.

    It is the first, unless that only announces what follows, as TensorFlow's ``in user code:`` does.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()]
    telling = [line for line in lines if line and not line.startswith("[[")]  # not the nodes of a graph
    if not telling:
        return ""
    line = telling[-1] if telling[0].endswith(":") else telling[0]
    return line.removeprefix(f"{type(error).__name__}: ")


def function_digest(reference: str, beside: Path) -> str:
    """Return the SHA-256 of the source that ``module:function`` names, without running any of it.

    It covers the module's own file, or every ``.py`` file of a package; what they import is not followed.

    Raises:
        ConfigurationError: The module does not exist or has no source file.
    """
    module_name, _ = _split(reference)
    source = _source_beside(module_name, beside.resolve()) or _installed_source(reference, module_name, beside)
    files = sorted(source.rglob("*.py")) if source.is_dir() else [source]
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        name = file.relative_to(source).as_posix() if source.is_dir() else file.name
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


def _split(reference: str) -> tuple[str, str]:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise ConfigurationError(f"A function is named as `module:function`, got '{reference}'.")
    return match[1], match[2]


def _source_beside(module_name: str, beside: Path) -> Path | None:
    """Return the file, or the folder of the package, that a dotted module name stands for in ``beside``."""
    place = beside.joinpath(*module_name.split("."))
    if place.with_name(place.name + ".py").is_file():
        return place.with_name(place.name + ".py")
    return place if (place / "__init__.py").is_file() else None


def _import(reference: str, module_name: str, beside: Path) -> ModuleType:
    local = _source_beside(module_name, beside) is not None
    if not local and _find_installed(module_name) is None:
        raise _missing_module(reference, module_name, beside)
    try:
        return _import_beside(module_name, beside) if local else importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        place = _place_of_error(error)
        reason = str(error).strip().partition("\n")[0]
        raise ConfigurationError(
            f"Importing '{module_name}' of '{reference}' failed with {type(error).__name__}: {reason} ({place})."
        ) from error


def _import_beside(module_name: str, beside: Path) -> ModuleType:
    """Import a module of the folder under a private name, each of its parent packages first."""
    parts = module_name.split(".")
    root = f"_beside_{hashlib.sha256(str(beside).encode()).hexdigest()[:12]}_{parts[0]}"
    with _importable(beside):
        for depth in range(1, len(parts) + 1):
            private = ".".join([root, *parts[1:depth]])
            if private not in sys.modules:
                _load(private, beside.joinpath(*parts[:depth]))
    return sys.modules[".".join([root, *parts[1:]])]


def _load(private: str, place: Path) -> None:
    """Run the source of ``place`` (a module without its ending, or a package's folder) as module ``private``."""
    spec: ModuleSpec | None
    file = place.with_name(place.name + ".py")
    if file.is_file():
        spec = importlib.util.spec_from_file_location(private, file)
    elif (place / "__init__.py").is_file():
        locations = [str(place)]
        spec = importlib.util.spec_from_file_location(
            private, place / "__init__.py", submodule_search_locations=locations
        )
    else:  # a plain folder on the way to a module
        spec = ModuleSpec(private, None, is_package=True)
        spec.submodule_search_locations = [str(place)]
    if spec is None:
        raise ImportError(f"no loader for {place}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[private] = module
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[private]
        raise


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let modules import their neighbours: last in line, so that no installed or standard module is shadowed."""
    entry = str(folder)
    added = entry not in sys.path
    if added:
        sys.path.append(entry)
    try:
        yield
    finally:
        if added and entry in sys.path:
            sys.path.remove(entry)


def _find_installed(module_name: str) -> ModuleSpec | None:
    """Find an installed module without importing its parent packages."""
    parts = module_name.split(".")
    path = None
    spec = None
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        finders = (finder.find_spec for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((found for find in finders if (found := find(name, path)) is not None), None)
        if spec is None or (depth < len(parts) and spec.submodule_search_locations is None):
            return None
        path = spec.submodule_search_locations
    return spec


def _installed_source(reference: str, module_name: str, beside: Path) -> Path:
    spec = _find_installed(module_name)
    if spec is None:
        raise _missing_module(reference, module_name, beside.resolve())
    if spec.origin is None or not spec.origin.endswith(".py"):
        raise ConfigurationError(
            f"'{reference}' must be in a Python source file, but '{module_name}' has none ({spec.origin})."
        )
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations is not None else origin


def _missing_module(reference: str, module_name: str, beside: Path) -> ConfigurationError:
    known = [file.stem for file in beside.glob("*.py")] if beside.is_dir() else []
    return ConfigurationError(
        f"Module '{module_name}' of '{reference}' is neither in {beside} nor installed.{nearest(module_name, known)}"
    )


def _place_of_error(error: BaseException) -> str:
    """Return file and line where an import failed: the innermost that is the user's, or the bad line itself."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}, line {error.lineno}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename != __file__ and not frame.filename.startswith("<")
    ]
    ours = [frame for frame in frames if "site-packages" not in frame.filename and "importlib" not in frame.filename]
    chosen = (ours or frames or traceback.extract_tb(error.__traceback__))[-1]
    return f"{chosen.filename}, line {chosen.lineno}"


def _whereabouts(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or f"module '{module.__name__}'"
