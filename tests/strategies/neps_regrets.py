"""Regrets of PriorBand in NePS on the function of tests/strategies/synthetic.py; run by an interpreter that has NePS.

python tests/strategies/neps_regrets.py SEEDS EPOCHS CENTRE...      # prints a JSON list with a regret for each seed
"""

from __future__ import annotations

import json
import math
import random
import sys

import neps
import numpy as np
import torch
from neps.optimizers.algorithms import hyperband, priorband
from neps.optimizers.ask_and_tell import AskAndTell

OPTIMUM = (0.7, 0.3, 0.85, 0.5, 0.2)
STEPS, LARGEST = 20, 27


def loss(values: list[float], epochs: int) -> float:
    distance = sum((value - best) ** 2 for value, best in zip(values, OPTIMUM, strict=True))
    wave = math.sin(13 * sum((place + 1) * value for place, value in enumerate(values)))
    return distance + 0.25 * (1 - epochs / LARGEST) * (1 + wave)


def regret(centre: list[float], epochs: int, seed: int) -> float:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    space = {"epochs": neps.HPOInteger(1, LARGEST, is_fidelity=True)}
    for place in range(len(OPTIMUM)):
        prior = {"prior": round(centre[place] * STEPS), "prior_confidence": "high"} if centre else {}
        space[f"x{place}"] = neps.HPOInteger(0, STEPS, **prior)
    searched = neps.SearchSpace(space)
    optimizer = priorband(searched, eta=3, sample_prior_first=True) if centre else hyperband(searched, eta=3)
    asked, spent = AskAndTell(optimizer), 0
    ran: dict[str, int] = {}
    found: dict[str, tuple[float, tuple[float, ...]]] = {}
    while spent < epochs:
        trial = asked.ask()
        config = trial.config
        point = tuple(config[f"x{place}"] / STEPS for place in range(len(OPTIMUM)))
        own = trial.metadata.id.split("_rung_")[0]
        spent += config["epochs"] - ran.get(own, 0)
        ran[own] = config["epochs"]
        value = loss(list(point), config["epochs"])
        found[own] = (value, point)
        asked.tell(trial, value)
    return loss(list(min(found.values())[1]), LARGEST)


if __name__ == "__main__":
    seeds, total, *point = sys.argv[1:]
    sys.stdout.write(
        json.dumps([regret([float(one) for one in point], int(total), seed) for seed in range(int(seeds))]) + "\n"
    )
