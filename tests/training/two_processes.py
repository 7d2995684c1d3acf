"""What each process of test_distributed.py runs: `two_processes.py STORE FOLDER EPOCHS`, alone or under torchrun."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from nas.data.store import VolumeStore
from nas.data.transforms.augment import Augment
from nas.tasks.classification import Classification
from nas.training import distributed
from nas.training.loop import fit, predict
from nas.training.settings import TrainingSettings
from tests.training.blobs import halves, net


def main(store: Path, folder: Path, epochs: int) -> None:
    torch.set_num_threads(1)
    device = distributed.initialise(torch.device("cpu"))
    train, valid = halves(VolumeStore(store))
    for norm, ema in ((False, 0.0), (True, 0.0), (False, 0.9), (True, 0.9)):
        augment = Augment(flip=(0, 1, 2)) if norm else None  # ranks draw their own
        settings = TrainingSettings(
            epochs=epochs, batch_size=9, lr=0.01, precision="fp32", augment=augment, schedule="constant", ema=ema
        )
        model = net(seed=distributed.rank(), norm=norm)  # rank 0's weights are the ones that count
        out = folder / (f"norm-{norm}" + "-averaged" * bool(ema))
        result = fit(model, Classification(), train, valid, settings, seed=5, device=device, folder=out / "checkpoints")
        prediction = predict(model, Classification(), valid, 8)
        again = Classification().score(prediction, valid.labels, quick=True).over()
        facts = {"metrics": result.metrics, "again": again, "history": result.history, "world": distributed.world()}
        (out / f"rank{distributed.rank()}.json").write_text(json.dumps(facts))
        torch.save(model.state_dict(), out / f"rank{distributed.rank()}.pt")
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
