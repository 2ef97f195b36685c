// The chosen trial: its values, its layers, and the command that exports it.

function copyLine(command) {
  const said = element("span", { role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(command);
      said.textContent = "copied";
    } catch {
      const range = document.createRange();
      range.selectNodeContents(code);
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      said.textContent = "selected; copy it with Ctrl+C";
    }
    setTimeout(() => { said.textContent = ""; }, 4000);
  };
  const code = element("code", {}, command);
  return [code, element("button", { type: "button", onclick: copy }, "Copy"), said];
}

function badges(report, row) {
  const badge = (text, kind) => element("span", { class: `badge ${kind}` }, text);
  if (row.trial === report.baseline) return [badge("uncompressed", "quiet")];
  const found = [];
  if (row.knee) found.push(badge("knee of the front", "knee"));
  if (row.front) found.push(badge("on the front", ""));
  if (row.faults?.length) found.push(badge("not as asked", "bad"));
  if (row.feasible === false) found.push(badge("breaks a constraint", "bad"));
  if (found.length === 0) found.push(badge(row.values ? "beaten by another" : row.state, "quiet"));
  return found;
}

function valueCards(report, row) {
  const baseline = report.baseline === null ? null : report.trials[report.baseline];
  const names = new Set([...report.objectives.map((objective) => objective.name), "size_bytes", "latency_ratio"]);
  return [...names].filter((name) => row.values[name] !== undefined).map((name) => {
    const lines = [];
    if (row.test[name] !== undefined && name === report.metric) lines.push(`${valueText(name, row.test[name])} on the test split`);
    else if (name === report.metric) lines.push("not measured on the test split");
    if (baseline !== null && row !== baseline) lines.push(comparison(report, name, row, baseline));
    if (name === "latency_ratio" && row.latency) lines.push(latencyText(row.latency));
    if (name === "size_bytes" && row.values.raw_bytes) lines.push(`${bytesText(row.values.raw_bytes)} before deflating`);
    const title = name === report.metric ? `${shortName(name)}, validation` : shortName(name);
    return element("div", {}, element("h3", {}, title), element("strong", {}, valueText(name, row.values[name])),
      lines.map((line) => element("span", {}, line)));
  });
}

function comparison(report, name, row, baseline) {
  const [before, after] = [baseline.values[name], row.values[name]];
  if (report.log.includes(name)) return `${(before / after).toFixed(1)}x smaller than the baseline`;
  if (name === "latency_ratio") return after === before ? "as fast as the baseline" : `${Math.abs(100 * (after - before)).toFixed(0)}% ${after < before ? "faster" : "slower"} than the baseline`;
  const change = after - before;
  if (change === 0) return "as the baseline";
  const isWorse = report.minimised[name] ? change > 0 : change < 0;
  return `${general(Math.abs(change), 3)} ${isWorse ? "worse" : "better"} than the baseline`;
}

function latencyText(latency) {
  return `spread ${latency.spread.toFixed(2)}; ${general(latency.latency_ms, 3)} ms beside ${general(latency.baseline_ms, 3)} ms`;
}

/** Fill the section of the chosen trial. */
function showTrial(report, row) {
  const name = row.trial === report.baseline ? "The baseline" : `Trial ${row.trial}`;
  const parts = [element("h2", { id: "trial-title" }, `${name} `, badges(report, row))];
  const origin = row.trial === report.baseline ? "The uncompressed float32 model, converted and measured like any trial." : `Proposed by ${row.origin}; ${row.state}${row.seconds ? ` in ${general(row.seconds, 3)} s` : ""}${row.steps ? `, ${row.steps.toLocaleString("en")} training steps` : ""}.`;
  parts.push(element("p", { class: "lead" }, origin, row.reason ? ` ${row.reason}` : "", row.hyperparameters ? ` Hyperparameters: ${row.hyperparameters}.` : ""));
  if (row.values) parts.push(...measuredParts(report, row));
  else parts.push(element("h3", {}, "Its policy"), policyTable(report, row));
  document.getElementById("trial").replaceChildren(...parts);
  document.getElementById("trial").hidden = false;
}

function measuredParts(report, row) {
  const parts = [element("div", { class: "values" }, valueCards(report, row))];
  const missed = report.baseline === null || row.trial === report.baseline ? [] : misses(report, report.constraints, row);
  if (missed.length > 0) parts.push(element("p", {}, `Breaks a constraint of the experiment: ${missed.map((miss) => missText(report, miss, row)).join(" and ")}.`));
  if (row.export) parts.push(element("p", { class: "command" }, copyLine(row.export)));
  else if (row.file) parts.push(element("p", {}, row.trial === report.baseline ? "Its file: " : "Not on the front, so that export does not offer it; its file: ", element("code", {}, row.file)));
  parts.push(element("h3", {}, "Layer by layer"));
  if (row.faults.length > 0) parts.push(element("ul", { class: "faults" }, row.faults.map((fault) => element("li", {}, fault))));
  parts.push(element("div", { class: `scroll ${row.policy.length <= 30 ? "whole" : ""}`, tabindex: 0, role: "region", "aria-label": "The trial layer by layer" }, layersTable(report, row)));
  parts.push(element("p", { class: "lead" }, explanation(report, row)));
  return parts;
}

function explanation(report, row) {
  const words = ["Darker is more compressed. What is in the file was read from the file itself; int8 stands for int8_qat too, which a file cannot tell apart."];
  if (report.models[row.model].bytes) words.push(`Bars of bytes are shares: hatched of the uncompressed file${report.models.length > 1 ? " of the same model" : ""}, solid of this one.`);
  if (report.profile && row.options) words.push(`The last column is an estimate: what the decision costs alone, imposed on the trained weights without any training, which wins much of it back; below 0 is noise. ${report.profile.sentence}.`);
  return words.join(" ");
}

function policyTable(report, row) {
  const head = ["layer", "channels kept", "rank", "zeros", "distinct values", "number format"].map((text) => element("th", { scope: "col" }, text));
  const body = report.models[row.model].layers.map((layer, index) => {
    const [sparsity, clusters, format, kept, rank] = row.policy[index];
    return element("tr", {}, element("th", { scope: "row" }, layer.name), heatCell(percentText(kept), 1 - kept),
      heatCell(rank === null ? "full" : String(rank), rankDegree(report.models[row.model].layers[index], rank)), heatCell(percentText(sparsity), sparsity),
      heatCell(clusters === null ? "free" : String(clusters), clusterDegree(clusters)), heatCell(format, formatDegree(report, format)));
  });
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Its policy" },
    element("table", { class: "layers" }, element("thead", {}, element("tr", {}, head)), element("tbody", {}, body)));
}
