"""`arch.json`: a found architecture as a small file that builds exactly the network that was scored."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture, Gene
from nas.drawing.architecture_svg import draw
from nas.errors import NASError
from nas.provenance import Provenance
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.utils.checked import class_in, signature_of
from nas.utils.files import read_json
from nas.utils.foreign import require_modest
from nas.utils.locate import locate
from nas.utils.sealed import SEAL, is_damaged, write_sealed

if TYPE_CHECKING:
    from torch import nn

SCHEMA = 2
OWN_SPACES = "search_spaces"
MOST_GENES = 10_000  # of a space that a file describes
MOST_PARAMETERS = 2**30  # of a network; 4 GiB in fp32


@dataclass(frozen=True)
class Artifact:
    """An architecture with its space, the task it was scored on, the metrics as measured, and its provenance.

    Args:
        space: The space.
        arch: The architecture.
        task: The task that the networks are for.
        metrics: Metrics by name, as the search measured them.
        provenance: Origin of the architecture: a publication or a search.
        weights: Makes the network with the weights that a search of this program kept; None if there are none.
    """

    space: SearchSpace
    arch: Architecture
    task: TaskSpec
    metrics: Mapping[str, float] = field(default_factory=dict)
    provenance: Provenance = field(default_factory=Provenance)
    weights: Callable[[], nn.Module] | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Its name in tables: the published name, else "searched" and the id."""
        return self.provenance.published or f"searched {self.arch.id}"

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Settings by which the architecture is trained, of a joint search; empty for other architectures."""
        return self.space.recipe(self.arch)

    def build(self, task: TaskSpec | None = None) -> nn.Module:
        """Build the network, with new weights.

        Args:
            task: If None, the task that the architecture was scored on.

        Returns:
            The network.

        Raises:
            NASError: If it has more than `MOST_PARAMETERS` parameters.
        """
        import torch  # here, as an arch.json is also read without it

        task = task or self.task
        with torch.device("meta"):  # counts without memory; the architecture may come from a file
            count = sum(weight.numel() for weight in self.space.build(self.arch, task).parameters())
        if count > MOST_PARAMETERS:
            raise NASError(
                f"a network of {count:.3g} parameters ({self.arch.id})",
                f"at most {MOST_PARAMETERS:.3g}",
                "use a smaller architecture",
            )
        return self.space.build(self.arch, task)

    def model(self) -> nn.Module:
        """Return the network with the weights of its best epoch in the search, in evaluation mode on the CPU.

        Returns:
            The network.

        Raises:
            NASError: If there are no weights, or they cannot be read.
        """
        if self.weights is None:
            raise NASError(
                f"no weights of {self.arch.id}",
                "an architecture of nas.run_search",
                "build() makes a network with new weights; nas.retrain(...).model() is a trained one",
            )
        return self.weights().eval()

    def _repr_html_(self) -> str:
        """Show drawing and metrics in a notebook."""
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in self.metrics.items())
        title = f"{self.arch.space} {self.arch.id}" + (f": {metrics}" if metrics else "")
        return f"<p>{escape(title)}</p>{draw(self.space, self.arch, self.task)}"

    @property
    def searched_space(self) -> SearchSpace:
        """The space of the search, if the training changed its arguments."""
        own = self.provenance.searched_space
        return self.space if own is None else self.space.with_arguments(own)

    def save(self, path: str | Path) -> None:
        """Write `arch.json`.

        Args:
            path: The file. Missing folders are made.
        """
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "space": {"class": self.space.class_path, "arguments": self.space.arguments},
            "genes": list(self.arch.genes),
            "id": self.arch.id,
            "task": asdict(self.task),
            "metrics": dict(self.metrics),
            "picture": self.space.describe(self.arch).splitlines(),
            "provenance": self.provenance.to_json(),
        }
        if self.recipe:
            content["recipe"] = dict(self.recipe)
        write_sealed(path, content)


def import_space(class_path: str, allow: Sequence[str] = ()) -> type[SearchSpace]:
    """Import the class of a search space.

    Args:
        class_path: Dotted path of the class.
        allow: Packages beside `search_spaces` whose spaces may be imported.

    Returns:
        The class.

    Raises:
        NASError: If the package is not trusted, or there is no such space in it.
    """
    return locate(class_path, SearchSpace, packages=(OWN_SPACES,), allow=allow)


def load(path: str | Path, allow: Sequence[str] = ()) -> Artifact:
    """Read `arch.json`.

    Args:
        path: The file.
        allow: Packages beside `search_spaces` whose spaces may be imported.

    Returns:
        The architecture with its space.

    Raises:
        NASError: If the file is missing, is no valid JSON, has a newer schema, or names a class that is not allowed;
            if the genes are no point of the space; or if the id or the checksum does not fit, because the file is
            damaged or was edited.
    """
    content = _read(Path(path))
    try:
        space_class = import_space(str(content["space"]["class"]), allow)
        arguments, genes, stored_id = content["space"]["arguments"], content["genes"], content["id"]
        task = TaskSpec(**content["task"])
        metrics = _metrics(content["metrics"])
        provenance = Provenance.from_json(content["provenance"], content["schema"])
        require_modest(arguments, str(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise NASError(
            f"{path} without {error}", "a complete arch.json", "take the file that run_search.py wrote"
        ) from error
    try:
        space = space_class(**_with_spaces(space_class, arguments, allow))
        require_few_genes(space)
    except TypeError as error:
        raise NASError(
            f"space arguments in {path} ({error})", f"those of {space_class.__name__}", "undo the edit"
        ) from error
    except NASError as error:
        raise NASError(f"{error.got} in {path}", error.expected, "undo the edit") from error
    if not isinstance(genes, list):
        raise NASError(f"genes {genes!r} in {path}", "a list of whole numbers", "undo the edit")
    arch = space.architecture(genes)
    if arch.id != stored_id:
        raise NASError(
            f"id {stored_id!r} in {path}, but {arch.id!r} from genes and space",
            "an unedited file",
            "undo the edit, or make a new file with Artifact(space, space.architecture(genes), task).save(path)",
        )
    if "recipe" in content and content["recipe"] != json.loads(json.dumps(dict(space.recipe(arch)))):
        raise NASError(
            f"another recipe in {path} than that of its genes",
            "an unedited file",
            "undo the edit; settings of the command line replace those of the recipe: training.lr=0.01",
        )
    if is_damaged(Path(path), content):
        raise NASError(
            f"{path}, whose content does not match its checksum ({SEAL})",
            "the file as the search wrote it",
            f"copy it again; after a change on purpose, remove {SEAL} from the file",
        )
    return Artifact(space, arch, task, metrics, provenance)


def _with_spaces(space_class: type[SearchSpace], arguments: Mapping[str, Any], allow: Sequence[str]) -> dict[str, Any]:
    """Build the spaces among the recorded arguments of a space, such as that of the networks of a joint space."""
    known, _ = signature_of(space_class)
    found = dict(arguments)
    for name, value in arguments.items():
        declared = known[name].hint if name in known else None
        if isinstance(value, dict) and set(value) == {"class", "arguments"} and class_in(declared) is SearchSpace:
            inner = import_space(str(value["class"]), allow)
            found[name] = inner(**_with_spaces(inner, value["arguments"], allow))
    return found


def _metrics(recorded: Any) -> dict[str, float]:
    """Check the metrics of a file: a number for each name."""
    if not isinstance(recorded, dict):
        raise TypeError(f"metrics as an object, but {recorded!r:.40}")
    for name, value in recorded.items():
        if isinstance(value, bool) or not isinstance(value, int | float | None):
            raise TypeError(f"a number as metrics.{name:.40}, but {value!r:.40}")
    return recorded


def require_few_genes(space: SearchSpace) -> None:
    """Check the size of a space that a file describes.

    Args:
        space: The space.

    Raises:
        NASError: If it has more than `MOST_GENES` genes.
    """
    if len(space.genes) > MOST_GENES:
        raise NASError(f"a space of {len(space.genes)} genes", f"at most {MOST_GENES}", "correct its arguments")


def _read(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise NASError(f"{path} ({error})", "an arch.json", "check the path; run_search.py writes the file") from error
    schema = content.get("schema") if isinstance(content, dict) else None
    if not isinstance(schema, int) or schema < 1:
        raise NASError(f"{path} without a schema number", f"schema {SCHEMA}", "take the file that run_search.py wrote")
    if schema > SCHEMA:
        raise NASError(f"schema {schema} in {path}", f"schema {SCHEMA} or older", "update voxnas")
    return content


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """Identification of a search space that a study records.

    Args:
        fingerprint: Fingerprint of the space.
        genes: Its genes.
        class_path: Dotted path of its class; empty if only fingerprint and genes are known.
        arguments: Constructor arguments; None if only fingerprint and genes are known.
    """

    fingerprint: str
    genes: tuple[Gene, ...]
    class_path: str = ""
    arguments: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, space: SearchSpace) -> SpaceFacts:
        """Return the facts of a space.

        Args:
            space: The space.

        Returns:
            The facts.
        """
        return cls(space.fingerprint, tuple(space.genes), space.class_path, space.arguments)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SpaceFacts:
        """Read facts from JSON values.

        Args:
            content: Result of `to_json`.

        Returns:
            The facts.

        Raises:
            NASError: If an entry is missing or of another type.
        """
        try:
            genes = tuple(Gene(gene["name"], tuple(gene["choices"]), gene["ordered"]) for gene in content["genes"])
            return cls(content["fingerprint"], genes, content["class"], content["arguments"])
        except (KeyError, TypeError) as error:
            raise NASError(
                f"the facts of a space without {error}", "class, arguments, fingerprint and genes", "undo the edit"
            ) from error

    def to_json(self) -> dict[str, Any]:
        """Return the facts as JSON values.

        Returns:
            Class, arguments, fingerprint and genes.
        """
        genes = [{"name": gene.name, "choices": list(gene.choices), "ordered": gene.ordered} for gene in self.genes]
        arguments = None if self.arguments is None else dict(self.arguments)
        return {
            "class": self.class_path,
            "arguments": arguments,
            "fingerprint": self.fingerprint,
            "genes": genes,
        }

    def build(self, allow: Sequence[str] = ()) -> SearchSpace:
        """Build the space.

        Args:
            allow: Packages beside `search_spaces` whose spaces may be imported.

        Returns:
            The space.

        Raises:
            NASError: If the class is not trusted, is missing, or makes another space in this version.
        """
        space_class = import_space(self.class_path, allow)
        require_modest(self.arguments or {}, "the facts of a space")
        try:
            space = space_class(**_with_spaces(space_class, self.arguments or {}, allow))
            require_few_genes(space)
        except TypeError as error:
            raise NASError(f"space arguments ({error})", f"those of {self.class_path}", "undo the edit") from error
        except NASError as error:
            raise NASError(f"{error.got} as recorded", error.expected, "undo the edit") from error
        if space.fingerprint != self.fingerprint:
            raise NASError(
                f"the space {space.fingerprint} from {self.class_path}",
                f"{self.fingerprint}, as recorded",
                "use the version of the space that made the study",
            )
        return space
