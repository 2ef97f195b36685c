// The charts. Colours come from the style sheet, so that they follow dark mode and print.

/** Kinds of points, from the back to the front; each has a shape of its own, so that colour alone tells nothing. */
const KINDS = [
  { key: "other", label: "beaten by another", symbol: "circle-open", solid: "circle-open", colour: "--muted", size: 7 },
  { key: "infeasible", label: "breaks a constraint", symbol: "x-thin", solid: "x", colour: "--bad", size: 7 },
  { key: "unclean", label: "not as asked", symbol: "triangle-down-open", solid: "diamond-open", colour: "--bad", size: 8 },
  { key: "baseline", label: "baseline", symbol: "square", solid: "square", colour: "--ink", size: 11 },
  { key: "front", label: "on the front", symbol: "circle", solid: "circle", colour: "--accent", size: 9 },
  { key: "knee", label: "knee of the front", symbol: "star", solid: "diamond", colour: "--knee", size: 14 },
];

const SHAPES = {
  other: '<circle cx="8" cy="8" r="4.5" fill="none" stroke="currentColor" stroke-width="1.5"/>',
  infeasible: '<path d="M3 3 13 13M13 3 3 13" stroke="currentColor" stroke-width="2"/>',
  unclean: '<path d="M2 3H14L8 14Z" fill="none" stroke="currentColor" stroke-width="1.5"/>',
  baseline: '<rect x="3" y="3" width="10" height="10" fill="currentColor"/>',
  front: '<circle cx="8" cy="8" r="5" fill="currentColor"/>',
  knee: '<path d="M8 0 10 5.6 16 5.8 11.3 9.3 13 15 8 11.6 3 15 4.7 9.3 0 5.8 6 5.6Z" fill="currentColor"/>',
};

const PLOT_OPTIONS = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset+autosize" };

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** What Plotly shows as it is: it would read tags in it. */
function literal(text) {
  return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function kindOf(report, row) {
  if (row.trial === report.baseline) return "baseline";
  if (row.knee) return "knee";
  if (row.front) return "front";
  if (row.faults.length > 0) return "unclean";
  return row.feasible === false ? "infeasible" : "other";
}

/** The trials that belong beside a front: trained in full, and measured. */
function shownTrials(report) {
  return report.trials.filter((row) => row.state === "complete" && row.values);
}

function trialName(report, row) {
  return row.trial === report.baseline ? "baseline" : `trial ${row.trial}`;
}

function hoverText(report, row) {
  const kind = KINDS.find((each) => each.key === kindOf(report, row)).label;
  const values = report.objectives.map(({ name, short }) => `${short} ${valueText(name, row.values[name])}`);
  const lines = [`<b>${trialName(report, row)}</b> ${row.trial === report.baseline ? "" : `(${kind})`}`, values.join("   ")];
  if (row.trial !== report.baseline) {
    if (row.channels !== "-") lines.push(`channels kept ${row.channels}`);
    if (row.ranks !== "-") lines.push(`rank ${row.ranks}`);
    lines.push(`zeros ${percentText(row.zeros)}   clusters ${row.clusters}`, literal(row.formats));
  }
  if (row.hyperparameters) lines.push(literal(row.hyperparameters));
  return lines.join("<br>");
}

/** One trace for each kind of point, and a ring around the chosen one. */
function pointTraces(report, names, state, { solid = false } = {}) {
  const place = (rows) => Object.fromEntries(["x", "y", "z"].slice(0, names.length).map(
    (axis, index) => [axis, rows.map((row) => row.values[names[index]])],
  ));
  const rows = shownTrials(report);
  const isMuted = (row) => state.within !== null && !state.within.has(row.trial) && row.trial !== report.baseline;
  const traces = KINDS.map((kind) => {
    const own = rows.filter((row) => kindOf(report, row) === kind.key);
    const tint = colour(kind.colour);
    const weak = ["other", "infeasible"].includes(kind.key) ? 0.75 : 1;
    const marker = {
      symbol: solid ? kind.solid : kind.symbol,
      size: solid ? kind.size * 0.55 : kind.size,
      color: tint,
      line: { color: kind.symbol.includes("open") || kind.symbol === "x-thin" ? tint : colour("--card"), width: kind.symbol === "x-thin" ? 1.6 : 1 },
      opacity: solid ? weak ** 3 : own.map((row) => (isMuted(row) ? 0.22 : weak)),
    };
    return { ...place(own), name: kind.label, marker, customdata: own.map((row) => row.trial), text: own.map((row) => hoverText(report, row)) };
  });
  const chosen = rows.filter((row) => row.trial === state.chosen);
  traces.push({
    ...place(chosen), name: "chosen", hoverinfo: "skip", customdata: chosen.map((row) => row.trial),
    marker: { symbol: "circle-open", size: solid ? 11 : 20, color: colour("--ink"), line: { width: solid ? 3 : 2.5, color: colour("--ink") } },
  });
  return traces.map((trace) => ({
    mode: "markers", hovertemplate: trace.hoverinfo ? undefined : "%{text}<extra></extra>", showlegend: false, ...trace,
    type: names.length === 3 ? "scatter3d" : "scatter",
  }));
}

function axisTitle({ short, minimised }) {
  return `${literal(short)} (${minimised ? "less" : "more"} is better)`;
}

/** Ticks at 1, 2 and 5 times powers of ten, spelled as bytes: Plotly would spell every other one. */
function byteTicks() {
  const tickvals = Array.from({ length: 33 }, (_, place) => [1, 2, 5][place % 3] * 10 ** Math.floor(place / 3));
  return { tickmode: "array", tickvals, ticktext: tickvals.map((count) => bytesText(count).replace(/\.0+ /, " ")) };
}

function axis({ name, log }, more = {}) {
  const unit = !name.endsWith("_bytes") ? {} : log ? byteTicks() : { tickformat: "~s", ticksuffix: "B" };
  const suffix = name.endsWith("_ratio") ? { ticksuffix: "x" } : {};
  return {
    type: log ? "log" : "linear", gridcolor: colour("--grid"), linecolor: colour("--line"), zeroline: false,
    tickfont: { color: colour("--soft"), size: 11 }, automargin: true, ...unit, ...suffix, ...more,
  };
}

/** The range that shows what is worth a look: the front, the baseline, and what meets the constraints; else all. */
function rangeOf(report, objective) {
  const shown = shownTrials(report);
  const isWorth = (row) => !shown.some((each) => each.front) || !["infeasible", "unclean"].includes(kindOf(report, row));
  const worth = shown.filter(isWorth);
  const values = worth.map((row) => (objective.log ? Math.log10(row.values[objective.name]) : row.values[objective.name]));
  if (values.length === 0) return undefined;
  const low = Math.min(...values), high = Math.max(...values);
  const room = (high - low) * 0.07 || Math.abs(high) * 0.05 || 1;
  return [low - room, high + room];
}

/** Size of a chart on paper, in pixels: A4 and Letter leave room for 650; on a screen, a chart fills its place. */
function paperSize(width, height) {
  return "paper" in document.documentElement.dataset ? { autosize: false, width, height } : { autosize: true };
}

function hasWebgl() {
  return document.createElement("canvas").getContext("webgl") !== null;
}

function baseLayout(width = 320, height = 270) {
  return {
    ...paperSize(width, height),
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hovermode: "closest",
    font: { family: "system-ui, -apple-system, 'Segoe UI', Roboto, Arial, sans-serif", color: colour("--ink"), size: 12 },
    hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--muted"), font: { color: colour("--ink"), size: 13 }, align: "left" },
    margin: { l: 56, r: 18, t: 10, b: 46 },
  };
}

/** Dotted lines where bounds are. */
function boundLines(report, [first, second], state) {
  const lines = [];
  const add = (constraint, dash) => {
    const [bound] = boundOf(report, constraint);
    const line = { color: colour(dash === "dot" ? "--accent" : "--bad"), width: 1.5, dash };
    if (constraint.objective === first.name) lines.push({ type: "line", xref: "x", yref: "paper", x0: bound, x1: bound, y0: 0, y1: 1, line });
    if (constraint.objective === second.name) lines.push({ type: "line", xref: "paper", yref: "y", x0: 0, x1: 1, y0: bound, y1: bound, line });
  };
  if (report.baseline !== null) {
    for (const constraint of report.constraints) add(constraint, "dash");
    for (const constraint of state.asked) add(constraint, "dot");
  }
  return lines;
}

function drawProjection(plot, report, pair, state) {
  const [first, second] = pair;
  const layout = {
    ...baseLayout(),
    xaxis: axis(first, { title: { text: axisTitle(first), standoff: 8 }, range: rangeOf(report, first) }),
    yaxis: axis(second, { title: { text: axisTitle(second), standoff: 8 }, range: rangeOf(report, second) }),
    shapes: boundLines(report, pair, state), uirevision: "kept",
  };
  return Plotly.react(plot, pointTraces(report, [first.name, second.name], state), layout, PLOT_OPTIONS);
}

function drawSolid(plot, report, three, state) {
  const look = (objective) => axis(objective, {
    title: { text: literal(objective.short), font: { size: 12 } }, range: rangeOf(report, objective),
    showbackground: false, gridcolor: colour("--line"), nticks: 5,
  });
  const [x, y, z] = three.map(look);
  const scene = { xaxis: x, yaxis: y, zaxis: z, uirevision: "kept", aspectmode: "cube", camera: { eye: { x: 1.3, y: -1.3, z: 0.7 }, center: { x: 0, y: 0, z: -0.12 } } };
  const layout = { ...baseLayout(), scene, margin: { l: 0, r: 0, t: 0, b: 0 }, uirevision: "kept" };
  return Plotly.react(plot, pointTraces(report, three.map((objective) => objective.name), state, { solid: true }), layout, PLOT_OPTIONS);
}

/** Values and hypervolume over the trials, one row each; below them what was never measured. */
function drawProgress(plot, report, state) {
  const lost = report.trials.filter((row) => !row.values);
  const short = report.trials.filter((row) => ["short", "stopped"].includes(row.state));
  const rows = report.objectives.map((objective) => ({ title: literal(objective.short), objective }));
  if (report.hypervolumes.length > 0) rows.push({ title: "hypervolume" });
  if (lost.length > 0) rows.push({ title: "not measured", lost: true });
  const heights = rows.map((row) => (row.lost ? 0.45 : 1));
  const total = heights.reduce((sum, height) => sum + height, 0);
  const traces = [], layout = { ...baseLayout(650, 120 * Math.max(1.6, total)), margin: { l: 70, r: 18, t: 8, b: 42 }, uirevision: "kept" };
  let top = 1;
  rows.forEach((row, index) => {
    const name = index === 0 ? "y" : `y${index + 1}`;
    const bottom = Math.max(0, top - heights[index] / total);
    const key = `yaxis${index === 0 ? "" : index + 1}`;
    layout[key] = { ...(row.objective ? axis(row.objective, { range: rangeOf(report, row.objective) }) : axis({ name: "" })),
      domain: [bottom + 0.025, top], title: { text: row.title, standoff: 6, font: { size: 12 } } };
    top = bottom;
    const add = (trace) => traces.push({ mode: "markers", showlegend: false, yaxis: name, hovertemplate: "%{text}<extra></extra>", ...trace });
    if (row.objective) {
      for (const trace of pointTraces(report, ["", row.objective.name], { ...state, within: null })) {
        add({ ...trace, x: trace.customdata });
      }
      const measured = short.filter((each) => each.values?.[row.objective.name] !== undefined);
      add({ x: measured.map((each) => each.trial), y: measured.map((each) => each.values[row.objective.name]), customdata: measured.map((each) => each.trial),
        text: measured.map((each) => `<b>trial ${each.trial}</b> (${each.state === "stopped" ? "stopped" : "went on"} after a short training)`),
        marker: { symbol: "diamond-open", size: 7, color: colour("--muted") } });
    } else if (row.lost) {
      add({ x: lost.map((each) => each.trial), y: lost.map((each) => each.state), customdata: lost.map((each) => each.trial),
        text: lost.map((each) => `<b>trial ${each.trial}</b> ${each.state}${each.reason ? `<br>${literal(each.reason)}` : ""}`),
        marker: { symbol: lost.map((each) => ({ failed: "x", refused: "line-ns-open" })[each.state] ?? "circle-open"), size: 8, color: colour("--muted") } });
      layout[key] = { ...layout[key], type: "category", title: { text: "" } };
    } else {
      const [numbers, volumes] = [0, 1].map((place) => report.hypervolumes.map((each) => each[place]));
      add({ x: numbers, y: volumes, mode: "lines", line: { shape: "hv", color: colour("--accent"), width: 2 }, fill: "tozeroy",
        fillcolor: colour("--wash"), text: volumes.map((value, at) => `after trial ${numbers[at]}: ${general(value)}`) });
    }
  });
  const last = rows.length === 1 ? "y" : `y${rows.length}`;
  layout.xaxis = axis({ name: "" }, { title: { text: "trial", standoff: 6 }, anchor: last, range: [-0.02 * report.trials.length - 0.5, 1.02 * report.trials.length] });
  plot.style.height = `${Math.max(16, 10 * total)}rem`;
  return Plotly.react(plot, traces, layout, PLOT_OPTIONS);
}

function legend(report) {
  const present = new Set(shownTrials(report).map((row) => kindOf(report, row)));
  const items = KINDS.filter((kind) => present.has(kind.key)).reverse().map((kind) => {
    const mark = element("span", { "aria-hidden": "true" });
    // the shapes are ours, and fixed
    mark.innerHTML = `<svg viewBox="0 0 16 16" style="color: var(${kind.colour})">${SHAPES[kind.key]}</svg>`;
    return element("li", {}, mark, kind.label);
  });
  if (report.constraints.length > 0) items.push(element("li", {}, "- - constraint of the experiment"));
  return element("ul", { class: "legend" }, items);
}
