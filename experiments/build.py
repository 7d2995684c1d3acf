"""From a part of the configuration to the object that it names; every argument is checked before any is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from omegaconf import Container, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nas.errors import NASError, first_line
from nas.utils.annotations import shown
from nas.utils.checked import check_arguments, class_in, signature_of
from nas.utils.locate import locate
from nas.utils.named import IGNORED, TARGET, argument_hint, refuse_calls, require_named

T = TypeVar("T")
MISSING = "???"


def build(config: Any, key: str, base: type[T], allow: Sequence[str] | None = None, **given: Any) -> T:
    """Check a part of the configuration and construct its object, the objects in it first.

    Args:
        config: A mapping with `_target_` and arguments, from OmegaConf or plain.
        key: Key of the part in the configuration, such as `strategy`, for messages.
        base: The class has to be a subclass of this one.
        allow: Packages beside VoxNAS whose classes a file may name (`allow_packages`), or None for the configuration of
            the command itself, which may name any class.
        **given: Arguments that the program computes; they replace those of the configuration.

    Returns:
        The object.

    Raises:
        NASError: If the class may not be imported or is no such subclass, or for the first unknown, missing or invalid
            argument, with its key as typed.
    """
    settings = _plain(config, key)
    if allow is not None:
        require_named(settings, key, base, allow)
    return _build(settings, key, base, allow, given)


def check(
    config: Any,
    key: str,
    base: type,
    allow: Sequence[str] | None = None,
    computed: Sequence[str] = (),
    *,
    construct: bool = False,
) -> None:
    """Check a part of the configuration as `build` does, before the data are there.

    Args:
        config: A mapping with `_target_` and arguments, from OmegaConf or plain.
        key: Key of the part in the configuration, for messages.
        base: The class has to be a subclass of this one.
        allow: See `build`.
        computed: Names of arguments that the program computes later.
        construct: Whether the object is constructed too, so that checks of several arguments together run.

    Raises:
        NASError: For the first setting that is wrong.
    """
    checked: tuple[Any, dict[str, Any]] = _checked(_plain(config, key), key, base, allow, {}, computed)
    if construct:
        checked[0](**checked[1])


def _build(settings: Any, key: str, base: type[T], allow: Sequence[str] | None, given: Mapping[str, Any]) -> T:
    cls, arguments = _checked(settings, key, base, allow, given)
    return cls(**arguments)


def _checked(
    settings: Any,
    key: str,
    base: type[T],
    allow: Sequence[str] | None,
    given: Mapping[str, Any],
    computed: Sequence[str] = (),
) -> tuple[type[T], dict[str, Any]]:
    if not isinstance(settings, Mapping) or not isinstance(settings.get(TARGET), str):
        given_target = isinstance(settings, Mapping) and TARGET in settings
        raise NASError(
            f"{key}.{TARGET}={shown(settings[TARGET])}" if given_target else f"{key}={shown(settings)}",
            f"settings with the _target_ of a {base.__name__}",
            f"choose a file of conf/{key}, as {key}=<name>" if "." not in key else f"leave {key} as in conf/",
        )
    if not all(part.isidentifier() for part in settings[TARGET].split(".")) or "." not in settings[TARGET]:
        raise NASError(
            f"{key}.{TARGET}={shown(settings[TARGET])}",
            f"the dotted path of a {base.__name__}",
            f"leave {key}.{TARGET} as in conf/",
        )
    refuse_calls(settings, key)
    cls: Any = locate(settings[TARGET], base, allow=allow)
    known, _ = signature_of(cls)
    arguments = {}
    for name, value in settings.items():
        if name != TARGET and name not in IGNORED and value != MISSING:
            hint = known[name].hint if name in known else Any
            arguments[str(name)] = _value(value, f"{key}.{name}", hint, allow)
    return cls, check_arguments(cls, {**arguments, **given}, key, computed)


def _value(value: Any, key: str, hint: Any, allow: Sequence[str] | None) -> Any:
    if isinstance(value, Mapping):
        if TARGET in value:
            return _build(value, key, class_in(hint) or object, allow, {})
        return {name: _value(part, f"{key}.{name}", argument_hint(hint), allow) for name, part in value.items()}
    if isinstance(value, list):
        return [_value(part, f"{key}.{number}", argument_hint(hint), allow) for number, part in enumerate(value)]
    return value


def _plain(config: Any, key: str) -> Any:
    if not isinstance(config, Container):
        return config
    try:
        return OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise NASError(
            f"{key} ({first_line(error)})", "values that can be filled in", f"set the value in {key}"
        ) from error
