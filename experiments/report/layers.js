// One trial layer by layer: asked against found in the file, bytes before and after, and what decisions cost.

function bar(kind, share) {
  const width = Number.isFinite(share) ? Math.min(1, Math.max(0, share)) : 0;
  return element("span", { class: `bar ${kind}`, "--share": width, "aria-hidden": "true" });
}

function heatCell(text, degree, more = "") {
  return element("td", { class: `heat ${more}`, "--degree": Math.min(1, Math.max(0, degree || 0)).toFixed(3) }, text);
}

/** Few distinct values are much: 2 give 1, 256 and more give 0. */
function clusterDegree(count) {
  return count === null ? 0 : 1 - (Math.log2(count) - 1) / 7;
}

function formatDegree(report, name) {
  const bits = report.bits[name];
  return bits === undefined ? 0 : 1 - (Math.log2(bits) - 2) / 3;
}

/** The unit of the profile that a layer belongs to, and what the trial's option of it costs. */
function costOf(report, row, layer) {
  if (!report.profile || !row.options) return null;
  const index = report.profile.units.findIndex((unit) => unit.layers.includes(layer));
  if (index < 0) return null;
  const unit = report.profile.units[index];
  return { unit, isFirst: unit.layers[0] === layer, drop: unit.drops[row.options[index]], rise: unit.rises[row.options[index]] };
}

function layerRow(report, row, model, index, most) {
  const layer = model.layers[index];
  const [sparsity, clusters, format] = row.policy[index];
  const [zeros, weights, distinct, scope, storedAs, bytes, added] = row.found[index] ?? [];
  const isFound = weights !== undefined;
  const expected = format === "int8_qat" ? "int8" : format;
  const cells = [
    element("th", { scope: "row" }, layer.name, element("small", {}, `${layer.kind} ${layer.shape}`)),
    heatCell(percentText(sparsity), sparsity, "asked"),
    heatCell(isFound ? percentText(zeros / weights) : "-", zeros / weights, isFound && zeros - added < Math.round(weights * sparsity) - 1 ? "fault" : ""),
    heatCell(clusters === null ? "free" : String(clusters), clusterDegree(clusters), "asked"),
    heatCell(isFound ? `${distinct} a ${scope}` : "-", clusterDegree(distinct ?? null), isFound && clusters !== null && distinct > clusters ? "fault" : ""),
    heatCell(format, formatDegree(report, format), "asked"),
    heatCell(storedAs ?? "-", formatDegree(report, storedAs), storedAs && storedAs !== expected ? "fault" : ""),
  ];
  const before = model.bytes?.[index];
  cells.push(element("td", { class: "bars first" }, bytes === undefined ? "-" : [
    before === undefined ? null : bar("before", before / most.bytes), bar("after", bytes / most.bytes),
    element("span", { class: "bar-text" },
      element("span", {}, before === undefined ? bytesText(bytes) : `${bytesText(before)} → ${bytesText(bytes)}`),
      before ? element("small", {}, `${(before / bytes).toFixed(1)}x`) : null),
  ]));
  if (most.hasCosts) cells.push(costCell(costOf(report, row, layer.name), most));
  return element("tr", {}, cells);
}

function costCell(cost, most) {
  if (cost === null) return element("td", { class: "first" }, "-");
  if (!cost.isFirst) return element("td", { class: "first" }, element("small", {}, `together with ${cost.unit.layers[0]}`));
  if (cost.drop === null) return element("td", { class: "first" }, "not measured");
  return element("td", { class: "bars first" }, bar("cost", cost.drop / most.drop), general(cost.drop, 2));
}

function layersTable(report, row) {
  const model = report.models[row.model];
  const costs = model.layers.map((layer) => costOf(report, row, layer.name)).filter((cost) => cost !== null);
  const most = {
    bytes: Math.max(1, ...(model.bytes ?? []), ...row.found.map((found) => found[5])),
    drop: Math.max(1e-12, ...costs.map((cost) => cost.drop ?? 0)),
    hasCosts: costs.length > 0,
  };
  const after = row.found.reduce((sum, found) => sum + found[5], 0);
  const before = model.bytes?.reduce((sum, bytes) => sum + bytes, 0);
  const group = (text, span) => element("th", { scope: "colgroup", colspan: span, class: "first" }, text);
  const column = (text, kind = "") => element("th", { scope: "col", class: kind }, text);
  const head = element("thead", {},
    element("tr", {}, element("td"), group("zeros", 2), group("distinct values", 2), group("number format", 2),
      group("bytes, deflated", 1), most.hasCosts ? group(`${report.metric} it costs`, 1) : null),
    element("tr", {}, column("layer"), ...[0, 1, 2].flatMap(() => [column("asked", "asked"), column("in the file")]),
      column("before → after", "first"), most.hasCosts ? column("alone, untrained", "first") : null));
  const foot = row.found.length === 0 ? null : element("tfoot", {},
    totalRow("all layers", before, after, most.hasCosts),
    totalRow("the rest of the file", model.file_bytes - before, row.values.size_bytes - after, most.hasCosts),
    totalRow("the file", model.file_bytes, row.values.size_bytes, most.hasCosts));
  return element("table", { class: "layers" }, head,
    element("tbody", {}, model.layers.map((_, index) => layerRow(report, row, model, index, most))), foot);
}

function totalRow(name, before, after, hasCosts) {
  const told = Number.isFinite(before) && before > 0 ? `${bytesText(before)} → ${bytesText(after)}` : bytesText(after);
  return element("tr", {}, element("th", { scope: "row", colspan: 7 }, name), element("td", { class: "first" }, told),
    hasCosts ? element("td", { class: "first" }) : null);
}
