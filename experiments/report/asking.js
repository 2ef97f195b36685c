// The run asked again, as `paretune front --max-size ...` asks it (asking.py): the same answer from the same trials.

/** The bound of a constraint in the objective's own unit, and whether it is an upper one. */
function boundOf(report, constraint) {
  const before = report.trials[report.baseline].values[constraint.objective];
  const minimised = report.minimised[constraint.objective];
  if (constraint.bound === "max") return [constraint.value, true];
  if (constraint.bound === "min") return [constraint.value, false];
  if (constraint.bound === "drop") return [minimised ? before + constraint.value : before - constraint.value, minimised];
  return [constraint.value * before, minimised];
}

/** By how much a value breaks a bound, in its own unit; 0 or less keeps it. Equal but for rounding is kept. */
function violation(report, constraint, value) {
  const [bound, isUpper] = boundOf(report, constraint);
  if (Math.abs(value - bound) <= 1e-9 * Math.max(Math.abs(value), Math.abs(bound))) return 0;
  return isUpper ? value - bound : bound - value;
}

/** The same on a scale that lets excesses of several constraints be added up. */
function excess(report, constraint, values) {
  const value = values[constraint.objective];
  const before = report.trials[report.baseline].values[constraint.objective];
  const broken = violation(report, constraint, value);
  if (broken <= 0) return 0;
  const [bound] = boundOf(report, constraint);
  if (report.log.includes(constraint.objective) && bound > 0 && value > 0) return Math.abs(Math.log(value / bound));
  return broken / (Math.abs(before) || 1);
}

/** What a trial misses of some constraints: the constraint, and by how much in the objective's own unit. */
function misses(report, constraints, row) {
  return constraints
    .map((constraint) => ({ constraint, by: violation(report, constraint, row.values[constraint.objective]) }))
    .filter((miss) => miss.by > 0);
}

/**
 * Which trial is best within bounds.
 *
 * `asked` is a list of constraints `{objective, bound, value}`. The answer has `by`, the objective that the best is
 * best by; `best`, or null; where that is null, `nearest` and what it `missed`; and `within`, the numbers of the trials
 * that meet everything.
 */
function askRun(report, asked) {
  const names = report.objectives.map((objective) => objective.name);
  const bounded = new Set(asked.map((constraint) => constraint.objective));
  const by = Math.max(0, names.findIndex((name) => !bounded.has(name)));
  const able = report.trials.filter((row) => row.rank !== undefined);
  const constraints = [...report.constraints, ...asked];
  const within = able.filter((row) => report.baseline === null || misses(report, constraints, row).length === 0);
  const order = [by, ...[...names.keys()].filter((index) => index !== by)];
  const best = within.reduce((found, row) => (found === null || comes(row, found, order) ? row : found), null);
  const answer = { by: names[by], best, within: new Set(within.map((row) => row.trial)), nearest: null, missed: [] };
  if (best !== null || asked.length === 0) return answer;
  const different = new Map(constraints.map((each) => [`${each.objective} ${each.bound} ${general(each.value, 6)}`, each]));
  const distance = (row) => [...different.values()].reduce((sum, each) => sum + excess(report, each, row.values), 0);
  for (const row of able) {
    if (answer.nearest === null || distance(row) < distance(answer.nearest)) answer.nearest = row;
  }
  if (answer.nearest !== null) answer.missed = misses(report, constraints, answer.nearest);
  return answer;
}

/** Whether a trial comes before another: by the costs in an order, then by the exact values. */
function comes(row, other, order) {
  for (const index of order) {
    if (row.costs[index] !== other.costs[index]) return row.costs[index] < other.costs[index];
  }
  return row.rank < other.rank;
}

/** Such as "size 63.2 kB is 3.20 kB above 60.0 kB". */
function missText(report, miss, row) {
  const name = miss.constraint.objective;
  const [bound, isUpper] = boundOf(report, miss.constraint);
  const beyond = `${valueText(name, miss.by)} ${isUpper ? "above" : "below"} ${valueText(name, bound)}`;
  return `${shortName(name)} ${valueText(name, row.values[name])} is ${beyond}`;
}

/** The answer in the words of `paretune front`. */
function answerText(report, asked, answer) {
  if (asked.length === 0) return "";
  if (answer.best !== null) {
    const names = new Set([...report.objectives.map((objective) => objective.name), ...asked.map((each) => each.objective)]);
    const values = [...names].map((name) => `${shortName(name)} ${valueText(name, answer.best.values[name])}`);
    return `Best by ${shortName(answer.by)}: trial ${answer.best.trial}, ${values.join(", ")}.`;
  }
  if (answer.nearest === null) return "No trial meets the bounds.";
  const missed = answer.missed.map((miss) => missText(report, miss, answer.nearest)).join(" and ");
  return `No trial meets the bounds; trial ${answer.nearest.trial} comes nearest: ${missed}.`;
}
