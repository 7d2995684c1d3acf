"""The evaluator keeps the contract of VoxNAS on small problems of three kinds, in 2D and 3D."""

from nas.testing import check_evaluator
from nas.training import TrainingSettings

from template_evaluator import TemplateEvaluator


def test_the_evaluator() -> None:
    check_evaluator(TemplateEvaluator(TrainingSettings(epochs=1, batch_size=8), repeats=2))
