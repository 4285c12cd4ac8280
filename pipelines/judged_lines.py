"""How `dinotool evaluate proposals` says what proposals are worth."""

from collections.abc import Sequence

from dinonat.evaluation.audits import AuditsTried, Promise
from dinonat.evaluation.boxes import CANDIDATES, BoxesJudged
from dinonat.evaluation.clicks import Bill
from dinonat.evaluation.intervals import FEW, LEVEL
from dinonat.evaluation.proposals import LabelsJudged, OfClass
from dinonat.evaluation.rates import Rate
from dinonat.proposals.abstain import BACKGROUND

MOST_CLASSES = 24  # lines of a table
WIDE = 40


def percent(value: float) -> str:
    """Write a share in percent.

    >>> percent(0.1234), percent(float("nan"))
    ('12.3', '-')
    """
    return "-" if value != value else f"{100 * value:.1f}"


def rate(one: Rate) -> str:
    """Write a share in percent with its interval, if it has one.

    >>> rate(Rate(0.5, (0.41, 0.6))), rate(Rate(0.5))
    ('50.0 (41.0-60.0)', '50.0')
    """
    low, high = one.interval
    return percent(one.value) if low != low else f"{percent(one.value)} ({percent(low)}-{percent(high)})"


def label_lines(judged: LabelsJudged, audits: AuditsTried | None) -> list[str]:
    """Say what labels of images or of regions are worth."""
    of, regions = judged.figures, judged.kind == "region"
    rows = [
        ("accuracy" + f", {BACKGROUND} counted" * regions, of["accuracy"]),
        ("balanced accuracy", of["balanced"]),
        *([("accuracy of those that meet a box", of["things"])] if regions else []),
        *([("balanced, of those that meet a box", of["balanced_things"])] if regions else []),
        ("of the more confident half", of["at_50"]),
        ("coverage (not left unknown)", of["coverage"]),
        ("right of these", of["precision"]),
        ("balanced, unknown counted as wrong", of["balanced_shown"]),
        ("calibration error of the score", of["error"]),
        ("calibration error of the probability", of["error_probability"]),
        *([("advised to accept", of["accepted"])] if of["accepted"].value else []),
        ("right of these", of["accepted_right"]),
    ]
    curve = ", ".join(f"{percent(value)} of {100 * cover:.0f} %" for cover, value in judged.curve)
    classes = f"{len(judged.classes)} class{'es' * (len(judged.classes) != 1)}"
    return [
        f"Labels of {judged.items} {judged.kind}s in percent, {classes}{_intervals(judged)}",
        *(f"  {name:{WIDE}}{rate(one):>20}" for name, one in rows if one.value == one.value),
        f"  right, the most confident first: {curve}",
        *_class_lines(judged.by_class),
        *audit_lines(audits),
        *(bill_lines(judged.bill, "labels", of["saved"]) if judged.bill and "saved" in of else []),
    ]


def _intervals(judged: LabelsJudged | BoxesJudged) -> str:
    if judged.groups < 2 or all(one.interval[0] != one.interval[0] for one in judged.figures.values()):
        return ""
    rough = ", rough" if judged.groups < FEW else ""
    return f" ({100 * LEVEL:.0f} % intervals over {judged.groups} {judged.word}s{rough})"


def _class_lines(classes: Sequence[OfClass]) -> list[str]:
    wide = max(len(one.label) for one in classes) + 2
    shown = classes[:MOST_CLASSES]
    more = len(classes) - len(shown)
    return [
        f"  {'class':{wide}}{'true':>7}{'proposed':>10}{'right':>7}{'precision':>11}{'recall':>8}",
        *(
            f"  {one.label:{wide}}{one.true:7}{one.proposed:10}{one.right:7}"
            f"{percent(one.precision):>11}{percent(one.recall):>8}"
            for one in shown
        ),
        *([f"  ... and {more} more"] if more else []),
    ]


def box_lines(judged: BoxesJudged) -> list[str]:
    """Say what boxes are worth."""
    of, iou = judged.figures, f"IoU {judged.iou:g}"
    recalls = ", ".join(f"{rate(of[f'found_{k}'])} by {k}" for k in CANDIDATES)
    precisions = ", ".join(f"{name} {percent(value)}" for name, value in judged.by_class.items())
    several = len(judged.by_class) > 1
    rows = [
        ("CorLoc: the first box meets an object", of["corloc"]),
        ("  of a box in the middle", of["centred"]),
        ("true boxes found by proposals", of["found"]),
        (f"AP{100 * judged.iou:.0f}" + ", mean of the classes" * several, of["ap"]),
        ("  as if all were one class", of["ap_agnostic"]),
        ("  if nothing were left unknown", of["ap_all"]),
        ("proposals in the right place", of["place"]),
        ("  with the right label, too", of["right"]),
    ]
    return [
        f"Boxes at {iou} in percent: {judged.true} true ones in {judged.images} images, {judged.shown} "
        f"proposed, {judged.candidates:.1f} regions an image{_intervals(judged)}",
        *(f"  {name:{WIDE}}{rate(one):>20}" for name, one in rows),
        f"  true boxes found by the most object-like regions: {recalls} an image",
        *([f"  AP by class: {precisions}"] if several else []),
        *bill_lines(judged.bill, "boxes", of["saved"]),
        *([_cut_line(judged)] if judged.shown else []),
    ]


def _cut_line(judged: BoxesJudged) -> str:
    """Say what the best proposals alone would save."""
    said = ", ".join(f"{percent(saved)} by {shown}" for shown, saved in judged.cuts[:-1])
    return f"  clicks saved if only those with the best scores were shown: {said}"


def bill_lines(bill: Bill, what: str, saved: Rate) -> list[str]:
    """Say what a person would do with the proposals, and pay."""
    n = max(1, bill.shown)
    parts = [("unchanged", bill.unchanged), ("other label", bill.label)]
    if what == "boxes":
        parts += [("other box", bill.box), ("both", bill.both), ("rejected", bill.rejected)]
    said = ", ".join(f"{percent(count / n)} {name}" for name, count in parts)
    true = bill.shown - bill.rejected + bill.missed
    verdict = (
        f"{rate(saved)} % saved" if bill.clicks <= bill.from_nothing else f"{rate(saved)} %: they cost more"
    )
    return [
        f"  a person would leave {said} of {bill.shown} {what}, and add {bill.missed} of {true}",
        f"  clicks: {bill.clicks:.0f} beside {bill.from_nothing:.0f} from nothing, {verdict}",
    ]


def audit_lines(audits: AuditsTried | None) -> list[str]:
    """Say how audits would fare."""
    if audits is None:
        return []
    return [
        f"  after an audit of {audits.size} ({audits.times} tried): calibration error "
        f"{percent(audits.error)}, of the bare score {percent(audits.error_before)}",
        *(_promise_line(one) for one in audits.promises),
    ]


def _promise_line(one: Promise) -> str:
    asked = f"    precision {one.asked:g} asked: "
    if one.none == 1:
        return f"{asked}nothing accepted in any audit; with all known {percent(one.oracle)} % could be"
    return (
        f"{asked}{percent(one.precision)} of the {percent(one.coverage)} % "
        f"accepted; held in {percent(one.held)} % of the audits, nothing accepted in {percent(one.none)}; "
        f"with all known {percent(one.oracle)} % could be"
    )
