"""Paretune's own sampler: profile, solve, train the seeds, then learn what training wins back."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from paretune.search.additive.amounts import amount_names
from paretune.search.additive.encoding import Encoding, IntArray
from paretune.search.additive.knapsack import AdditiveFront, farthest_first
from paretune.search.additive.profile import Profile, ProfilePlan, read_profile
from paretune.search.additive.solving import solve, solve_training_free
from paretune.search.advisers.sampler import PolicySampler
from paretune.search.feasibility import bound_of
from paretune.search.front import FloatArray, find_front, reference_point, values_of, volume_row
from paretune.search.funnel.settings import funnel_settings
from paretune.search.funnel.stems import TrainingCost
from paretune.search.learning.experience import Experience
from paretune.search.learning.improvement import expected_improvement
from paretune.search.learning.predictor import Predictor
from paretune.search.proposals.families import LEAF
from paretune.search.proposals.references import Proposal
from paretune.search.settings import SamplerSettings, SearchProblem
from paretune.spaces.policies.policy import Policy
from paretune.spaces.results.objective import Direction
from paretune.spaces.results.proxy import Proxy
from paretune.spaces.results.trial import Trial, TrialState

#: So many seeds that train nothing come first: they cost next to nothing, and hold the mild end of the front.
_FREE_SEEDS = 4
#: So many of those that are trained come next; the others take turns with what is learnt from the trials so far.
_FIRST_SEEDS = 10
_LEARNT = frozenset({"learner", "tpe", LEAF})
#: How many candidates are looked at: of the additive front, of that of policies that train nothing, around the front
#: found so far, at random, and at most how many leaves of trained stems.
_POOL = {"additive": 400, "free": 100, "around": 600, "random": 200, "leaves": 600}
#: Most of them whose gain is computed.
_MOST_SCORED = 500


class FunnelSampler:
    """Implements :class:`paretune.search.proposals.proposer.Proposer`.

    1. The profile: each decision alone, untrained.
    2. The additive problem, solved exactly; seeds spread over its front, after some of policies that train nothing.
    3. Then the candidate with the greatest expected gain in hypervolume for what it costs to train, among the additive
       front, what surrounds the front found so far, leaves of trained stems and a few at random. What training wins
       back is learnt from the trials.
    4. Now and then a proposal of Optuna's multivariate TPE.

    Args:
        problem: What is searched.
        trials: So far, that of the uncompressed model among them.
        proxies: What has been measured untrained, by digest of the policy; a live view.
        baseline: Values of the baseline, where the uncompressed model is another one.
    """

    def __init__(
        self,
        problem: SearchProblem,
        trials: Sequence[Trial],
        proxies: Mapping[str, Proxy],
        *,
        baseline: Mapping[str, float] | None = None,
    ) -> None:
        self._problem = problem
        self._settings = funnel_settings(problem.sampler.arguments)
        self._proxies = proxies
        self._encoding = Encoding(problem.space)
        self._base = next((values_of(trial) for trial in trials if trial.candidate.policy.is_untouched), {})
        self._baseline = self._base if baseline is None else baseline
        self._reference = _reference(problem, self._baseline)
        self._predictor = Predictor(problem, self._encoding, self._base, common=self._baseline)
        metric = next(iter(problem.description.objectives))
        amounts = amount_names(problem.objectives, metric)
        self._plan = ProfilePlan(self._encoding, seed=problem.seed, amounts=amounts)
        self._has_asked = False
        self._is_prepared = False
        self._profile: Profile | None = None
        nothing = np.zeros((0, len(self._encoding.units)), np.int64)
        self._additive = self._free = AdditiveFront(np.zeros((0, 2)), nothing, True)
        self._first_seeds = 0
        self._seeds: list[tuple[int, ...]] | None = None
        self._needs_seeds = True
        self._shortlist: list[tuple[int, ...]] = []
        self._row_of_digest: dict[str, tuple[int, ...]] = {}
        self._noted: set[str] = set()
        self._tried: dict[tuple[int, ...], Trial] = {}
        self._trials: dict[int, Trial] = {}
        self._best: tuple[Trial, ...] = ()
        self._cost = TrainingCost(problem, self._encoding)
        explored = replace(problem, sampler=SamplerSettings(name="tpe"), hyperspace=())
        self._explorer = PolicySampler(explored, [], baseline=self._baseline)
        for trial in trials:
            self.tell(trial)

    @property
    def profile(self) -> Profile | None:
        """What single decisions cost, once that has been measured."""
        return self._profile

    @property
    def references(self) -> tuple[Proposal, ...]:
        """None: the additive front has better ones."""
        return ()

    def tell(self, trial: Trial) -> None:
        """Take note of a trial, or of how one that was told before has ended."""
        self._trials[trial.number] = trial
        self._explorer.tell(trial)
        self._predictor.tell(trial)
        row = self._encoding.row_of_trial(trial)
        if row is not None:
            self._tried[row] = trial
            self._cost.tell(row, trial)
        self.tell_rival(trial)

    def tell_rival(self, trial: Trial) -> None:
        """Take note of a trial of another variant: it may be on the same front."""
        if trial.state is TrialState.COMPLETE:
            problem = self._problem
            known = problem.known_objectives
            front = find_front((*self._best, trial), problem.objectives, problem.constraints, self._baseline, known)
            self._best = front.trials

    def knows(self, digest: str) -> bool:
        """Return whether a trial has had the policy of this digest."""
        return self._explorer.knows(digest)

    @property
    def is_profiled(self) -> bool:
        """Whether the policies of the profile have been asked for."""
        return self._has_asked

    def wanted(self) -> tuple[Policy, ...]:
        """Return the policies of the profile first; once it is there, those on the shortlist, and then nothing."""
        if not self._has_asked:
            self._has_asked = True
            return self._plan.policies()
        if self._is_prepared:
            return ()
        self._is_prepared = True
        self._read_proxies()
        if self._profile is None or self._next_seed() is not None or self._is_time_to_explore:
            return ()
        self._shortlist = self._ranked(self._pool(), self._settings.shortlist)
        policies = tuple(self._encoding.policy_of(row) for row in self._shortlist)
        self._row_of_digest.update(zip((policy.digest for policy in policies), self._shortlist, strict=True))
        return policies

    def leaves(self, trial: Trial) -> tuple[Proposal, ...]:
        """Return nothing: leaves are among the candidates whenever it is asked."""
        return ()

    def close(self) -> None:
        """Do nothing: it holds nothing."""

    def ask(self) -> Proposal | None:
        """Return a policy that no trial has had, or ``None`` when the space has no other."""
        self._is_prepared = False
        self._read_proxies()
        seed = self._next_seed()
        if seed is not None:
            return self._proposal(seed, "seed")
        if self._profile is not None and not self._is_time_to_explore:
            rows = [row for row in self._shortlist if row not in self._tried]
            best = self._ranked(np.array(rows, dtype=np.int64), 1) if rows else []
            if best:
                return self._proposal(best[0], self._origin_of(best[0]))
        proposal = self._explorer.ask()
        return None if proposal is None else replace(proposal, origin="tpe")

    def promise(self) -> float:
        """Return the score of the best that could be tried next; 0 where nothing is known of single decisions."""
        self._read_proxies()
        if self._profile is None:
            return 0.0
        seed = self._next_seed()
        rows = self._pool() if seed is None else np.array([seed], dtype=np.int64)
        scores = self._scores(rows)[1]
        return float(scores.max()) if len(scores) else 0.0

    def experience(self) -> Experience:
        """Return what its trials tell of how the metric recovers, for samplers of other variants."""
        self._read_proxies()
        return self._predictor.experience()

    def learn_from(self, others: Callable[[], Sequence[Experience]], *, needs_seeds: bool) -> None:
        """From now on, as long as its own trials are too few, go by what those of other variants tell.

        Args:
            others: What they tell.
            needs_seeds: Whether seeds are trained all the same: they are for a search that knows nothing.
        """
        self._predictor.learn_from(others)
        self._needs_seeds = needs_seeds

    def expected_volume(self) -> float:
        """Return the hypervolume that the variant is expected to cover on its own; 0 before the profile is known."""
        import moocore

        self._read_proxies()
        if not len(self._additive):
            return 0.0
        guess = self._predictor.predict(self._additive.options).mean
        return float(moocore.hypervolume(guess, ref=self._reference))

    @property
    def _is_time_to_explore(self) -> bool:
        later = sum(trial.origin in ("learner", "tpe") for trial in self._trials.values())
        every = self._settings.explore_every
        return not self._predictor.is_taught or later % every == every - 1

    def _read_proxies(self) -> None:
        if self._profile is None and self._has_asked:
            metric = next(iter(self._problem.description.objectives.values()))
            sign = 1 if metric.direction is Direction.MAXIMIZE else -1
            self._profile = read_profile(self._plan, self._proxies, metric.name, sign)
            if self._profile is not None:
                self._predictor.use_profile(self._profile)
                self._additive = solve(self._encoding, self._profile, self._problem.objectives)
                self._free = solve_training_free(self._encoding, self._profile, self._problem.objectives)
        for digest, proxy in self._proxies.items():
            if digest not in self._noted:
                self._noted.add(digest)
                row = self._row_of_digest.get(digest) or self._row_of(proxy.policy)
                if row is not None:
                    self._predictor.note(row, proxy)

    def _row_of(self, policy: Policy) -> tuple[int, ...] | None:
        """Return the row of a policy, or ``None`` where the choices cannot express it."""
        choice = self._problem.space.choice_of(policy)
        return None if choice is None else self._encoding.row_of(choice)

    def _next_seed(self) -> tuple[int, ...] | None:
        """Return the next seed that has not been tried, as long as there are to be more."""
        if self._profile is None:
            return None
        if self._seeds is None:
            self._seeds = self._choose_seeds(self._profile)
        left = [row for row in self._seeds if row not in self._tried]
        beyond_first = len(self._seeds) - len(left) - self._first_seeds
        others = sum(trial.origin in _LEARNT for trial in self._trials.values())
        is_turn = beyond_first < 0 or beyond_first < others
        return left[0] if left and is_turn else None

    def _choose_seeds(self, profile: Profile) -> list[tuple[int, ...]]:
        if not self._needs_seeds:
            return []
        # by what is known before any trial, so that a resumed run has the same seeds
        predictor = Predictor(self._problem, self._encoding, self._base)
        predictor.use_profile(profile)
        free = self._spread(self._free, predictor, _FREE_SEEDS)
        trained = self._spread(self._additive, predictor, self._settings.seeds)
        self._first_seeds = len(free) + _FIRST_SEEDS
        return [*free, *(row for row in trained if row not in free)]

    def _spread(self, front: AdditiveFront, predictor: Predictor, count: int) -> list[tuple[int, ...]]:
        """Return rows that spread over the amounts of a front, the smallest first, of those that may gain something."""
        if not len(front):
            return []
        guess = predictor.predict(front.options)
        useful = np.flatnonzero((guess.mean < self._reference).all(axis=1))
        if not len(useful):
            return []
        sizes = np.log2(front.costs[useful, 1:2]) if front.has_bytes else guess.mean[useful][:, self._amount_column]
        # the mildest of several is left out: it is next to the uncompressed model
        chosen = farthest_first(sizes, count, taken=[int(sizes.argmax())] if len(useful) > 1 else [])
        return [tuple(front.options[useful[index]].tolist()) for index in chosen]

    @property
    def _amount_column(self) -> slice:
        """The place of the first objective that is an amount."""
        names = [objective.name for objective in self._problem.objectives]
        place = names.index(self._plan.amounts[0])
        return slice(place, place + 1)

    def _pool(self) -> IntArray:
        """Return candidates that no trial has had, shape (candidates, units)."""
        rng = np.random.default_rng([self._problem.seed, len(self._trials)])
        fronts = [_evenly(self._additive.options, _POOL["additive"]), _evenly(self._free.options, _POOL["free"])]
        counts = self._encoding.option_counts
        parents = [row for row, trial in self._tried.items() if trial in self._best] or [tuple(self._encoding.base)]
        around = np.array(parents, dtype=np.int64)[rng.integers(len(parents), size=_POOL["around"])]
        changes = rng.random(around.shape) < 1.5 / len(counts)
        around = np.where(changes, rng.integers(0, counts, size=around.shape), around)
        at_random = rng.integers(0, counts, size=(_POOL["random"], len(counts)))
        leaves = self._cost.leaves(parents if self._settings.leaves else [])
        leaves = leaves if len(leaves) <= _POOL["leaves"] else rng.permutation(leaves)[: _POOL["leaves"]]
        drawn = np.concatenate([*fronts, around, at_random, leaves]).tolist()
        pool = np.array(sorted({*map(tuple, drawn)} - self._tried.keys()), dtype=np.int64).reshape(-1, len(counts))
        known = pool[self._predictor.is_known(pool)]
        hopeful = known[self._predictor.may_recover(known, self._reference[0])]
        return np.asarray(hopeful if len(hopeful) else known)

    def _ranked(self, rows: IntArray, count: int) -> list[tuple[int, ...]]:
        """Return the rows with the greatest expected gain for their cost, best first; none that gain nothing."""
        rows, scores = self._scores(rows)
        order = np.argsort(-scores, kind="stable")[:count]
        return [tuple(rows[index].tolist()) for index in order if scores[index] > 0]

    def _scores(self, rows: IntArray) -> tuple[IntArray, FloatArray]:
        """Return the most promising rows, and the expected gain of each for what it costs to train."""
        if not len(rows):
            return rows, np.zeros(0)
        guess = self._predictor.predict(rows)
        if len(rows) > _MOST_SCORED:
            hoped = guess.mean - guess.deviation
            hoped[:, 0] = guess.first(-1.0)
            promising = np.argsort(_badness(hoped, self._front_costs()))[:_MOST_SCORED]
            rows, guess = rows[promising], guess.of(promising)
        gain = expected_improvement(guess, self._front_costs(), self._reference)
        return rows, gain / self._cost.of(rows) ** self._settings.thrift

    def _front_costs(self) -> FloatArray:
        """Return the front so far, and what the trials in flight are expected to measure."""
        found = [volume_row(values_of(trial), self._problem.objectives) for trial in self._best]
        flying = [row for row, trial in self._tried.items() if trial.state is TrialState.RUNNING]
        if flying and self._profile is not None:
            rows = np.array(flying, dtype=np.int64)
            found += self._predictor.predict(rows[self._predictor.is_known(rows)]).mean.tolist()
        return np.array(found).reshape(len(found), len(self._problem.objectives))

    def _origin_of(self, row: tuple[int, ...]) -> str:
        return LEAF if self._cost.is_leaf(row) else "learner"

    def _proposal(self, row: tuple[int, ...], origin: str) -> Proposal:
        return Proposal(self._encoding.choice_of(row), self._encoding.policy_of(row), origin)


def _evenly(rows: IntArray, most: int) -> IntArray:
    """Return at most so many rows, evenly spread over all."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, most).astype(np.int64))] if len(rows) else rows


def _reference(problem: SearchProblem, baseline: Mapping[str, float]) -> FloatArray:
    """Return the point that gains are measured from: beyond it, or beyond a constraint, a trial is worth nothing."""
    point = dict(reference_point(baseline, problem.objectives)) if baseline else {}
    reference = np.array(volume_row(point, problem.objectives))
    for column, objective in enumerate(problem.objectives):
        for constraint in problem.constraints:
            if constraint.objective == objective.name:
                bound, is_upper = bound_of(constraint, baseline, problem.known_objectives)
                if is_upper is (objective.direction is Direction.MINIMIZE):
                    limit = volume_row({objective.name: bound}, [objective])[0]
                    reference[column] = min(reference[column], limit + 1e-9)
    return reference


def _badness(points: FloatArray, front: FloatArray) -> FloatArray:
    """Return how deep each point lies behind the front; negative in front of it."""
    if not len(front):
        return np.asarray(points.sum(axis=1))
    span = np.ptp(np.concatenate([points, front]), axis=0) + 1e-12
    return np.asarray(((points[:, None, :] - front[None, :, :]) / span).min(axis=2).max(axis=1))
