"""nnU-Net 2.8.1 in a process of its own: plan and preprocess, train for a stated time, predict.

It imports nothing of VoxNAS, so that the Python of another environment can run it; `python -m benchmarks.nnunet`
starts it. The environment variables nnUNet_raw, nnUNet_preprocessed and nnUNet_results are those of nnU-Net.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path
from statistics import median

STEPS = 3  # timed steps after one that is not timed
OVERHEAD = 0.05  # share of the time for checkpoints and curves at the ends of epochs
FEW_EPOCHS, MOST_OVERHEAD = 10, 0.2  # up to so many epochs, after which the learning rate falls, may take this share
MOST_EPOCHS, MOST_STEPS = 1000, 250  # nnU-Net's own schedule
STEPS_PER_VALIDATION = 5  # training steps for each validation step, as in nnU-Net
CHECKPOINTS = 10  # of one training


def clock(device: str) -> float:
    """Return CPU seconds of this process and its children; on a GPU seconds of the wall clock."""
    if device != "cpu":
        return time.perf_counter()
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def prepare(options: argparse.Namespace) -> dict[str, object]:
    """Run nnU-Net's fingerprint, planner and preprocessing."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess

    started = clock("cpu")
    number = [int(options.dataset[len("Dataset") :][:3])]
    extract_fingerprints(number, num_processes=1, check_dataset_integrity=False, verbose=False)
    plan_experiments(number)
    preprocess(number, configurations=(options.configuration,), num_processes=(1,))
    return {"seconds": clock("cpu") - started}


def _trainer(options: argparse.Namespace, resumed: bool):  # type: ignore[no-untyped-def]
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    arguments = (options.dataset, options.configuration, 0, "nnUNetTrainer", "nnUNetPlans", resumed)
    return get_trainer_from_args(*arguments, device=device)


def measure(options: argparse.Namespace) -> dict[str, object]:
    """Time a training step, a validation step and the end of an epoch."""
    import torch

    trainer = _trainer(options, False)
    trainer.num_epochs, trainer.save_every = 2, 1
    trainer.on_train_start()

    def timed(body):  # type: ignore[no-untyped-def]
        started = clock(options.device)
        result = body()
        if options.device != "cpu":
            torch.cuda.synchronize()
        return result, clock(options.device) - started

    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    steps = [timed(lambda: trainer.train_step(next(trainer.dataloader_train))) for _ in range(STEPS + 1)]
    trainer.on_train_epoch_end([result for result, _ in steps])
    with torch.no_grad():
        trainer.on_validation_epoch_start()
        checks = [timed(lambda: trainer.validation_step(next(trainer.dataloader_val))) for _ in range(STEPS)]
        trainer.on_validation_epoch_end([result for result, _ in checks])
    _, end = timed(trainer.on_epoch_end)
    return {
        "step_s": median(seconds for _, seconds in steps[1:]),
        "validation_step_s": median(seconds for _, seconds in checks),
        "epoch_end_s": end,
        "params": sum(parameter.numel() for parameter in trainer.network.parameters()),
        "batch_size": trainer.configuration_manager.batch_size,
        "patch": [int(side) for side in trainer.configuration_manager.patch_size],
    }


def schedule(budget_s: float, step_s: float, validation_step_s: float, epoch_end_s: float) -> tuple[int, int, int]:
    """Shorten nnU-Net's schedule to a time.

    Args:
        budget_s: Seconds of the training.
        step_s: Seconds of a training step.
        validation_step_s: Seconds of a validation step.
        epoch_end_s: Seconds at the end of an epoch.

    Returns:
        Epochs, training steps and validation steps of each; at most 1,000 epochs of 250 and 50 steps.
    """
    few = min(FEW_EPOCHS, int(MOST_OVERHEAD * budget_s / epoch_end_s))
    epochs = min(MOST_EPOCHS, max(1, few, int(OVERHEAD * budget_s / epoch_end_s)))
    for_steps = budget_s - epochs * epoch_end_s
    each = step_s + validation_step_s / STEPS_PER_VALIDATION
    steps = int(for_steps / (epochs * each))
    if steps < 1:
        epochs = max(1, int(budget_s / (step_s + validation_step_s + epoch_end_s)))
        steps = 1
    if steps >= MOST_STEPS:
        steps = MOST_STEPS
        epochs = min(MOST_EPOCHS, max(1, int(budget_s / (steps * each + epoch_end_s))))
    return epochs, steps, max(1, steps // STEPS_PER_VALIDATION)


def train(options: argparse.Namespace) -> dict[str, object]:
    """Train with the shortened schedule; continue at the last checkpoint."""
    from nnunetv2.run.run_training import maybe_load_checkpoint

    times = Path(options.out).with_suffix(".times.json")
    spent = json.loads(times.read_text()) if times.is_file() else {}
    resumed = bool(spent)
    trainer = _trainer(options, resumed)
    trainer.num_epochs, trainer.num_iterations_per_epoch = options.epochs, options.steps
    trainer.num_val_iterations_per_epoch = options.validation_steps
    trainer.save_every = max(1, options.epochs // CHECKPOINTS)
    maybe_load_checkpoint(trainer, resumed, False)
    before = float(spent.get(str(trainer.current_epoch), 0.0))  # seconds of the epochs that the checkpoint holds
    started, end_of_epoch = clock(options.device), trainer.on_epoch_end

    def record() -> None:
        end_of_epoch()
        spent[str(trainer.current_epoch)] = before + clock(options.device) - started
        times.with_suffix(".new").write_text(json.dumps(spent))
        os.replace(times.with_suffix(".new"), times)

    trainer.on_epoch_end = record
    trainer.run_training()
    return {"seconds": before + clock(options.device) - started, "epochs": options.epochs, "steps": options.steps}


def predict(options: argparse.Namespace) -> dict[str, object]:
    """Predict a folder of images as nnU-Net does by default: mirrored views, windows that overlap by half."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(options.threads)
    started, device = clock(options.device), torch.device(options.device)
    predictor = nnUNetPredictor(perform_everything_on_device=options.device != "cpu", device=device, allow_tqdm=False)
    name = f"nnUNetTrainer__nnUNetPlans__{options.configuration}"
    folder = Path(os.environ["nnUNet_results"]) / options.dataset / name  # noqa: SIM112
    predictor.initialize_from_trained_model_folder(str(folder), (0,), "checkpoint_final.pth")
    predictor.predict_from_files_sequential(str(options.images), str(options.predictions), overwrite=False)
    return {"seconds": clock(options.device) - started}


def main() -> None:
    """Run one part and write its result as JSON."""
    parser = argparse.ArgumentParser(description="Parts of nnU-Net for python -m benchmarks.nnunet.")
    parser.add_argument("part", choices=("prepare", "measure", "train", "predict"))
    parser.add_argument("--out", required=True)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    for name in ("epochs", "steps", "validation-steps"):
        parser.add_argument(f"--{name}", type=int, default=1)
    parser.add_argument("--images")
    parser.add_argument("--predictions")
    options = parser.parse_args()
    parts = {"prepare": prepare, "measure": measure, "train": train, "predict": predict}
    result = parts[options.part](options)
    path = Path(options.out)
    path.with_suffix(".new").write_text(json.dumps(result))
    os.replace(path.with_suffix(".new"), path)


if __name__ == "__main__":
    main()
