"""`voxnas pooled NAME=FOLDERS...`: arguments of the table over several test folds."""

from __future__ import annotations

from experiments.cli import Parser

EXAMPLES = (
    "voxnas pooled 'searched=outputs/train/searched*' 'U-Net=outputs/train/unet*'",
    "voxnas pooled 'searched=outputs/train/searched*'",
)


def parser() -> Parser:
    """Return the parser of `voxnas pooled`.

    Returns:
        The parser.
    """
    pooled = Parser("voxnas pooled", "One table over several test folds.", EXAMPLES)
    pooled.add_argument("systems", metavar="NAME=FOLDERS", nargs="+", help="folders of run_train.py, with wildcards")
    pooled.add_allow_package()
    pooled.set_defaults(run="experiments.train.pooled:run")
    return pooled
