"""Sections on a classification: ROC curves, the confusion matrix, calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from nas.errors import NASError
from nas.html.page import figure, pair, section
from nas.html.plot import Axis, Plot
from nas.html.roc import Roc, roc
from nas.metrics.bootstrap import chosen_classes

TONES = 6  # colours of curves before they repeat
FEW = 4  # classes up to which bands do not hide each other and two figures fit side by side
CASES_PER_BIN = 20


def classification_sections(
    label_N: np.ndarray,
    prob_NK: np.ndarray,
    group_N: np.ndarray,
    classes: Sequence[str],
    others: Mapping[str, np.ndarray],
    unit: str = "patient",
    positive: int = 1,
    threshold: float | None = None,
) -> list[str]:
    """Draw the test cases of a classification.

    Args:
        label_N: True classes (N,).
        prob_NK: Class probabilities (N, K) of the network.
        group_N: Groups (N,), usually patients, that a bootstrap draws as a whole.
        classes: Names of the K classes.
        others: Class probabilities (N, K) of other systems by name; drawn for two classes.
        unit: Name of a group.
        positive: Of two classes, the number of the positive one.
        threshold: Its probability from which a case is called positive; None calls the more probable class.

    Returns:
        HTML sections: ROC and confusion matrix, for two classes with the calibration.

    Raises:
        NASError: If the lengths differ, or a probability of the network is not finite.
    """
    lengths = {"label": len(label_N), "group": len(group_N), "prob": len(prob_NK)}
    lengths |= {name: len(value) for name, value in others.items()}
    if len(set(lengths.values())) != 1:
        raise NASError(f"predictions of lengths {lengths}", "one length", "pass one row for each test case")
    if not np.isfinite(prob_NK).all():
        raise NASError("NaN among the predicted probabilities", "finite probabilities", "see which fold diverged")
    left = _roc_section(label_N, prob_NK, group_N, classes, others, unit, positive)
    right = _confusion(label_N, prob_NK, classes, positive, threshold)
    if len(classes) == 2:
        right = f"<div>{right}{_calibration(label_N, prob_NK, classes, positive)}</div>"
    return [pair(left, right)] if len(classes) <= FEW else [left, right]


def _roc_section(
    label_N: np.ndarray,
    prob_NK: np.ndarray,
    group_N: np.ndarray,
    names: Sequence[str],
    others: Mapping[str, np.ndarray],
    unit: str,
    positive: int,
) -> str:
    two, few = len(names) == 2, len(names) <= FEW
    curves: list[tuple[str, Roc, bool]] = []  # name, curve, whether a baseline
    for number in [positive] if two else range(len(names)):
        positive_N = label_N == number
        if positive_N.any() and not positive_N.all():
            found = roc(positive_N, prob_NK[:, number], group_N, band=few)
            curves.append(("this network" if two else names[number], found, False))
    if two and curves:
        for name, other_NK in others.items():
            if np.isfinite(other_NK).all():
                curves.append((name, roc(label_N == positive, other_NK[:, positive], group_N, band=False), True))
    if not curves:
        return section("ROC", "The test cases hold one class only: there is no curve to draw.")
    styles = [
        f"curve tone{number % TONES}{' thin' if baseline else ''}" for number, (_, _, baseline) in enumerate(curves)
    ]
    legend = [
        (style, "line", f"{name}: AUC {curve.auc:.3f} ({curve.auc_low:.3f} to {curve.auc_high:.3f})")
        for style, (name, curve, _) in zip(styles, curves, strict=True)
    ]
    x, y = (Axis(text, 0.0, 1.0) for text in ("1 − specificity (false positive rate)", "sensitivity"))
    plot = Plot(x, y, title="ROC curves", width=430 if few else 560, legend=legend, square=True)
    plot.line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "chance")
    for number, (_, curve, baseline) in enumerate(curves):
        if few and not baseline:
            plot.band(curve.grid, curve.low, curve.high, f"area fill{number % TONES}")
    for style, (_, curve, _) in reversed(list(zip(styles, curves, strict=True))):
        plot.line(curve.fpr, curve.tpr, style)
    what = "Each class against the rest"
    if two:
        what = f"“{names[positive]}” (positive) against “{names[1 - positive]}”"
    note = (
        f"{what}, all test cases pooled. {'Band and intervals' if few else 'Intervals'}: 95 %, by bootstrap over the "
        f"{len(np.unique(group_N)):,} {unit}s."
    )
    best = max(curves, key=lambda curve: curve[1].auc)
    caption = "; ".join(f"{name} has an AUC of {curve.auc:.3f}" for name, curve, _ in curves[:1])
    caption += f". The largest is that of {best[0]}, {best[1].auc:.3f}." if len(curves) > 1 else "."
    return section("ROC", note, figure(plot.svg(), caption[:1].upper() + caption[1:]))


def _confusion(
    label_N: np.ndarray, prob_NK: np.ndarray, names: Sequence[str], positive: int, threshold: float | None
) -> str:
    count_KK = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(count_KK, (label_N.astype(int), chosen_classes(prob_NK, positive, threshold)), 1)
    share_KK = count_KK / np.maximum(count_KK.sum(axis=1, keepdims=True), 1)
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = ""
    for row, name in enumerate(names):
        cells = ""
        for column in range(len(names)):
            colour, share = ("--accent" if row == column else "--mark"), share_KK[row, column]
            tint = f"background: color-mix(in srgb, var({colour}) {8 + 47 * share:.0f}%, transparent)"
            cells += f'<td style="{tint}"><b>{count_KK[row, column]}</b><span>{100 * share:.0f} %</span></td>'
        rows += f"<tr><th>{escape(name)}</th>{cells}</tr>"
    called = "the most probable class according to the network"
    if threshold is not None:
        called = f"“{names[positive]}” from a probability of {threshold:.3g} (the decision threshold)"
    note = f"Rows: the true class. Columns: {called}. Percentages are of the row."
    style = "confusion" if len(names) <= FEW else "confusion crowded"
    columns = f'<tr><th></th><th colspan="{len(names)}">predicted</th></tr><tr><th>true</th>{head}</tr>'
    hit = int(np.trace(count_KK))
    note += f" The network is right in {hit} of {int(count_KK.sum())} cases."
    return section(
        "Confusion matrix",
        note,
        f'<div class="scroll"><table class="{style}"><thead>{columns}</thead><tbody>{rows}</tbody></table></div>',
    )


def _calibration(label_N: np.ndarray, prob_NK: np.ndarray, names: Sequence[str], positive: int) -> str:
    """Compare predicted probabilities of the positive class with observed frequencies."""
    from sklearn.calibration import calibration_curve

    positive_N, prob_N = label_N == positive, prob_NK[:, positive]
    bins = int(np.clip(len(label_N) // CASES_PER_BIN, 1, 10))
    observed_B, stated_B = calibration_curve(positive_N, prob_N, n_bins=bins, strategy="quantile")
    x, y = Axis("predicted probability", 0.0, 1.0), Axis(f"share of “{names[positive]}”", 0.0, 1.0)
    plot = Plot(x, y, title="calibration", width=430, height=240)
    plot.line(np.array([0.0, 1.0]), np.array([0.0, 1.0]), "chance")
    plot.line(stated_B, observed_B)
    for stated, observed in zip(stated_B, observed_B, strict=True):
        plot.point(stated, observed, "front", 4.0, f"predicted {stated:.2f}, observed {observed:.2f}")
    brier = float(np.mean((prob_N - positive_N) ** 2))
    note = f"Cases in {bins} groups by predicted probability. Brier score {brier:.3f} (0 is perfect)."
    gap = float(np.mean(stated_B - observed_B))
    words = "higher than" if gap > 0.02 else "lower than" if gap < -0.02 else "close to"
    caption = f"Predicted probabilities are on average {words} the observed shares ({gap:+.2f}, mean over the groups)."
    return section("Calibration", note, figure(plot.svg(), caption))
