"""`run_train.py export=[onnx,openvino]`: the networks of the table's row as files, one for each round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.commands.export import export_checkpoint, tell
from nas.artifact import Artifact, load
from nas.data.splits import Round
from nas.training.checkpoint import ARCHITECTURE
from nas.training.loop import BEST


def export_rounds(
    networks: Sequence[Artifact], rounds: Sequence[Round], folder: Path, formats: Sequence[str], allow: Sequence[str]
) -> None:
    """Writes <folder>/export/<id>-<round>/ for every network and round that is trained in `folder`, and tells of it."""
    for network in networks:
        for part in rounds:
            where = folder / "checkpoints" / network.arch.id / part.name
            out = folder / "export" / f"{network.arch.id}-{part.name}"
            card = export_checkpoint(where / BEST, load(where / ARCHITECTURE, allow), out, formats)
            tell(card, out, print)
