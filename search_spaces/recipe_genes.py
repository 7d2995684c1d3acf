"""Genes of a training recipe: settings with their choices, as a configuration states them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.architecture import Gene
from nas.errors import NASError
from nas.priors import weights_of

PARTS = ("training", "task", "data", "space")  # of the configuration, whose settings a recipe may hold
OPTIONS = ("choices", "ordered", "prior", "when", "value", "times")
FORM = "a list of choices, or choices with ordered, prior and when, or a value with factors (times)"
LEAF = ("choices", "times")  # one of these distinguishes the options of a setting from further settings
DIGITS = 4  # significant digits of choices that are multiples of a value
Settings = Mapping[str, Any]  # dotted key -> value


@dataclass(frozen=True)
class RecipeGene:
    """One decision on how networks are trained.

    Args:
        gene: Its name and the labels of its choices.
        settings: For each choice the settings that it stands for.
        bundle: Whether the choices are named and stand for several settings each.
        when: Gene -> the choices of it with which this one is used; empty if it always is.
    """

    gene: Gene
    settings: tuple[Settings, ...]
    bundle: bool = False
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def keys(self) -> set[str]:
        """The settings that it decides."""
        return {key for one in self.settings for key in one}

    @property
    def changes_network(self) -> bool:
        """Whether one of its settings is an argument of the networks' space."""
        return any(key.partition(".")[0] == "space" for key in self.keys)

    @property
    def _values(self) -> list[Any]:
        return [next(iter(one.values())) for one in self.settings]

    @property
    def recorded(self) -> dict[str, Any]:
        """The gene as JSON values, without its prior."""
        gene = self.gene
        named = zip(gene.choices, self.settings, strict=True)
        choices: Any = {str(label): dict(one) for label, one in named} if self.bundle else self._values
        own = {"name": gene.name, "choices": choices, "ordered": gene.ordinal}
        return own | ({"when": {name: list(values) for name, values in self.when.items()}} if self.when else {})


def read_recipe(recipe: Any) -> tuple[RecipeGene, ...]:
    """Read the genes of a recipe.

    Args:
        recipe: Settings nested as in the configuration, or by dotted keys. Each is a list of choices, or a mapping with
            `choices` and perhaps `ordered` (whether neighbouring choices are alike; by default for numbers in rising or
            falling order), `prior` (the best value, or a weight for each choice) and `when` (gene -> choices with which
            the setting is used), or with `value` and `times`: the choices are a value, the centre of the prior, times
            factors. Choices with names stand for several settings each. Or the recorded form, a list of such mappings
            with a `name`.

    Returns:
        The genes in their order.

    Raises:
        NASError: If an entry has another form, there is none, or two decide the same setting.
    """
    if isinstance(recipe, Mapping):
        leaves = list(_leaves(recipe))
    elif isinstance(recipe, Sequence) and all(isinstance(one, Mapping) and "name" in one for one in recipe):
        leaves = [(str(one["name"]), {key: value for key, value in one.items() if key != "name"}) for one in recipe]
    else:
        raise NASError(f"recipe={recipe!r:.80}", "settings with their choices", "choose a file of conf/recipe")
    genes = tuple(_gene(name, leaf) for name, leaf in leaves)
    if not genes:
        raise NASError("a recipe without settings", "at least one with its choices", "leave out recipe=...")
    owner: dict[str, str] = {}
    for one in genes:
        for key in sorted(one.keys):
            if key in owner:
                raise NASError(
                    f"recipe.{owner[key]} and recipe.{one.gene.name}, which both set {key}",
                    "one entry for each setting",
                    f"remove one of the two: ~recipe.{one.gene.name}",
                )
            owner[key] = one.gene.name
    return genes


def _leaves(node: Mapping[Any, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping) and not any(option in value for option in LEAF):
            yield from _leaves(value, f"{path}.")
        elif value is not None:  # null removes an entry
            yield path, value


def _gene(name: str, leaf: Any) -> RecipeGene:
    leaf = {"choices": leaf} if _is_list(leaf) else leaf
    if not isinstance(leaf, Mapping):
        raise NASError(f"recipe.{name}={leaf!r:.60}", FORM, f"recipe.{name}=[{leaf}], to fix it to this value")
    for option in leaf:
        if option not in OPTIONS:
            raise NASError(f"recipe.{name}.{option}", f"one of {', '.join(OPTIONS)}", f"leave out {option}")
    if "times" in leaf:
        leaf = {**leaf, **_multiples(name, leaf)}
    choices, when = leaf.get("choices"), {} if leaf.get("when") is None else leaf["when"]
    bundle = isinstance(choices, Mapping)
    if bundle:
        settings = [
            dict(_values({} if one is None else one, f"recipe.{name}.choices.{label}"))
            for label, one in choices.items()
        ]
        labels: list[Any] = [str(label) for label in choices]
    else:
        if not _is_list(choices):
            raise NASError(f"recipe.{name}.choices={choices!r:.60}", "a list", f"recipe.{name}.choices=[{choices}]")
        settings, labels = [{name: _plain(value)} for value in choices], [_label(value) for value in choices]
    _require_choices(name, labels)
    for key in {key for one in settings for key in one}:
        _require_setting(name, key)
    ordered = leaf.get("ordered")
    if not isinstance(ordered, bool | None) or not isinstance(when, Mapping):
        raise NASError(
            f"recipe.{name} with ordered={ordered!r} and when={when!r}",
            "true or false, and a mapping from genes to their choices",
            f"correct recipe.{name}",
        )
    gene = Gene(name, tuple(labels), ordinal=_is_scale(labels) if ordered is None else ordered)
    if leaf.get("prior") is not None:
        prior = leaf["prior"]
        label = _label(prior) if _is_list(prior) and _label(prior) in labels else prior
        gene = Gene(name, gene.choices, prior=weights_of(gene, label), ordinal=gene.ordinal)
    conditions = {
        str(other): tuple(map(_label, values if _is_list(values) else [values])) for other, values in when.items()
    }
    return RecipeGene(gene, tuple(settings), bundle, conditions)


def _multiples(name: str, leaf: Mapping[str, Any]) -> dict[str, Any]:
    """Return the choices around a value of the configuration, which is the centre of their prior."""
    value, factors = leaf.get("value"), leaf["times"]
    numbers = [one for one in (value, *(factors if _is_list(factors) else ())) if _is_number(one) and one > 0]
    if not _is_list(factors) or len(numbers) < 1 + len(factors) or 1 not in factors or "choices" in leaf:
        raise NASError(
            f"recipe.{name} with value={value!r} and times={factors!r}",
            "a number above 0, and factors above 0 with 1 among them",
            f"recipe.{name}.times=[0.5,1,2]",
        )
    if isinstance(value, int):
        choices: list[Any] = sorted({max(round(value * factor), 1) for factor in factors})
    else:
        choices = sorted({float(f"{value * factor:.{DIGITS}g}") for factor in factors if factor != 1} | {value})
    return {"choices": choices, "prior": leaf.get("prior", value)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _values(node: Mapping[Any, Any], where: str, above: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten the settings of a named choice to dotted keys."""
    if not isinstance(node, Mapping):
        raise NASError(f"{where}={node!r:.60}", "settings such as {training: {lr: 0.01}}", f"correct {where}")
    for name, value in node.items():
        path = f"{above}{name}"
        if isinstance(value, Mapping):
            yield from _values(value, where, f"{path}.")
        else:
            yield path, _plain(value)


def _require_choices(name: str, labels: Sequence[Any]) -> None:
    if not labels or len({(type(one), one) for one in labels}) < len(labels):
        raise NASError(
            f"the choices {list(labels)} of recipe.{name}", "at least one, each once", f"correct recipe.{name}"
        )


def _require_setting(name: str, key: str) -> None:
    part, _, setting = key.partition(".")
    if part not in PARTS or not setting:
        raise NASError(
            f"recipe.{name}, which sets {key}",
            f"a setting of {', '.join(PARTS)}, such as training.lr",
            "write the whole key, or name the choices: {choices: {weak: {training: {lr: 0.01}}}}",
        )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_scale(labels: Sequence[Any]) -> bool:
    """Whether the choices are numbers in rising or falling order."""
    numbers = [one for one in labels if _is_number(one)]
    return len(numbers) == len(labels) and numbers in (sorted(numbers), sorted(numbers, reverse=True))


def _label(value: Any) -> Any:
    """Return a choice as a value that a gene may have."""
    if value is None or _is_list(value) or isinstance(value, Mapping):
        return json.dumps(_plain(value))
    return value


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=list))
