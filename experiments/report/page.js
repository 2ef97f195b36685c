// Puts the page together: reads the packed report, draws, and keeps what is chosen and asked in one place.

async function unpack(id) {
  const packed = document.getElementById(id).textContent;
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

/** What changes while the page is used: the trial that is open, the bounds that are asked, who meets them; drawing. */
const state = { chosen: null, asked: [], within: null, isStale: false, drawing: null };

function pairsOf(objectives) {
  return objectives.flatMap((first, index) => objectives.slice(index + 1).map((second) => [first, second]));
}

/** Every chart as a function that draws it anew. */
function makeCharts(report) {
  const place = document.getElementById("projections");
  const charts = [];
  const add = (title, draw, kind = "") => {
    const plot = element("div", { class: `plot ${kind}`, role: "img", "aria-label": `${title}; the table below holds the same points` });
    place.append(element("div", {}, element("h3", {}, title), plot));
    charts.push({ plot, draw: () => draw(plot) });
  };
  if (shownTrials(report).length > 0) {
    place.before(legend(report));
    // the size lies across, as in front.png; a run of one objective is drawn against the trials' sizes
    const objectives = [...report.objectives].sort((one, other) => other.log - one.log);
    const size = { name: "size_bytes", short: "size", minimised: true, log: true };
    const isAlone = objectives.length === 1;
    const others = isAlone && objectives[0].name !== size.name ? [size, ...objectives] : objectives;
    for (const pair of pairsOf(others)) {
      add(`${pair[1].short} against ${pair[0].short}`, (plot) => drawProjection(plot, report, pair, state));
    }
    if (report.objectives.length > 2 && hasWebgl()) {
      const three = objectives.slice(0, 3);
      add(`${three.map((each) => each.short).join(", ")} in space; drag to turn`, (plot) => drawSolid(plot, report, three, state), "solid");
    }
  }
  const progress = document.getElementById("progress");
  progress.setAttribute("role", "img");
  progress.setAttribute("aria-label", "What each trial measured, in the order of the search");
  charts.push({ plot: progress, draw: () => drawProgress(progress, report, state) });
  return charts;
}

/** Draw all charts; what is asked for while they are drawn is drawn once they are. */
function drawAll(charts) {
  state.isStale = true;
  state.drawing ??= (async () => {
    while (state.isStale) {
      state.isStale = false;
      for (const { draw } of charts) await draw();
      await new Promise((done) => setTimeout(done));
    }
    state.drawing = null;
  })();
  return state.drawing;
}

function choose(report, charts, number, { scroll = false } = {}) {
  const row = report.trials[number];
  state.chosen = number;
  showTrial(report, row);
  showChosen(report, row);
  for (const line of document.querySelectorAll("tr[data-trial]")) {
    const isChosen = Number(line.dataset.trial) === number;
    line.classList.toggle("selected", isChosen);
    const radio = line.querySelector("input[type=radio]");
    if (radio) radio.checked = isChosen;
  }
  try {
    history.replaceState(null, "", `#trial-${number}`);
  } catch { /* a page inside another one may have no address of its own */ }
  if (scroll) document.getElementById("trial").scrollIntoView({ block: "start" });
  return drawAll(charts);
}

function showChosen(report, row) {
  const values = row.values ? report.objectives.map(({ name, short }) => `${short} ${valueText(name, row.values[name])}`).join("   ") : row.state;
  const open = () => {
    document.getElementById("trial").scrollIntoView({ block: "start" });
    document.getElementById("trial").focus({ preventScroll: true });
  };
  const bar = document.getElementById("chosen");
  bar.replaceChildren(
    element("strong", {}, row.trial === report.baseline ? "Baseline" : `Trial ${row.trial}`), element("span", { class: "values-text" }, values),
    element("button", { type: "button", onclick: open }, "Layer by layer"));
  bar.hidden = false;
}

/** A slider and a number for one question; the far right asks nothing. */
function questionControls(report, question, changed) {
  const name = question.objective;
  const before = report.trials[report.baseline].values[name];
  const values = report.trials.filter((row) => row.rank !== undefined).map((row) => row.values[name]);
  const worse = (value) => (report.minimised[name] ? value - before : before - value);
  const isDrop = question.bound === "drop";
  const isLog = report.log.includes(name);
  const reached = isDrop ? [0, ...values.map(worse)] : [...values, before];
  const low = Math.max(isDrop ? 0 : Number.MIN_VALUE, Math.min(...reached)), high = Math.max(...reached, low * 1.0001, 1e-9);
  const scale = name.endsWith("_bytes") ? 1000 : 1;
  const at = (share) => (isLog ? low * (high / low) ** share : low + (high - low) * share);
  const shareOf = (value) => (isLog ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low));
  const unit = name.endsWith("_bytes") ? "kB" : name.endsWith("_ratio") ? "times the baseline" : "";
  const text = isDrop ? `at most this much worse in ${shortName(name)}` : `${shortName(name)} at most${unit ? ` (${unit})` : ""}`;
  const number = element("input", { type: "number", min: 0, step: "any", id: `number${question.option}`, placeholder: "any" });
  const slider = element("input", { type: "range", min: 0, max: 1000, value: 1000, "aria-label": `${text}, slider`, "data-option": question.option });
  const tell = () => {
    const value = number.value === "" || !(Number(number.value) >= 0) ? null : Number(number.value) * scale;
    slider.setAttribute("aria-valuetext", value === null ? "any" : valueText(name, value));
    changed(question, value);
  };
  slider.addEventListener("input", () => {
    const share = Number(slider.value) / 1000;
    // rounded up, so that the far left still admits the best
    number.value = share === 1 ? "" : String(Number((Math.ceil((at(share) / scale) * 1e4 - 1e-6) / 1e4).toPrecision(6)));
    tell();
  });
  number.addEventListener("input", () => {
    const value = Number(number.value) * scale;
    slider.value = number.value === "" ? 1000 : Math.round(1000 * Math.min(1, Math.max(0, shareOf(Math.max(value, low)))));
    tell();
  });
  slider.setAttribute("aria-valuetext", "any");
  return element("div", { class: "question" }, element("label", { for: number.id }, text), element("div", { class: "bound" }, slider, number));
}

function makeQuestions(report, charts) {
  if (report.baseline === null || !report.trials.some((row) => row.rank !== undefined)) return;
  const asked = new Map();
  const changed = (question, value) => {
    if (value === null) asked.delete(question.option);
    else asked.set(question.option, { objective: question.objective, bound: question.bound, value });
    // in the order in which `paretune front` reads them
    state.asked = report.questions.filter((each) => asked.has(each.option)).map((each) => asked.get(each.option));
    const answer = askRun(report, state.asked);
    state.within = state.asked.length > 0 ? answer.within : null;
    showAnswer(report, answer, asked);
    const found = state.asked.length > 0 ? answer.best ?? answer.nearest : null;
    if (found !== null && found.trial !== state.chosen) choose(report, charts, found.trial);
    else drawAll(charts);
  };
  document.getElementById("questions").append(...report.questions.map((question) => questionControls(report, question, changed)));
  document.getElementById("asking").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("asking").hidden = false;
}

function showAnswer(report, answer, asked) {
  const place = document.getElementById("answer");
  place.textContent = answerText(report, state.asked, answer);
  place.classList.toggle("nothing", answer.best === null && state.asked.length > 0);
  for (const line of document.querySelectorAll("#front-table tr[data-trial]")) {
    const number = Number(line.dataset.trial);
    line.classList.toggle("outside", state.within !== null && number !== report.baseline && !state.within.has(number));
  }
  const line = document.getElementById("ask-command");
  const words = report.questions.filter(({ option }) => asked.has(option)).map(({ option, objective }) => {
    const { value } = asked.get(option);
    return `${option} ${objective === "size_bytes" ? `${value / 1000}kB` : value}`;
  });
  line.hidden = words.length === 0;
  line.replaceChildren(element("span", {}, "The same in the terminal, where it may also name an untried policy that should do better:"), ...copyLine(`${report.command} ${words.join(" ")}`));
}

/** All trials as a table, made when it is opened: there may be a thousand. */
function makeAllTrials(report, charts) {
  const details = document.getElementById("all-trials");
  const fill = () => {
    const head = ["trial", "state", "proposed by", ...report.objectives.map(({ short }) => short), "channels", "rank", "zeros", "formats"];
    const rows = report.trials.map((row) => element("tr", { "data-trial": row.trial },
      element("th", { scope: "row" }, element("button", { type: "button", class: "plain", onclick: () => choose(report, charts, row.trial, { scroll: true }) }, String(row.trial))),
      element("td", {}, row.front ? `${row.state}, on the front` : row.state), element("td", {}, row.origin),
      report.objectives.map(({ name }) => element("td", { class: "number" }, valueText(name, row.values?.[name]))),
      element("td", {}, row.channels), element("td", {}, row.ranks), element("td", { class: "number" }, percentText(row.zeros)), element("td", {}, row.formats)));
    details.querySelector(".scroll").replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, head.map((text) => element("th", { scope: "col" }, text)))), element("tbody", {}, rows)));
  };
  details.addEventListener("toggle", fill, { once: true });
  details.hidden = report.trials.length === 0;
}

function listen(report, charts) {
  for (const { plot } of charts) {
    plot.on?.("plotly_click", ({ points }) => {
      const number = points.find((point) => point.customdata !== undefined)?.customdata;
      if (number !== undefined) choose(report, charts, number);
    });
  }
  document.getElementById("front-table").addEventListener("change", ({ target }) => choose(report, charts, Number(target.value)));
  document.getElementById("front-table").addEventListener("click", ({ target }) => {
    const line = target.closest("tr[data-trial]");
    if (line && !target.closest("label")) line.querySelector("input[type=radio]").click();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll(charts));
  // paper is light, narrow, and does not wait: what is not drawn when this returns is not printed
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.paper = "";
    charts.forEach(({ draw }) => draw());
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.paper;
    drawAll(charts);
  });
}

async function start() {
  const [text, plotly] = await Promise.all([unpack("packed-report"), unpack("packed-plotly")]);
  const report = JSON.parse(text);
  document.head.append(element("script", {}, plotly));
  const charts = makeCharts(report);
  makeQuestions(report, charts);
  makeAllTrials(report, charts);
  await drawAll(charts);
  listen(report, charts);
  const named = /^#trial-(\d+)$/.exec(location.hash);
  const knee = report.trials.find((row) => row.knee) ?? report.trials.find((row) => row.front) ?? report.trials[report.baseline ?? -1];
  const first = named && report.trials[Number(named[1])] ? report.trials[Number(named[1])] : knee;
  if (first) await choose(report, charts, first.trial);
  document.documentElement.dataset.ready = "yes";
}

start().catch((error) => {
  const trouble = document.getElementById("trouble");
  trouble.textContent = `The charts could not be drawn: ${error.message}. A browser of 2023 or later shows them.`;
  trouble.hidden = false;
  console.error(error);
});
