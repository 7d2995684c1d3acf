"""`voxnas study`: arguments of the commands for studies; their bodies are in study_actions.py and study_noise.py."""

from __future__ import annotations

from pathlib import Path

from experiments.argument_types import count_type, number_type
from experiments.cli import Parser

ACTIONS = "experiments.commands.study_actions"
NOISE = "experiments.commands.study_noise:noise_study"
EXAMPLES = ("voxnas study list outputs/demo", "voxnas study show outputs/demo")
STORES = "an output folder, the file of a store, or its URL"
ICC_HELP = "intra-class correlation for which the number of replicates is given (default: 0.8)"
SUMMARIES = {
    "list": "list the studies of a store, with their trials by state",
    "show": "show the settings of a study, its best trial and its workers",
    "pareto": "list the Pareto front",
    "noise": "show how far the evaluations tell networks apart, from replicates",
    "export": "write all trials as CSV or HDF5",
    "resume": "continue a study with its recorded configuration",
    "delete": "delete a study from its store",
}


def parser() -> Parser:
    """Return the parser of `voxnas study`.

    Returns:
        The parser.
    """
    study = Parser("voxnas study", "Inspect, export, resume and delete the studies of a store.", EXAMPLES)
    for name, summary in SUMMARIES.items():
        more = " --out trials.csv" if name == "export" else ""
        examples = [f"voxnas study {name} {store}{more}" for store in ("outputs/demo", "sqlite:///studies.db")]
        command = study.add_command(name, summary, examples)
        table = ", or an exported table (.h5)" if name == "noise" else ""
        command.add_argument(
            "store", metavar="FOLDER", help=f"an output folder, the file of a store, or its URL{table}"
        )
        command.set_defaults(run=f"{ACTIONS}:{name}_study" if name != "list" else f"{ACTIONS}:list_studies")
        if name != "list":
            command.add_argument("study", nargs="?", help="name of the study; not needed if the store has one")
    noise, export, resume, delete = (study.commands[name] for name in ("noise", "export", "resume", "delete"))
    noise.set_defaults(run=NOISE)
    noise.add_argument("--metric", help="a metric of the trials (default: the score)")
    noise.add_argument("--icc", type=number_type(float, 0.01, 0.999), default=0.8, metavar="ICC", help=ICC_HELP)
    export.add_argument("--out", required=True, metavar="FILE", help="a file that ends in .csv, .h5 or .hdf5")
    resume.add_argument("--trials", type=count_type, help="a larger total number of trials")
    resume.add_argument("--out", type=Path, metavar="FOLDER", help="output folder (default: that of the search)")
    resume.add_allow_package()
    resume.add_argument("--worker", type=number_type(int, 0), default=0, help="number of this worker (default: 0)")
    delete.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    delete.add_argument("--files", action="store_true", help="also remove the checkpoints and results of the search")
    delete.add_argument("--force", action="store_true", help="delete even if workers may be alive")
    return study
