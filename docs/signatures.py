"""Signatures of the API reference as a reader needs them: values of defaults, types without their checks."""

from __future__ import annotations

from typing import Any

import griffe


class ReadableSignatures(griffe.Extension):
    """Show the value of a constant that is a default, and `X` for `Annotated[X, ...]`."""

    def on_function(self, *, func: griffe.Function, loader: griffe.GriffeLoader, **kwargs: Any) -> None:
        """Change the parameters of a function once all modules are loaded.

        Args:
            func: The function.
            loader: Loader of the modules.
            **kwargs: Not used.
        """
        for parameter in func.parameters:
            parameter.annotation = _plain(parameter.annotation, loader.modules_collection)
            parameter.default = _value(parameter.default, loader.modules_collection)


def _plain(annotation: str | griffe.Expr | None, loaded: griffe.ModulesCollection) -> str | griffe.Expr | None:
    """Return an annotation without `Annotated`, also within it and behind a name such as `PositiveInt`."""
    if isinstance(annotation, griffe.ExprName):
        meant = _constant(annotation, loaded)
        return _plain(meant, loaded) if isinstance(meant, griffe.ExprSubscript) and _is_annotated(meant) else annotation
    if isinstance(annotation, griffe.ExprSubscript):
        if _is_annotated(annotation) and isinstance(annotation.slice, griffe.ExprTuple):
            return _plain(annotation.slice.elements[0], loaded)
        annotation.slice = _plain(annotation.slice, loaded) or annotation.slice
    elif isinstance(annotation, griffe.ExprBinOp):
        annotation.left = _plain(annotation.left, loaded) or annotation.left
        annotation.right = _plain(annotation.right, loaded) or annotation.right
    elif isinstance(annotation, griffe.ExprTuple):
        annotation.elements = [_plain(one, loaded) or one for one in annotation.elements]
    return annotation


def _is_annotated(subscript: griffe.ExprSubscript) -> bool:
    return subscript.canonical_name == "Annotated"


def _constant(name: griffe.ExprName, loaded: griffe.ModulesCollection) -> str | griffe.Expr | None:
    """Return the value of a module's attribute; None for a class, a function, or a name from elsewhere."""
    try:
        found = loaded[name.canonical_path]
    except (griffe.AliasResolutionError, KeyError):
        return None
    return found.value if found.is_attribute else None


def _value(default: str | griffe.Expr | None, loaded: griffe.ModulesCollection) -> str | griffe.Expr | None:
    """Return the value of a constant of these packages; other defaults as they are."""
    if isinstance(default, griffe.ExprName) and default.name.isupper():
        return _constant(default, loaded) or default
    return default
