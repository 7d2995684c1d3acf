"""Check of constructor arguments against the types and ranges that their annotations declare, by pydantic.

One declaration serves both doors: `check_arguments` checks a configuration under the key that the user typed, and the
class decorator `checked` refuses the same values when a class is constructed in Python.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from functools import cache, wraps
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge
from pydantic import ConfigDict, Strict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from nas.errors import NASError
from nas.utils.annotations import PLAIN, Rule, describe, own_limits, shown

T = TypeVar("T")
CONFIG = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
UNNAMED = (Any, object, list, dict, tuple)  # no classes of objects


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor.

    Args:
        hint: Its annotation.
        required: Whether it has no default.
        default: Its default.
        accepts: Test of a value.
    """

    hint: Any
    required: bool
    default: Any
    accepts: Callable[[Any], bool]


def check_arguments(
    cls: type, arguments: Mapping[str, Any], prefix: str = "", computed: Sequence[str] = ()
) -> dict[str, Any]:
    """Check keyword arguments against the annotations of a constructor.

    Args:
        cls: Class or dataclass that is to be constructed.
        arguments: Keyword arguments. A mapping for an argument that is a dataclass is checked and constructed.
        prefix: Key of the class in the configuration, put before the names of arguments in messages.
        computed: Arguments that are computed later and may be missing.

    Returns:
        The arguments, unchanged except for constructed dataclasses.

    Raises:
        NASError: For the first unknown, missing or invalid argument.
    """
    known, open_ended = signature_of(cls)
    dotted = {name: f"{prefix}.{name}" if prefix else name for name in (*arguments, *known)}
    for name, value in arguments.items():
        if name not in known and not open_ended:
            close = get_close_matches(name, known, n=1)
            raise NASError(
                f"{dotted[name]}={shown(value)}",
                f"one of {', '.join(known) or 'no arguments'}",
                f"write {dotted[close[0]]}" if close else f"leave out {dotted[name]}",
            )
    checked_values = dict(arguments)
    for name, argument in known.items():
        key = dotted[name]
        if name not in arguments:
            if argument.required and name not in computed:
                raise NASError(f"no {key}", describe(argument.hint), f"set {key}")
            continue
        value = arguments[name]
        part = class_in(argument.hint)
        if part is not None and is_dataclass(part) and isinstance(value, Mapping):
            value = checked_values[name] = part(**check_arguments(part, value, key))
        of_entries = _mapping_in(argument.hint)
        if of_entries is not None and isinstance(value, Mapping):
            for entry, entry_value in value.items():
                check_value(f"{key}.{entry}", entry_value, _entry_of(of_entries))
        check_value(key, value, argument)
    return checked_values


def _mapping_in(hint: Any) -> Any:
    """Return the annotation of a mapping in one such as `Mapping[str, float] | None`; None without one."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Mapping:
        return hint if len(parts) == 2 else None
    if origin in (Annotated, Union, types.UnionType):
        inner = parts[:1] if origin is Annotated else parts
        return next((found for found in map(_mapping_in, inner) if found is not None), None)
    return None


@cache
def _entry_of(hint: Any) -> Argument:
    """Return the declaration of one entry of a mapping."""
    of_entry = get_args(hint)[1]
    return Argument(of_entry, True, None, _test_of(of_entry))


def check_value(key: str, value: Any, argument: Argument) -> None:
    """Check one argument of a constructor.

    Args:
        key: Key of the argument in the configuration, for messages.
        value: Its value.
        argument: Its declaration, from `signature_of`.

    Raises:
        NASError: If the value is of the wrong type or out of range.
    """
    if not argument.accepts(value):
        raise NASError(f"{key}={shown(value)}", describe(argument.hint, value), advice(key, argument, value))


def checked(key: str) -> Callable[[type[T]], type[T]]:
    """Decorate a class so that its constructor checks its arguments first.

    Args:
        key: Key of the class in the configuration, put before the names of arguments in messages.

    Returns:
        The decorator, which returns the class itself.
    """

    def decorate(cls: type[T]) -> type[T]:
        construct = cls.__init__
        parameters = list(inspect.signature(construct).parameters.values())[1:]
        names = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]

        @wraps(construct)
        def checked_construct(self: Any, *values: Any, **named: Any) -> None:
            given = dict(zip(names, values, strict=False))
            if len(values) > len(names) or set(given) & set(named):
                construct(self, *values, **named)  # Python's own TypeError
            construct(self, **check_arguments(cls, {**given, **named}, key))

        cls.__init__ = checked_construct  # type: ignore[method-assign]
        return cls

    return decorate


@cache
def signature_of(cls: type) -> tuple[Mapping[str, Argument], bool]:
    """Return the arguments of a constructor.

    Args:
        cls: The class.

    Returns:
        The arguments by name, and whether the constructor takes any others (`**kwargs`).
    """
    construct = cls.__init__  # type: ignore[misc]
    try:
        # of a dataclass the class, as annotations of a base are read in the module of that base
        hints = get_type_hints(cls if "__dataclass_fields__" in vars(cls) else construct, include_extras=True)
    except NameError:  # a class of another package with annotations that exist for type checkers only
        hints = {}
    known, open_ended = {}, construct is object.__init__ and cls.__new__ is not object.__new__
    parameters = {} if construct is object.__init__ else inspect.signature(construct).parameters
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif name != "self" and parameter.kind is not parameter.VAR_POSITIONAL:
            hint, required = hints.get(name, Any), parameter.default is parameter.empty
            known[name] = Argument(hint, required, parameter.default, _test_of(hint))
    return known, open_ended


def _test_of(hint: Any) -> Callable[[Any], bool]:
    try:
        adapter = TypeAdapter(_strict(hint), config=CONFIG)
    except PydanticSchemaGenerationError:  # an annotation of another package that pydantic does not know
        return lambda value: True

    def accepts(value: Any) -> bool:
        try:
            adapter.validate_python(_plain(value))
        except ValidationError:
            return False
        return True

    return accepts


def _strict(hint: Any) -> Any:
    """Return the annotation with lists accepted for tuples, and other classes only as instances."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return Annotated[(_strict(parts[0]), *parts[1:])]
    if origin is Literal:
        return Annotated[Any, Rule(lambda value: any(value == one and type(value) is type(one) for one in parts))]
    if origin in (Union, types.UnionType):
        return Union[tuple(map(_strict, parts))]  # noqa: UP007
    if origin is tuple:
        return Annotated[tuple[tuple(one if one is Ellipsis else _strict(one) for one in parts)], Strict(False)]  # type: ignore[misc]
    if origin is not None and parts and origin is not Callable:
        return origin[tuple(map(_strict, parts))]
    if inspect.isclass(hint) and hint not in PLAIN and hint not in UNNAMED:
        protocol = getattr(hint, "_is_protocol", False) and not getattr(hint, "_is_runtime_protocol", False)
        return Any if protocol else Annotated[Any, Rule(lambda value: isinstance(value, hint))]
    return hint


def _plain(value: Any) -> Any:
    """Return other sequences, mappings and NumPy values as lists, dicts and numbers, which strict checks know."""
    if isinstance(value, Mapping) and not isinstance(value, dict):
        return dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | list | tuple):
        return list(value)
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return value


def choices_of(hint: Any) -> list[object]:
    """Return the values that an annotation names one by one.

    Args:
        hint: The annotation, such as `Literal["a", "b"] | None`.

    Returns:
        The values; empty if there are too many to name.
    """
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Literal:
        return list(parts)
    if origin is Annotated:
        named = [choice for one in parts[1:] if isinstance(one, Rule) for choice in one.choices]
        return named or choices_of(parts[0])
    if origin in (Union, types.UnionType):
        return [choice for part in parts for choice in choices_of(part)]
    return []


def class_in(hint: Any) -> type | None:
    """Return the class of objects in an annotation such as `Augment | None`.

    Args:
        hint: The annotation.

    Returns:
        The class, or None for numbers, texts and lists.
    """
    if inspect.isclass(hint) and get_origin(hint) is None:
        return None if hint in PLAIN or hint in UNNAMED or hint is Path else hint
    if get_origin(hint) in (Annotated, Union, types.UnionType):
        parts = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
        return next((found for found in map(class_in, parts) if found is not None), None)
    return None


def advice(key: str, argument: Argument, value: Any = None) -> str:
    """Return the `fix` part of a message for an argument with a wrong value.

    Args:
        key: The key as typed.
        argument: The argument.
        value: The wrong value.

    Returns:
        A piece of advice.
    """
    if get_origin(argument.hint) is Annotated:
        bounds = own_limits(get_args(argument.hint)[1:], value)
        if len(bounds) == 1 and isinstance(bounds[0], Ge):
            return f"set {key} to {bounds[0].ge} or more"
    texts = [one for one in choices_of(argument.hint) if isinstance(one, str)]
    if isinstance(value, str) and (close := get_close_matches(value, texts, n=1)):
        return f"set {key} to {close[0]}"
    if argument.required or repr(argument.default) == "<factory>":
        return f"set {key} to such a value"
    return f"set {key} to such a value; the default is {shown(argument.default)}"
