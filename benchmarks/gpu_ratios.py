"""The ratios of `python -m benchmarks.gpu`: training steps, supernet steps and prediction, beside PyTorch and MONAI."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from benchmarks import bench_dints, bench_predict, bench_train
from benchmarks.gpu_checks import Bench, Facts

QUICK_STEP = {"mul": 0.0625, "sides": 32, "batch": 1}


def training_step(network: str, side: int, bench: Bench) -> Facts:
    """Compare the steps of a NAS-Lung network with a plain PyTorch loop: samples per second, and ratios to it."""
    data = bench_train.make_data(bench.folder, side, bench.device, n=64 if bench.quick else 512)
    ways = bench_train.ways(network, data, bench_train.BATCH[side], bench.device)
    if bench.quick:
        ways = {name: ways[name] for name in ("plain", "ours fp32")}
    rates = bench_train.measure(ways, 0.3 if bench.quick else 3.0, bench.device, window_s=0.1 if bench.quick else 1.0)
    plain = rates.pop("plain")
    return {
        "plain (samples/s)": round(plain),
        **{f"{name} / plain": round(rate / plain, 2) for name, rate in rates.items()},
    }


def supernet_step(case: str, bench: Bench) -> Facts:
    """Compare the step of the DiNTS supernet with MONAI's `TopologySearch`, both on random weights and images."""
    if bench.quick and case != next(iter(bench_dints.GPU_STEPS)):
        return {}  # the same small step once more
    settings = QUICK_STEP if bench.quick else bench_dints.GPU_STEPS[case]
    kind = bench.device.type
    found = {who: bench_dints.step(who, 1, kind, **settings) for who in (bench_dints.MONAI, bench_dints.OURS)}
    theirs, ours = found[bench_dints.MONAI], found[bench_dints.OURS]
    return {f"MONAI / ours, {name}": round(theirs[name] / max(ours[name], 1e-9), 2) for name in theirs}


def prediction(network: str, window: int, bench: Bench) -> Facts:
    """Compare `Segmentation.predict` with MONAI's sliding window, with the same windows and at equal Dice."""
    side, window, rounds = (24, 16, 1) if bench.quick else (160, window, 7)
    model = bench_predict.networks()[network]
    row = bench_predict.compare(network, model, side, window, rounds, bench.device)
    return {name: value for name, value in row.items() if "/" in name or "Dice" in name}


def _predictions() -> dict[str, Callable[[Bench], Facts]]:
    return {
        f"prediction: {network}, windows of {window}": partial(prediction, network, window)
        for network in bench_predict.NETWORKS
        for window in (64, 96)
    }


RATIOS: dict[str, Callable[[Bench], Facts]] = {
    **{
        f"training step: naslung {network}, {side}^3": partial(training_step, network, side)
        for network in bench_train.NETWORKS
        for side in bench_train.BATCH
    },
    **{f"supernet: {case}": partial(supernet_step, case) for case in bench_dints.GPU_STEPS},
    **_predictions(),
}
