"""What a study and a table record of their space: enough to read them without its code, and to build it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.architecture import Gene
from nas.artifact import import_space
from nas.errors import NASError
from nas.space import SearchSpace


@dataclass(frozen=True, slots=True)
class SpaceFacts:
    """class_path and arguments are empty where only the fingerprint and the genes are known."""

    fingerprint: str
    genes: tuple[Gene, ...]
    class_path: str = ""
    arguments: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, space: SearchSpace) -> SpaceFacts:
        return cls(space.fingerprint, tuple(space.genes), space.class_path, space.arguments)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> SpaceFacts:
        """Raises NASError for anything but what `to_json` gave."""
        try:
            genes = tuple(Gene(gene["name"], tuple(gene["choices"]), gene["ordered"]) for gene in content["genes"])
            return cls(content["fingerprint"], genes, content["class"], content["arguments"])
        except (KeyError, TypeError) as error:
            raise NASError(
                f"the facts of a space without {error}", "class, arguments, fingerprint and genes", "undo the edit"
            ) from error

    def to_json(self) -> dict[str, Any]:
        genes = [{"name": gene.name, "choices": list(gene.choices), "ordered": gene.ordered} for gene in self.genes]
        arguments = None if self.arguments is None else dict(self.arguments)
        return {
            "class": self.class_path,
            "arguments": arguments,
            "fingerprint": self.fingerprint,
            "genes": genes,
        }

    def build(self, allow: Sequence[str] = ()) -> SearchSpace:
        """The space itself. allow: further packages whose spaces may be imported. Raises NASError where its class is
        not trusted, not there, or makes another space now."""
        space_class = import_space(self.class_path, allow)
        try:
            space = space_class(**(self.arguments or {}))
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
