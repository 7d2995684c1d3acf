"""The check of a search space."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from nas.architecture import Architecture
from nas.cost.profile import Profile, profile
from nas.errors import NASError
from nas.network_traits import takes_target
from nas.space import SearchSpace
from nas.task_spec import TaskSpec
from nas.testing.findings import joined, no_error, require

DRAWS = 12  # architectures in which the effect of a gene is looked for
STEPS = 24  # steps of ordered genes of which costs are compared, over all genes
SIDE = 16  # voxels a side, if no shape is given
IN_SPACE = "architectures of the space"


def check_space(space: SearchSpace, input_shape: tuple[int, ...] | None = None, outputs: int = 2) -> None:
    """Check the properties of a space that strategies, costs and `arch.json` need.

    Arguments rebuild the space; `repair` is total and idempotent; samples, mutants and children are in the space;
    priors decide samples and no id; `encode` agrees with the genes; the enumeration has no duplicates; every gene
    changes the network or its recipe, a later choice of an ordered one never makes it smaller; networks accept
    (B, C, D, H, W), have the outputs of their task, and can be trained; blocks have the parameters and MACs of the
    whole network. For a space with networks in 2D and 3D, check both.

    Args:
        space: Space to check.
        input_shape: (C, D, H, W), in 2D (C, H, W), of a small volume that the space accepts. If None, the
            `in_channels` of the space or one, and 16 voxels per axis, in 2D for spaces with `spatial_dims` 2.
        outputs: Number of outputs of the networks.

    Raises:
        CheckFailed: For the first property that does not hold.
    """
    input_shape = input_shape or (getattr(space, "in_channels", 1), *(SIDE,) * space.spatial_dims)
    _check_genes(space)
    _check_arguments(space)
    rng = np.random.default_rng(0)
    archs = _check_points(space, rng)
    _check_prior(space, archs[0], rng)
    _check_enumeration(space, rng)
    task = TaskSpec(space.kind, len(input_shape) - 1, input_shape[0], outputs)
    for arch in archs[:2]:
        _check_network(space, arch, task, input_shape)
    _check_effects(space, archs, task, input_shape)
    _check_blocks(space, archs[:2], task, input_shape)
    for name in space.published:
        with no_error(f"the published network {name!r}", "a point of its space", f"correct published[{name!r}]"):
            home, arch = type(space).from_name(name)
            home.architecture(arch.genes)


def _check_genes(space: SearchSpace) -> None:
    genes = getattr(space, "genes", ())
    fix = "set self.genes in __init__ to Gene(name, choices) with different names"
    require(isinstance(genes, tuple) and genes, f"genes={genes!r}", "a tuple of at least one Gene", fix)
    names = [gene.name for gene in genes]
    require(len(set(names)) == len(names), f"genes named {', '.join(names)}", "different names", fix)
    for gene in genes:
        different = {(type(choice), choice) for choice in gene.choices}
        found = f"choices {list(gene.choices)} of the gene {gene.name}"
        require(gene.choices and len(different) == len(gene.choices), found, "different choices", "list each once")


def _check_arguments(space: SearchSpace) -> None:
    keep = "keep every argument of __init__ under its name, as JSON values (numbers, texts, lists)"
    with no_error("arguments", "arguments that arch.json can record", keep):
        recorded = json.loads(json.dumps(space.arguments))
    with no_error(f"{type(space).__name__}(**{recorded})", "arguments that build the space again", keep):
        again = type(space)(**recorded)
    found = f"another space from the recorded arguments {recorded}"
    require(again.fingerprint == space.fingerprint, found, "the same genes", keep)


def _check_points(space: SearchSpace, rng: np.random.Generator) -> list[Architecture]:
    sizes = np.array([len(gene.choices) for gene in space.genes])
    for _ in range(50):
        genes = [int(gene) for gene in rng.integers(-2, sizes + 2)]
        with no_error(f"repair({genes})", "a valid architecture of any integers", "clip genes into their range"):
            repaired = space.repair(genes)
            again = space.repair(repaired.genes)
        found = f"repair({genes}) = {list(repaired.genes)} and repair of that = {list(again.genes)}"
        require(again == repaired, found, "an idempotent repair", "return valid genes unchanged")
    archs = [space.sample(rng) for _ in range(20)]
    made = {"sample": archs[:20]}
    made["mutate"] = [space.mutate(arch, rng) for arch in archs[:5]]
    made["crossover"] = [space.crossover(archs[0], arch, rng) for arch in archs[1:6]]
    for method, results in made.items():
        for arch in results:
            found = f"the genes {list(arch.genes)} from {method}"
            require(arch.space == space.fingerprint and _holds(space, arch), found, IN_SPACE, "end with self.repair")
            require(space.describe(arch).strip(), "an empty description", "a text", "describe every architecture")
    archs = [arch for results in made.values() for arch in results]
    matrix = space.encode(archs)
    same = matrix.shape == (len(archs), len(sizes)) and [tuple(row) for row in matrix.tolist()] == [
        arch.genes for arch in archs
    ]
    require(same, f"encode with shape {matrix.shape} and other values than the genes", "the genes", "leave out encode")
    return archs


def _check_prior(space: SearchSpace, arch: Architecture, rng: np.random.Generator) -> None:
    """Check that a prior with all weight on one architecture gives this one alone, under the same fingerprint."""
    chosen = zip(space.genes, arch.genes, strict=True)
    sure = {gene.name: [float(n == index) for n in range(len(gene.choices))] for gene, index in chosen}
    believed = space.with_prior(sure)
    found = f"the fingerprint {believed.fingerprint} with a prior and {space.fingerprint} without"
    require(believed.fingerprint == space.fingerprint, found, "one fingerprint", "leave priors out of the arguments")
    genes = list(believed.sample(rng).genes)
    found = f"the sample {genes} of a space whose prior gives all weight to {list(arch.genes)}"
    fix = "end `sample` with self.follow_prior(arch, rng), or leave it out"
    require(genes == list(arch.genes) == list(believed.centre.genes), found, "samples that follow priors", fix)  # type: ignore[union-attr]


def _check_enumeration(space: SearchSpace, rng: np.random.Generator) -> None:
    enumerated = space.enumerate()
    if enumerated is None:
        return
    different = len(np.unique(enumerated, axis=0))
    found = f"an enumeration of {len(enumerated)} rows, {different} of them different"
    require(different == len(enumerated), found, "every architecture once", "remove what repeats itself in enumerate")
    for row in enumerated[rng.choice(len(enumerated), size=min(50, len(enumerated)), replace=False)]:
        genes = [int(gene) for gene in row]
        found = f"the genes {genes} in the enumeration"
        require(space.repair(genes).genes == tuple(genes), found, IN_SPACE, "list only genes that repair keeps")


def _holds(space: SearchSpace, arch: Architecture) -> bool:
    try:
        return space.architecture(arch.genes) == arch
    except NASError:
        return False


def _built(space: SearchSpace, arch: Architecture, task: TaskSpec) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return space.build(arch, task)


def _check_network(space: SearchSpace, arch: Architecture, task: TaskSpec, shape: tuple[int, ...]) -> None:
    which = f"the network of genes {list(arch.genes)}"
    fix = f"build layers for task.dims={task.dims} and task.in_channels={task.in_channels}, or check another shape"
    x = torch.rand(2, *shape)
    with no_error(f"{which} on images {list(x.shape)} in {task.dims}D", f"a network for {task.dims}D", fix):
        network = _built(space, arch, task)
        out = network(x, torch.zeros(2, dtype=torch.long)) if takes_target(network) else network(x)
    out = out[0] if isinstance(out, tuple) else out  # the finest output of deep supervision
    found = f"an output of shape {tuple(out.shape)} of {which} on images {list(x.shape)}"
    expected: tuple[int, ...] = (2, space.output_channels(task))
    if task.kind == "segmentation":
        expected += shape[1:]
    exact = task.kind in ("segmentation", "classification")
    fix = "return (B, task.outputs) for volumes, (B, task.outputs, D, H, W) for masks, in 2D without D"
    right = tuple(out.shape) == expected if exact else tuple(out.shape[:2]) == expected
    require(right, found, f"{expected}{'' if exact else ' first'}", fix)
    require(torch.isfinite(out).all(), f"an output of {which} that is not finite", "finite numbers", "normalise layers")
    if out.requires_grad:
        out.square().mean().backward()
    moved = [p for p in network.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    require(moved, f"{which}, in which nothing can be trained", "parameters with gradients", "register its layers")
    again = _built(space, arch, task)
    same = all(map(torch.equal, _built(space, arch, task).state_dict().values(), again.state_dict().values()))
    require(same, f"{which} with other weights under one seed", "weights from torch's generator", "draw with torch")


def _check_effects(space: SearchSpace, archs: list[Architecture], task: TaskSpec, shape: tuple[int, ...]) -> None:
    """Each gene changes the network somewhere, and an ordered one never makes it smaller."""
    for position, gene in enumerate(space.genes):
        pairs = list(_neighbours(space, archs, position))
        if not pairs:
            continue
        differ = any(_differ(space, *pair, task, shape) for pair in pairs)
        found = f"the gene {gene.name}, whose choices {list(gene.choices)} all build the same network"
        require(differ, found, "networks that differ", f"read {gene.name} in build, or remove the gene")
        steps = {pair[0].genes[position]: pair for pair in pairs}  # one pair for each step of the gene
        most = max(1, STEPS // len(space.genes))
        for smaller, larger in list(steps.values())[:most] if gene.ordered else ():
            costs = [_costs(space, arch, task, shape) for arch in (smaller, larger)]
            first, second = (gene.choices[arch.genes[position]] for arch in (smaller, larger))
            for unit, before, after in zip(("parameters", "MACs"), *costs, strict=True):
                require(
                    after >= before,
                    f"{before} {unit} with {gene.name}={first} and {after} with {gene.name}={second}",
                    f"no smaller network for a later choice, because {gene.name} is ordered=True",
                    f"sort the choices {list(gene.choices)} from small to large networks, or remove ordered=True",
                )


def _neighbours(
    space: SearchSpace, archs: list[Architecture], position: int
) -> Iterator[tuple[Architecture, Architecture]]:
    """Pairs of architectures that differ in one gene alone, by one step."""
    for arch in archs[:DRAWS]:
        genes = list(arch.genes)
        genes[position] += 1 if genes[position] + 1 < len(space.genes[position].choices) else -1
        other = space.repair(genes)
        if other.genes == tuple(genes) and other != arch:
            yield (arch, other) if other.genes[position] > arch.genes[position] else (other, arch)


def _differ(space: SearchSpace, a: Architecture, b: Architecture, task: TaskSpec, shape: tuple[int, ...]) -> bool:
    if space.recipe(a) != space.recipe(b):
        return True
    one, two = _built(space, a, task), _built(space, b, task)
    if repr(one) != repr(two) or [p.shape for p in one.parameters()] != [p.shape for p in two.parameters()]:
        return True
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return not torch.equal(*(torch.as_tensor(_first(network.eval()(x))) for network in (one, two)))


def _first(output: object) -> object:
    return output[0] if isinstance(output, tuple | list) else output


def _costs(space: SearchSpace, arch: Architecture, task: TaskSpec, shape: tuple[int, ...]) -> tuple[int, int]:
    with torch.device("meta"):
        found = profile(space.build(arch, task), (1, *shape))
    return found.params, found.macs


def _check_blocks(space: SearchSpace, archs: list[Architecture], task: TaskSpec, shape: tuple[int, ...]) -> None:
    offered = space.blocks(space.encode(archs), tuple(shape[1:]), task)
    if offered is None:
        return
    vocabulary, ids_NK = offered
    keys = [block.key for block in vocabulary]
    require(len(set(keys)) == len(keys), f"blocks named {joined(keys)}", "a name for each block", "write other keys")
    for arch, ids in zip(archs, ids_NK, strict=True):
        chosen = [vocabulary[i] for i in ids if i >= 0]
        with torch.device("meta"):
            parts = [profile(block.build(), (1, *block.input_shape)) for block in chosen]
        whole = _costs(space, arch, task, shape)
        for unit, own, expected in zip(("parameters", "MACs"), _sums(parts), whole, strict=True):
            require(
                own == expected,
                f"blocks that do not add up: {own} {unit} ({', '.join(block.key for block in chosen)}) against "
                f"{expected} of the network of genes {list(arch.genes)}",
                f"the {unit} of the whole network",
                "make a block of every layer, each as often as the network has it and with its input_shape",
            )


def _sums(parts: list[Profile]) -> tuple[int, int]:
    return sum(part.params for part in parts), sum(part.macs for part in parts)
