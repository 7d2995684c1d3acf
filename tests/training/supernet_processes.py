"""What each process of test_supernet_training.py runs under torchrun: `supernet_processes.py FOLDER`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from nas.training import distributed
from tests.training.test_segmentation_training import ball_parts
from tests.training.test_supernet_training import made


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    distributed.initialise(torch.device("cpu"))
    own = folder / f"data{distributed.rank()}"
    own.mkdir(parents=True)
    training = made(ball_parts(own, 2), folder / "supernet", target=2e5)
    training.run()
    facts = {
        "alphas": {name: alpha.tolist() for name, alpha in training.supernet.architecture_parameters().items()},
        "genes": training.decoded().genes,
        "loss": training.history[-1]["loss"],
    }
    (folder / f"rank{distributed.rank()}.json").write_text(json.dumps(facts))
    distributed.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
