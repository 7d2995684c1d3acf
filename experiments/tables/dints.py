"""DiNTS beside MONAI for tables: sizes of the space, decoding, regularisers, the released code, published cases."""

from __future__ import annotations

import contextlib
import csv
import io
import math
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nas.cost.profile import profile
from nas.errors import NASError
from nas.metrics.bootstrap import PERCENTILES
from nas.retraining.pooled import read_pooled
from search_spaces.dints import DiNTSSpace
from search_spaces.dints.monai_code import load_monai_code
from search_spaces.dints.monai_decode import monai_decode
from search_spaces.dints.topology import lattice

BLOCKS, DEPTHS, OPERATIONS = 12, 4, 5
WIDTH = 1 / 16  # of supernets whose weights do not matter
PATCH = 96
REPEATS = 15
LEAST = 1e-12  # below which a reference counts as 0 in a relative difference


def sizes(blocks: int = BLOCKS, depths: int = DEPTHS) -> dict[str, Any]:
    """Count the space exactly.

    Args:
        blocks: Number of blocks.
        depths: Number of resolutions.

    Returns:
        children (sets of edges of a block), arcs (pairs of sets that may follow each other), topologies, and
        architectures (with five operations on every edge), the last two as texts.
    """
    tables = lattice(depths)
    counts_SS = tables.counts_SS
    arcs = int(sum(int(counts_SS[:, state].sum()) * int(counts_SS[state].sum()) for state in range(tables.states)))
    return {
        "children": len(tables.patterns_NE),
        "arcs": arcs,
        "topologies": f"{Decimal(tables.topologies(blocks)):.3e}".replace("e+", "e"),
        "architectures": f"10^{math.log10(tables.topologies(blocks, OPERATIONS)):.2f}",
    }


def released(code: str, channel_mul: float = 1.0) -> dict[str, Any]:
    """Count the network of the released architecture.

    Args:
        code: The file arch_code_cvpr.pth, or its folder.
        channel_mul: Width.

    Returns:
        params and macs at 96^3 with one channel and three classes.
    """
    path = Path(code)
    path = path / "arch_code_cvpr.pth" if path.is_dir() else path
    space = DiNTSSpace(BLOCKS, DEPTHS, channel_mul, out_channels=3)
    with torch.device("meta"):
        model = space.build(load_monai_code(path, space))
    found = profile(model, (1, 1, PATCH, PATCH, PATCH))
    return {"params": found.params, "macs": found.macs}


def decode(draws: int = 2) -> dict[str, Any]:
    """Decode random probabilities with MONAI and with the path search of this project, on MONAI's costs.

    Args:
        draws: Number of random probabilities; MONAI takes about ten seconds for each.

    Returns:
        monai_ms and ours_ms (medians, processor time), ratio, and `agrees`: in how many draws the topology is the same.
    """
    theirs, ours, same = [], [], 0
    tables = lattice(DEPTHS)
    search = _monai().TopologySearch(channel_mul=WIDTH, num_blocks=BLOCKS, num_depths=DEPTHS, device="cpu")
    for seed in range(draws):
        torch.manual_seed(seed)
        with torch.no_grad():
            search.log_alpha_a.normal_()
            search.log_alpha_c.normal_()
        started = time.process_time()
        with contextlib.redirect_stdout(io.StringIO()):
            _, edges_BE, operations_BE, _ = search.decode()
        theirs.append(time.process_time() - started)
        alphas = search.log_alpha_a.detach().numpy(), search.log_alpha_c.detach().numpy()
        started = time.process_time()
        found_BE, _ = monai_decode(tables, *alphas)
        ours.append(time.process_time() - started)
        expected_BE = np.where(np.asarray(edges_BE) > 0, np.asarray(operations_BE), -1)
        same += int(np.array_equal(found_BE, expected_BE))
    milliseconds = 1000 * statistics.median(theirs), 1000 * statistics.median(ours)
    return {
        "monai_ms": milliseconds[0],
        "ours_ms": milliseconds[1],
        "ratio": milliseconds[0] / milliseconds[1],
        "agrees": f"same topology and operations in {same} of {draws} draws",
    }


def regularisers(seed: int = 0) -> dict[str, Any]:
    """Compare entropy of edges and topology term, forward and backward, on the same random probabilities.

    Args:
        seed: Seed of the probabilities.

    Returns:
        monai_ms and ours_ms (medians of 15, processor time), ratio, and `agrees`: the largest relative
        difference of the values.
    """
    torch.manual_seed(seed)
    search = _monai().TopologySearch(channel_mul=WIDTH, num_blocks=BLOCKS, num_depths=DEPTHS, device="cpu")
    net = DiNTSSpace(BLOCKS, DEPTHS, WIDTH, out_channels=3).supernet()
    edges, operations = net.relaxation.parameters()
    with torch.no_grad():
        search.log_alpha_a.normal_()
        edges.copy_(search.log_alpha_a)
        operations.copy_(search.log_alpha_c)

    def of_monai() -> tuple[torch.Tensor, torch.Tensor]:
        probs_BN, _ = search.get_prob_a(child=True)
        return -(probs_BN * (probs_BN + 1e-5).log()).mean(), search.get_topology_entropy(probs_BN)

    def of_ours() -> tuple[torch.Tensor, torch.Tensor]:
        found = net.regularisers()
        return found["edge_entropy"], found["topology"]

    pairs = zip(of_monai(), of_ours(), strict=True)
    apart = max(abs(a.item() - b.item()) / max(abs(a.item()), LEAST) for a, b in pairs)
    theirs, ours = _milliseconds(of_monai), _milliseconds(of_ours)
    return {
        "monai_ms": theirs,
        "ours_ms": ours,
        "ratio": theirs / ours,
        "agrees": f"values within {apart:.0e} (MONAI adds 1e-5 to probabilities)",
    }


def _milliseconds(terms: Callable[[], tuple[torch.Tensor, ...]]) -> float:
    times = []
    for _ in range(REPEATS + 3):
        started = time.process_time()
        torch.stack(list(terms())).sum().backward()
        times.append(time.process_time() - started)
    return 1000 * statistics.median(times[3:])


def _monai() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's own deprecations
        try:
            from monai.networks.nets import dints
        except ModuleNotFoundError as error:
            raise NASError("no package monai", "MONAI, to compare with", "pip install monai") from error
    return dints


def published_cases(table: str, system: str, like: str, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Average the published Dice of single cases over the test cases of a training, and compare in pairs.

    Args:
        table: csv with case, system, dice_anterior, dice_posterior, or its folder.
        system: Name in the csv.
        like: Folder of the training.
        resamples: Number of bootstrap samples of cases.
        seed: Seed of the bootstrap.

    Returns:
        dice, dice_1, dice_2, and a note with the paired difference.

    Raises:
        NASError: If a test case is not in the csv.
    """
    path = Path(table)
    path = next(iter(sorted(path.glob("*.csv")))) if path.is_dir() else path
    with open(path, newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["system"] == system]
    dice = {row["case"]: (float(row["dice_anterior"]), float(row["dice_posterior"])) for row in rows}
    trained = read_pooled("the training", [Path(like)])
    names = [str(case).removesuffix(".nii.gz") for case in trained.cases]
    if missing := [name for name in names if name not in dice]:
        raise NASError(f"no published Dice of {missing[0]} for {system}", f"all {len(names)} cases", f"check {path}")
    theirs_NK = np.array([dice[name] for name in names])
    ours_N = np.array([trained.scores.over(np.array([row]))["dice"] for row in range(len(names))])
    apart_N = theirs_NK.mean(axis=1) - ours_N
    drawn = np.random.default_rng(seed).integers(len(apart_N), size=(resamples, len(apart_N)))
    low, high = np.nanpercentile(apart_N[drawn].mean(axis=1), PERCENTILES)
    apart = f"{np.nanmean(apart_N):+.3f} [{low:+.3f}, {high:+.3f}]"
    note = f"its Dice minus that of the searched network on the same {len(names)} cases: {apart}"
    means = theirs_NK.mean(axis=0)
    return {"dice": float(theirs_NK.mean()), "dice_1": float(means[0]), "dice_2": float(means[1]), "note": note}


def monai_search(folder: Path, overrides: list[str]) -> None:
    """Run MONAI's search on the data and the schedule of ours.

    Args:
        folder: Gets `search/arch.json`.
        overrides: Settings of conf/search.yaml.

    Raises:
        NASError: If this is not a checkout of the project, which holds benchmarks/.
    """
    try:
        main = import_module("benchmarks.monai_search").main
    except ModuleNotFoundError as error:
        raise NASError("no benchmarks.monai_search", "a checkout of VoxNAS with MONAI", "run it there") from error
    main([str(folder / "search"), *overrides])
