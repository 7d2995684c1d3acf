"""Which labelled cases the training of a network, or its search, has seen: by patient and by image content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nas.data.io.channels import read_volumes, voxel_digest
from nas.errors import NASError
from nas.export.torch_network import BundleNetwork
from nas.inference.cases import Case
from nas.inference.record import volume_digest
from nas.retraining.folds import SHORT, group_digest
from nas.utils.hashing import digest

SEEN_PARTS = ("train", "valid")


@dataclass(frozen=True)
class Seen:
    """Digests of the patients and images that trained networks, chose their epoch or were part of their search.

    Attributes:
        groups: Short digests of patients of the trainings.
        contents: Short digests of images, of the trainings and of the search.
        patients: Digests of cohort and patient of the searches.
        cohorts: Names under which the searches know patients.
        known: False if a file of an earlier version records no patients.
    """

    groups: frozenset[str]
    contents: frozenset[str]
    patients: frozenset[str]
    cohorts: frozenset[str]
    known: bool

    @classmethod
    def of(cls, networks: Sequence[BundleNetwork]) -> Seen:
        """Collect the digests of networks.

        Args:
            networks: The networks of an ensemble.

        Returns:
            The digests.
        """
        groups: set[str] = set()
        contents: set[str] = set()
        patients: set[str] = set()
        cohorts: set[str] = set()
        known = True
        for network in networks:
            trained = network.spec.facts.get("trained", {})
            known &= bool(trained.get("groups"))
            for part in SEEN_PARTS:
                groups.update(trained.get("groups", {}).get(part, ()))
                contents.update(trained.get("contents", {}).get(part, ()))
            search = network.artifact.provenance.search
            if search is not None:
                known &= search.patients is not None
                patients.update(search.patients or ())
                contents.update(content[:SHORT] for content in search.contents or ())
                cohorts.add(search.data.name)
        return cls(frozenset(groups), frozenset(contents), frozenset(patients), frozenset(cohorts), known)

    def has(self, case: Case) -> bool:
        """Whether a case, or another image of its patient, was seen.

        Args:
            case: The case; files that are missing count as not seen.

        Returns:
            Whether patient or image are known.
        """
        if group_digest(case.patient) in self.groups:
            return True
        if any(digest([cohort, case.patient]) in self.patients for cohort in self.cohorts):
            return True
        if not all(path.exists() for path in case.paths):
            return False
        digests = [volume_digest(path) for path in case.paths]
        digests += [digest(digests), _voxels_of(case)]  # channels in several files; a copy in another format
        return any(found[:SHORT] in self.contents for found in digests if found)


def _voxels_of(case: Case) -> str:
    """Return the digest of the voxels; "" if they cannot be read, which the prediction reports."""
    try:
        return voxel_digest(read_volumes(case.paths))
    except (NASError, RuntimeError, ValueError, MemoryError):
        return ""
