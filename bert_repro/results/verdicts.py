"""Verdicts: what a study's tables say of the claims, by the rules that `claims.yaml` has laid down.

There is one mechanism for all claims: select rows, average over layers, take the mean over seeds of side a minus that of side b,
and look where its interval, which includes the variation between seeds, lies. Nothing is judged from less than a claim asks
for: what is missing, and what a gate keeps out, gives "not tested here", never a guess.
"""

import functools
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from bert_repro.results import claims, intervals, selection
from bert_repro.results.claims import Claim, Claims, Comparison, Gate
from bert_repro.results.selection import Rows

COLUMNS = {
    "id": "string", "claim": "string", "verdict": "string", "answer": "string", "effect": "Float64", "ci_low": "Float64",
    "ci_high": "Float64", "n_pairs": "Int64", "why": "string", "study": "string",
    "primary": "boolean", "untested": "string",
}  # fmt: skip
"""Columns of the verdicts and their pandas types."""
PAIRS = (
    "id", "primary", "task", "measured", "against", "effect", "ci_low", "ci_high", "unit", "rule", "margin", "seeds", "p", "verdict"
)  # fmt: skip
"""Columns of the pairs behind the verdicts."""
TAIL = 0.025  # of an interval at 95 %, and of the family of a claim's robustness contrasts
ANSWERS = {"supported": "Yes", "contradicted": "No", "inconclusive": "Undecided", "not tested here": "Not tested here"}


class Pair(NamedTuple):
    """A contrast that was made: side a, what it was compared with, the difference, and what the rule says of it."""

    test: Comparison
    case: dict[str, object]
    side: str
    against: str
    estimate: intervals.Estimate
    seeds: str

    @property
    def primary(self) -> bool:
        """Whether it decides the claim."""
        return self.test.primary is not None and _fits(self.case, self.test.primary)

    @property
    def task(self) -> str:
        """The task of side a, empty where it has none."""
        return str(self.case.get("task", ""))

    @property
    def region(self) -> tuple[float, float]:
        """The region in which the difference has to lie."""
        start, end = (
            edge if np.isinf(edge) else edge * self.test.margin.value for edge in claims.RULES[self.test.rule]
        )
        return start, end

    @property
    def verdict(self) -> str:
        """What its interval alone says: wholly inside the region, wholly outside, or across a border."""
        (start, end), (low, high) = self.region, self.estimate.interval
        inside, outside = start < low and high < end, high < start or low > end
        return "supported" if inside else "contradicted" if outside else "inconclusive"

    @property
    def slack(self) -> float:
        """How far the interval lies inside the region; negative where it crosses a border or lies outside."""
        (start, end), (low, high) = self.region, self.estimate.interval
        return min(low - start, end - high)

    @property
    def p(self) -> float:
        """The p value of "the difference lies in the region": small where it lies far outside, beyond either border."""
        start, end = self.region
        ps = [self.estimate.p_below(start)] * bool(np.isfinite(start))
        ps += [self.estimate.p_above(end)] * bool(np.isfinite(end))
        return min(ps)

    @property
    def text(self) -> str:
        text = f"{self.side} against {self.against}: {number(self.estimate.value, *self.estimate.interval)} {self.test.margin.unit}"
        return f"{text}, rule {self.test.rule}, margin {self.test.margin.value:g}; {self.seeds}"


def verdicts(all_claims: Claims, table: pd.DataFrame, study: str) -> pd.DataFrame:
    """Judge every claim on the results of one study.

    Args:
        all_claims: What `claims.load` gives.
        table: Merged tables with their replicates, as `tables.merge` gives them.
        study: Name of the study; rows of other studies are left out.

    Returns:
        `COLUMNS`, one row per claim. Effect and interval are those of the primary contrast that decided: the one nearest to the
        rule's border, or deepest on its wrong side. `n_pairs` counts all contrasts. `primary` is false where a contrast for
        robustness decided instead, and `untested` names the tasks that the claim is about and the primary contrasts are not.

    Raises:
        ValueError: With the claim's name: rows that cannot be told apart, two primary contrasts of one task, a side b that fits
            a side a more than once, a gate whose score no table has, or replicates that cannot be paired.
    """
    return judge(all_claims, table, study)[0]


def judge(all_claims: Claims, table: pd.DataFrame, study: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare once, and give what `verdicts` gives, and the contrasts behind it.

    Returns:
        The verdicts; and columns `PAIRS`, a row per contrast, none of claims that lack what they need.
    """
    of_study = table[(table["study"] == study).fillna(False)]
    rows = Rows(of_study)
    judged, listed = [], []
    reasons = functools.cache(lambda name: closed(name, all_claims.gates[name], rows, all_claims.defaults))
    for claim in all_claims.claims:
        try:
            gates = [name for name, gate in all_claims.gates.items() if gate.tasks or name in claim.gates]
            kept_out = {task: reason for name in reversed(gates) for task, reason in reasons(name).items()}
            compared, missing, lacking = _tested(claim, rows, all_claims.defaults)
            tested = [pair for pair in compared if not _tasks(pair) & set(kept_out)]
            # nothing is kept out of what was not compared
            about = {"", *(task for pair in compared for task in _tasks(pair))}
            kept_out = {task: reason for task, reason in kept_out.items() if task in about}
            weakened = claim.weakened_on.holds(of_study)
            judged.append(_judge(claim, all_claims.tasks, tested, missing, lacking, kept_out, study, weakened))
        except ValueError as error:
            raise ValueError(f"claim {claim.id}: {error}") from None
        listed += [
            (claim.id, p.primary, all_claims.tasks.get(p.task, p.task), p.side, p.against, p.estimate.value, *p.estimate.interval, p.test.margin.unit,
             p.test.rule, p.test.margin.value, p.seeds, p.p, p.verdict)
            for p in ([] if "" in kept_out else tested)
        ]  # fmt: skip
    return pd.DataFrame(judged, columns=list(COLUMNS)).astype(COLUMNS), pd.DataFrame(listed, columns=list(PAIRS))


# ---- gates


def closed(name: str, gate: Gate, rows: Rows, defaults: Mapping) -> dict[str, str]:
    """Say which of its tasks a gate keeps out, and why; a gate without tasks has the empty name for one.

    Args:
        name: The gate's.
        gate: What has to be reached.
        rows: A study's.
        defaults: What its selections are overridden from, as those of claims are.

    Raises:
        ValueError: Encoders of a task are there, and none of them has the score that it names.
    """
    reasons = {task: _why_closed(name, gate, rows, defaults, task) for task in gate.tasks or [""]}
    return {task: reason for task, reason in reasons.items() if reason}


def _why_closed(name: str, gate: Gate, rows: Rows, defaults: Mapping, task: str) -> str:
    of_task = {"task": task} if task else {}
    kind = {column: gate.score[column] for column in ("notebook", "method") if column in gate.score}
    if not len(rows.select(kind | of_task)):
        # not tuned or not scored here, so that nothing of the task can be judged anyway
        return "" if task else f"{gate.what}: no {gate.score.get('notebook')} in the tables"
    reached = _mean(rows, {**defaults, **gate.score, **of_task})
    if reached is None and task:  # a tuned encoder always has its task's score
        raise ValueError(f"gate {name} names a score that no table has: {selection.words(gate.score | of_task)}")
    if reached is None:
        return f"{gate.what} was not measured"
    below = 0.0 if gate.above is None else _mean(rows, {**defaults, **gate.above})
    if below is None or reached - below >= gate.least.value:  # where there is nothing to lie above, it is not asked
        return ""
    against = f" above {below:.3f}" if gate.above is not None else ""
    return f"{gate.what} is {reached - below:.3f}{against}, less than {gate.least.value:g} {gate.least.unit}"


def _mean(rows: Rows, choice: Mapping) -> float | None:
    """Average the rows of a selection over seeds, of the best layer where that is asked; the largest of several cases."""
    means = []
    for case, group in selection.by_case(rows, rows.select(choice)):
        if choice.get("layer") == "best":
            try:
                group = group[np.isin(rows.layers[group], selection.layers_of(rows, choice, case))]
            except selection.MissingError:
                continue
        means.append(rows.values[group, 0].mean())
    return float(max(means)) if means else None


# ---- one claim


def _tested(claim: Claim, rows: Rows, defaults: Mapping) -> tuple[list[Pair], list[str], list[str]]:
    """Make all contrasts of a claim; return them, what is missing, and which of its needs are absent altogether."""
    lacking = [need for need, needed in claim.needs.items() if not len(rows.select(needed))]
    missing = [f"{need} (no rows with {selection.words(claim.needs[need])})" for need in lacking]
    compared: list[Pair] = []
    for test, side, opposite in [] if missing else [(t, *sides) for t in claim.tests for sides in t.sides(defaults)]:
        try:
            compared += list(_compare(rows, side, opposite, test))
        except selection.MissingError as error:
            missing += [] if test.optional else [str(error)]
            lacking += [str(error)] if isinstance(error, selection.UnorderedError) else []
    return compared, list(dict.fromkeys(missing)), list(dict.fromkeys(lacking))


def _judge(
    claim: Claim,
    names: Mapping[str, str],
    made: list[Pair],
    missing: list[str],
    lacking: list[str],
    kept_out: Mapping[str, str],
    study: str,
    weakened: bool,
) -> dict[str, object]:
    primary = [p for p in made if p.primary]
    reasons = list(dict.fromkeys(kept_out.values()))
    verdict, decided = decide([] if "" in kept_out else made)
    of_several = f"Deciding one of {len(primary)} primary contrasts" if len(primary) > 1 else "The primary contrast"
    why = [f"{of_several}: {decided.text}."] if decided and decided.primary else []
    why += (
        [f"Contradicted for robustness (p {decided.p:.2g}): {decided.text}."] if decided and not decided.primary else []
    )
    why += [f"Missing: {'; '.join(missing)}."] if missing else []
    why += [f"Kept out: {'; '.join(reasons)}."] if reasons else []
    effect = (decided.estimate.value, *decided.estimate.interval) if decided else (pd.NA,) * 3
    numbers = _numbers(claim, names, primary) if decided else ""
    unmeasured = f"no {' and no '.join(lacking)}" if lacking else "not measured what the claim compares"
    unsaid = "; ".join(reasons) or f"this study has {unmeasured}"
    untested = _untested(claim, names, primary) if decided else ""
    numbers += f" Not tested: {untested}." * bool(untested)
    answer = f"{ANSWERS[verdict]}. {numbers}" if decided else f"{ANSWERS[verdict]}: {unsaid}."
    if decided and not decided.primary:
        common = {phrase for pair in primary for phrase in pair.side.split(", ")}
        what = ", ".join(phrase for phrase in decided.side.split(", ") if phrase not in common).replace("_", " ")
        which = f" ({what})" if what else ""
        answer = f"{ANSWERS[verdict]}, by a contrast for robustness{which}: {number(*effect)}. The primary contrasts: {numbers}"
    if weakened and verdict in ("supported", "contradicted"):
        note = f"Would be {verdict}, but at most inconclusive on this base: {claim.weakened_on.reason}."
        answer = (
            f"Undecided: what was measured says {ANSWERS[verdict].lower()}, but {claim.weakened_on.reason}. {numbers}"
        )
        why, verdict = [note, *why], "inconclusive"
    cells = (
        claim.id, claim.claim, verdict, answer, *effect, len(made), " ".join(why), study,
        decided is None or decided.primary, untested,
    )  # fmt: skip
    return dict(zip(COLUMNS, cells, strict=True))


def decide(made: list[Pair]) -> tuple[str, Pair | None]:
    """Give the verdict on a claim, and the contrast that decided.

    Args:
        made: Its contrasts, as far as they could be made.

    Raises:
        ValueError: Two primary contrasts of one task.
    """
    primary = [p for p in made if p.primary]
    tasks = [p.task for p in primary]
    if twice := sorted({task for task in tasks if tasks.count(task) > 1}):
        raise ValueError(
            f"more than one primary contrast of {' and '.join(twice) or 'no task'}: {[p.side for p in primary]}"
        )
    if not primary:
        return "not tested here", None
    against, verdicts_of_primary = _against([p for p in made if not p.primary]), {p.verdict for p in primary}
    order = "contradicted", "inconclusive", "supported"
    verdict = "contradicted" if against else next(verdict for verdict in order if verdict in verdicts_of_primary)
    return verdict, min(([p for p in primary if p.verdict == verdict] or against), key=lambda p: p.slack)


def _against(secondary: list[Pair]) -> list[Pair]:
    """Find robustness contrasts that lie wholly outside after Holm's correction for their number."""
    corrected = intervals.holm([pair.p for pair in secondary])
    return sorted((pair for pair, p in zip(secondary, corrected, strict=True) if p <= TAIL), key=lambda pair: pair.p)


def _numbers(claim: Claim, names: Mapping[str, str], primary: list[Pair]) -> str:
    """Say in one sentence what the primary contrasts were, and what the claim asks for."""
    numbers = [
        f"{number(p.estimate.value, *p.estimate.interval)}" + f" ({names.get(p.task, p.task)})" * bool(p.task)
        for p in primary
    ]
    return f"{claim.measured}: {', '.join(numbers)}; {asked(primary[0].test)}."


def _untested(claim: Claim, names: Mapping[str, str], primary: list[Pair]) -> str:
    """Name the tasks of a claim's primary contrasts that none of those that were made is of."""
    sides = [s for test in claim.tests if test.primary is not None for s in [*test.contrast.a, *test.contrast.order]]
    named = [claims.listed(side.get("task")) for side in sides]
    tested = {task for pair in primary for task in _tasks(pair)}
    firsts = (str(tasks[0]) for tasks in named if tasks[0] and not tested & set(tasks))
    return " and ".join(dict.fromkeys(names.get(task, task) for task in firsts))


def asked(test: Comparison) -> str:
    """Say what a claim asks of a difference."""
    margin, unit = f"{test.margin.value:g}", test.margin.unit
    return {
        "no_drop": f"the claim allows a loss of less than {margin} {unit}",
        "equivalent": f"the claim asks for less than {margin} {unit} either way",
        "greater": f"the claim asks for more than {margin} {unit}",
        "order": f"the claim asks for more than {margin} {unit}",
        "less": f"the claim asks for less than -{margin} {unit}",
    }[test.rule]


def _tasks(pair: Pair) -> set[str]:
    """List the tasks of both sides: side a's, and all that an order names."""
    named = [side.get("task") for side in pair.test.contrast.order]
    return {pair.task} | {str(task) for value in named for task in claims.listed(value)}


# ---- one contrast


def _compare(rows: Rows, side: dict, opposite: dict | None, test: Comparison) -> Iterator[Pair]:
    """Pair each case of side a with the one of side b that agrees in every column b leaves alone; subtract."""
    lefts = selection.sides(rows, side)
    rights = [] if opposite is None else selection.sides(rows, side | opposite)
    # another corpus has splits of its own
    free = {*(opposite or {})} | ({"split"} if "corpus" in (opposite or {}) else set())
    orders = {} if test.ordered_by is None else dict(_orders(rows, side, opposite, test))
    if orders and not any(orders.values()):
        raise selection.UnorderedError(f"clear order by {' '.join(map(str, (test.ordered_by or {}).values()))}")
    for left in lefts:
        partner, against = None, "zero"
        if opposite is not None:
            differs = [
                {c for c in left.case.keys() & r.case.keys() - free if left.case[c] != r.case[c]} for r in rights
            ]
            fits = [r for r, columns in zip(rights, differs, strict=True) if not columns]
            if not fits:
                raise selection.MissingError(
                    f"what to compare {selection.words(left.case)} with: side b differs in {sorted(set.union(*differs))}"
                )
            if len(fits) > 1:
                cases = " | ".join(selection.words(r.case) for r in fits)
                raise ValueError(
                    f"{len(fits)} cases fit {selection.words(left.case)}: {cases}: name one of them in the claim's side b"
                )
            (partner,) = fits
            against = selection.words({**opposite, **partner.layer})
        estimate, seeds = _difference(left, partner)
        if test.ordered_by is not None:
            sign = orders.get(_apart(left.case, test.ordered_by), 0)
            if not sign:
                continue
            estimate = estimate._replace(value=sign * estimate.value)
        yield Pair(test, left.case, selection.words({**left.case, **left.layer}), against, estimate, seeds)


def _orders(rows: Rows, side: dict, opposite: dict | None, test: Comparison) -> Iterator[tuple[tuple, int]]:
    """Say of the cases of another selection which side is larger: 1 or -1, or 0 where the interval holds 0."""
    plain = test.model_copy(update={"ordered_by": None})
    for pair in _compare(rows, side | (test.ordered_by or {}), opposite, plain):
        low, high = pair.estimate.interval
        yield _apart(pair.case, test.ordered_by or {}), 1 if low > 0 else -1 if high < 0 else 0


def _apart(case: Mapping, columns: Mapping) -> tuple:
    return tuple(sorted((c, v) for c, v in case.items() if c not in columns))


def _difference(left: selection.Side, right: selection.Side | None) -> tuple[intervals.Estimate, str]:
    """Subtract two sides, seed by seed where they share some; say how many seeds there were."""
    if left.repeats is None:
        if left.given is None or right is not None:
            raise selection.MissingError(f"bootstrap replicates of {selection.words(left.case)}")
        return left.given, "its own interval"
    if right is None:
        return intervals.mean(left.repeats), _seeds(len(left.repeats.seeds))
    if right.repeats is None:
        raise selection.MissingError(f"bootstrap replicates of {selection.words(right.case)}")
    common = len(set(left.repeats.seeds) & set(right.repeats.seeds))
    estimate = intervals.contrast(left.repeats, right.repeats, paired=common > 0)
    if common:
        return estimate, f"{_seeds(common)}, paired"
    return estimate, f"{len(left.repeats.seeds)} against {_seeds(len(right.repeats.seeds))}"


def _seeds(count: int) -> str:
    return f"{count} seeds" if count > 1 else "1 seed, whose variation is not in the interval"


def _fits(case: Mapping, choice: Mapping) -> bool:
    """Return whether a case is among those that a selection names."""
    for column, allowed in choice.items():
        value = str(case.get(column, "")).partition("[")[0] if column == "split" else case.get(column)
        if value not in claims.listed(allowed):
            return False
    return True


def number(effect: float, low: float, high: float) -> str:
    """Write an effect with its interval."""
    return f"{effect:+.3f} [{low:+.3f}, {high:+.3f}]"
