"""Settings of files that name classes: the same check for arch.json, config.yaml, studies, tables and bundles.

`nas.utils.locate.locate` decides which class a path may name; this module walks through settings and asks it, before
anything is constructed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import EllipsisType
from typing import Any, get_args, get_origin

from nas.errors import NASError
from nas.utils.annotations import shown
from nas.utils.checked import class_in, signature_of
from nas.utils.foreign import require_shallow
from nas.utils.locate import locate

TARGET = "_target_"
IGNORED = ("_convert_", "_recursive_")  # of Hydra's `instantiate`, in files of earlier versions
REFUSED = ("_args_", "_partial_")  # arguments without a name, functions that are called later
INTERPOLATION = "${"


def require_named(settings: Any, key: str, base: type, allow: Sequence[str]) -> None:
    """Check all classes that the settings of a file name, at any depth, and import them.

    Args:
        settings: A mapping with `_target_` and arguments, as plain values.
        key: Key of the settings, such as `data`, for messages.
        base: The class has to be a subclass of this one; those of arguments are subclasses of what the constructor
            declares, and an argument without a declared class names none.
        allow: Packages beside VoxNAS and installed plug-ins whose classes may be named, from the command line.

    Raises:
        NASError: For the first class that may not be named, interpolation, or key of Hydra that calls functions.
    """
    require_plain(settings, key)
    _check(settings, key, base, allow)


def require_plain(settings: Any, key: str) -> None:
    """Check that the settings of a file are values: nothing that is filled in from this machine when they are used.

    Args:
        settings: Plain values.
        key: Key of the settings, for messages.

    Raises:
        NASError: For the first interpolation such as `${oc.env:HOME}`, or if they are nested too deeply.
    """
    try:
        require_shallow(settings)
    except ValueError as error:
        raise NASError(f"{key}, {error}", "settings that a command wrote", "take an unedited file") from error
    _refuse_interpolations(settings, key)


def argument_hint(hint: Any) -> Any:
    """Return the annotation of the entries of a list or mapping.

    Args:
        hint: Annotation of the whole, such as `Sequence[Metric]`.

    Returns:
        That of an entry; `Any` if none is declared.
    """
    parts = [part for part in get_args(hint) if not isinstance(part, EllipsisType)]
    origin = get_origin(hint)
    return parts[-1] if parts and isinstance(origin, type) and issubclass(origin, Sequence | Mapping) else Any


def refuse_calls(settings: Mapping[str, Any], key: str) -> None:
    """Refuse the keys by which Hydra's `instantiate` would call functions.

    Args:
        settings: Settings with `_target_`.
        key: Their key, for messages.

    Raises:
        NASError: If there is such a key.
    """
    for name in REFUSED:
        if name in settings:
            raise NASError(f"{key}.{name}={shown(settings[name])}", "arguments by name", f"leave out {key}.{name}")


def _check(settings: Any, key: str, base: type, allow: Sequence[str]) -> None:
    if not isinstance(settings, Mapping) or not isinstance(settings.get(TARGET), str):
        raise NASError(f"{key}={shown(settings)}", f"settings with the _target_ of a {base.__name__}", f"correct {key}")
    refuse_calls(settings, key)
    cls: type = locate(settings[TARGET], base, allow=allow)
    known, _ = signature_of(cls)
    for name, value in settings.items():
        if name != TARGET and name not in IGNORED:
            _check_value(value, f"{key}.{name}", known[name].hint if name in known else Any, allow)


def _check_value(value: Any, key: str, hint: Any, allow: Sequence[str]) -> None:
    if isinstance(value, Mapping):
        if TARGET in value:
            base = class_in(hint)
            if base is None:
                raise NASError(f"{key} with a _target_", "a value, as no class is declared here", f"correct {key}")
            _check(value, key, base, allow)
            return
        for name, part in value.items():
            _check_value(part, f"{key}.{name}", argument_hint(hint), allow)
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _check_value(part, f"{key}.{number}", argument_hint(hint), allow)


def _refuse_interpolations(value: Any, key: str) -> None:
    if isinstance(value, str):
        if INTERPOLATION in value:
            raise NASError(
                f"{key}={shown(value)}",
                "a value; files from elsewhere hold no interpolations",
                f"write the value of {key}",
            )
    elif isinstance(value, Mapping):
        for name, part in value.items():
            _refuse_interpolations(name, key)
            _refuse_interpolations(part, f"{key}.{name}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            _refuse_interpolations(part, f"{key}.{number}")
