"""The published NAS-Lung networks, with the sizes that their authors state."""

from __future__ import annotations

from collections.abc import Sequence

from nas.published import Published, PublishedCount
from search_spaces.naslung_network import STAGES


def encode_stages(stages: Sequence[Sequence[int]], widths: Sequence[int], slots: int) -> list[int]:
    """Encode block widths as genes.

    Args:
        stages: Widths of the blocks of each stage.
        widths: Choices of the width.
        slots: Genes of a stage, at least its blocks.

    Returns:
        Genes, those of each stage left-padded with 0.
    """
    index = {width: number for number, width in enumerate(widths, start=1)}
    return [i for stage in stages for i in [0] * (slots - len(stage)) + [index[width] for width in stage]]


SOURCE = "fei-hdu/NAS-Lung; Jiang et al., Pattern Recognition 113:107825, 2021 (arXiv 2101.07429)"
NARROW = (4, 8, 16, 32, 64, 128)
WIDE = (*NARROW, 256, 512)
MODEL_LIST: tuple[tuple[tuple[int, int], list[list[int]]], ...] = (
    ((4, 4), [[8, 8, 8], [16, 16, 16], [32, 32]]),
    ((4, 4), [[8, 16, 16], [16, 32, 64], [128, 128]]),
    ((4, 4), [[4, 8, 16, 16, 16], [32, 128], [128]]),
    ((4, 4), [[64, 64, 64, 64], [64], [128, 128]]),
    ((4, 4), [[8, 32], [64, 64, 64], [64, 64, 128, 128]]),
    ((32, 64), [[64], [64], [64, 64, 128, 128]]),
    ((32, 64), [[64, 64, 64], [64, 64, 64, 64], [64, 64, 64, 64, 128]]),
    ((32, 64), [[64], [64, 64, 256], [512, 512]]),
    ((32, 64), [[64, 64], [64, 128, 128, 128, 128], [256, 256, 512, 512]]),
    ((32, 64), [[64, 64], [64, 64], [64, 128, 512, 512, 512]]),
)
VARIANTS = {
    "plain": ("none", "softmax"),
    "sp": ("none", "a_softmax"),
    "cbam": ("published", "softmax"),
    "spcbam": ("published", "a_softmax"),
}


README = "README of fei-hdu/NAS-Lung"
OLD_README = f"{README} until July 2020"
IN_BYTES = "the size of a file in MB, no number of parameters"
# column "para." of the README, and of that until July 2020 by number in MODEL_LIST and variant: 4 bytes a parameter
MODEL_1 = PublishedCount("size", 0.14, "MB", README, f"{IN_BYTES}: 16,128 parameters are 0.016 M")
OLD_SIZES = {
    **{(0, variant): ("D, one of the four variants", 0.63) for variant in VARIANTS},
    **{(1, variant): ("E, plain or sp", 7.79) for variant in ("plain", "sp")},
    **{(2, variant): ("A, plain or sp", 7.99) for variant in ("plain", "sp")},
    **{(2, variant): ("B and C", 8.05) for variant in ("cbam", "spcbam")},
    **{(3, variant): ("F and H", 11.28) for variant in ("plain", "sp")},
    **{(3, variant): ("G and I", 11.33) for variant in ("cbam", "spcbam")},
}
UNKNOWN_SIZES = (2.61, 3.90, 2.54, 0.43, 0.22, 0.86, 4.02, 4.06, 0.24)  # of Model-2 to Model-10
NO_WIDTHS = f"{IN_BYTES}; its widths are unknown"
NASLUNG = "an ensemble of unknown members; no parameter count of any of the 42 networks, as the others a size in MB"


def _old_size(number: int, variant: str) -> tuple[PublishedCount, ...]:
    if (number, variant) not in OLD_SIZES:
        return ()
    row, size = OLD_SIZES[number, variant]
    return (PublishedCount("size", size, "MB", OLD_README, f"row {row}; {IN_BYTES}"),)


def _published(
    stem: tuple[int, int], stages: list[list[int]], variant: str, counts: tuple[PublishedCount, ...] = ()
) -> Published:
    widths = NARROW if stages[-1][-1] <= NARROW[-1] else WIDE
    max_depth = max(9, sum(map(len, stages)))
    cbam, head = VARIANTS[variant]
    genes = encode_stages(stages, widths, max_depth - STAGES + 1)
    arguments = {"stem": stem, "widths": widths, "max_depth": max_depth, "cbam": cbam, "head": head}
    return Published(tuple(genes), arguments, SOURCE, (1, 32, 32, 32), counts=counts)


PUBLISHED = {
    "model-1": _published((4, 4), [[4, 4], [4, 8], [8, 8]], "spcbam", (MODEL_1,)),
    "default": _published((4, 4), [[64, 64, 64], [128, 128, 256], [256, 256, 256, 512]], "spcbam"),
    **{
        f"{variant}[{stem[0]},{stem[1]},{', '.join(map(str, stages))}]": _published(
            stem, stages, variant, _old_size(number, variant)
        )
        for number, (stem, stages) in enumerate(MODEL_LIST)
        for variant in VARIANTS
    },
}
NOT_INCLUDED = {
    "NASLung": Published((), source=SOURCE, counts=(PublishedCount("size", 16.84, "MB", README, NASLUNG),)),
    **{
        f"Model-{number}": Published((), source=SOURCE, counts=(PublishedCount("size", size, "MB", README, NO_WIDTHS),))
        for number, size in enumerate(UNKNOWN_SIZES, start=2)
    },
}
