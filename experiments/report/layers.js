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

/** The share of its weights that a kernel of low rank does without. */
function rankDegree(layer, rank) {
  const sizes = layer.shape.split("x").map(Number);
  const [inputs, outputs] = [sizes.slice(0, -1).reduce((product, size) => product * size, 1), sizes[sizes.length - 1]];
  return rank === null ? 0 : 1 - (rank * (inputs + outputs)) / (inputs * outputs);
}

function hasRanks(row) {
  return row.policy.some(([, , , , rank]) => rank !== null);
}

function formatDegree(report, name) {
  const bits = report.bits[name];
  return bits === undefined ? 0 : 1 - (Math.log2(bits) - 2) / 3;
}

/** What the trial's options of the units that begin with a layer cost; `first` is the layer that speaks for it elsewhere. */
function costOf(report, row, layer) {
  if (!report.profile || !row.options) return null;
  const units = report.profile.units.map((unit, index) => ({ first: unit.layers[0], layers: unit.layers, drop: unit.drops[row.options[index]] }));
  const own = units.filter(({ layers }) => layers.includes(layer));
  if (own.length === 0) return null;
  const drops = own.filter(({ first }) => first === layer).map(({ drop }) => drop);
  if (drops.length === 0) return { first: own[0].first, drop: null };
  return { first: layer, drop: drops.includes(null) ? null : drops.reduce((sum, drop) => sum + drop, 0) };
}

function layerRow(report, row, model, index, most) {
  const layer = model.layers[index];
  const [sparsity, clusters, format, kept, rank] = row.policy[index];
  const [zeros, weights, distinct, scope, storedAs, bytes, added, channels, foundRank] = row.found[index] ?? [];
  const isFound = weights !== undefined;
  const expected = format === "int8_qat" ? "int8" : format;
  const cells = [
    element("th", { scope: "row", class: "name" }, layer.name, element("small", {}, `${layer.kind} ${layer.shape}`)),
    heatCell(layer.channels ? percentText(kept) : "-", 1 - kept, "asked"),
    heatCell(isFound && layer.channels ? `${channels} of ${layer.channels}` : "-", 1 - kept, isFound && layer.channels && channels !== Math.max(1, Math.round(layer.channels * kept)) ? "fault" : ""),
    ...(hasRanks(row) ? [
      heatCell(rank === null ? "full" : String(rank), rankDegree(layer, rank), "asked"),
      heatCell(isFound ? String(foundRank || "full") : "-", rankDegree(layer, rank), isFound && ((rank === null) !== (foundRank === 0) || foundRank > rank) ? "fault" : ""),
    ] : []),
    heatCell(percentText(sparsity), sparsity, "asked"),
    heatCell(isFound ? percentText(zeros / weights) : "-", zeros / weights, isFound && zeros - added < Math.round(weights * sparsity) - 1 ? "fault" : ""),
    heatCell(clusters === null ? "free" : String(clusters), clusterDegree(clusters), "asked"),
    heatCell(isFound ? `${distinct} per ${scope}` : "-", clusterDegree(distinct ?? null), isFound && clusters !== null && distinct > clusters ? "fault" : ""),
    heatCell(format, formatDegree(report, format), "asked"),
    heatCell(storedAs ?? "-", formatDegree(report, storedAs), storedAs && storedAs !== expected ? "fault" : ""),
  ];
  const before = model.bytes?.[index];
  cells.push(bytesCell("before", before, model.file_bytes, most, "first"), bytesCell("after", bytes, row.values.size_bytes, most),
    element("td", { class: "number" }, before && bytes ? `${(before / bytes).toFixed(1)}x` : "-"));
  if (most.hasCosts) cells.push(costCell(costOf(report, row, layer.name), layer.name, most));
  return element("tr", {}, cells);
}

/** The bytes of a layer, and a bar of their share of its own file: where the bytes of either file are. */
function bytesCell(kind, bytes, fileBytes, most, more = "") {
  if (bytes === undefined) return element("td", { class: more }, "-");
  const share = fileBytes > 0 ? bytes / fileBytes : 0;
  return element("td", { class: `bars ${more}` },
    element("span", { class: "bar-text" }, element("span", {}, bytesText(bytes)), element("small", {}, percentText(share))), bar(kind, share / most.share));
}

function costCell(cost, layer, most) {
  if (cost === null) return element("td", { class: "first" }, "-");
  if (cost.first !== layer) return element("td", { class: "first" }, element("small", {}, `together with ${cost.first}`));
  if (cost.drop === null) return element("td", { class: "first" }, "not measured");
  return element("td", { class: "bars first" }, general(cost.drop, 2), bar("cost", cost.drop / most.drop));
}

function layersTable(report, row) {
  const model = report.models[row.model];
  const costs = model.layers.map((layer) => costOf(report, row, layer.name)).filter((cost) => cost !== null);
  const after = row.found.reduce((sum, found) => sum + found[5], 0);
  const before = model.bytes?.reduce((sum, bytes) => sum + bytes, 0);
  const files = [[model.file_bytes, [...(model.bytes ?? []), model.file_bytes - before]], [row.values.size_bytes, [...row.found.map((found) => found[5]), row.values.size_bytes - after]]];
  const shares = files.flatMap(([file, parts]) => parts.map((bytes) => bytes / file)).filter(Number.isFinite);
  const most = {
    share: Math.max(1e-9, ...shares),
    drop: Math.max(1e-12, ...costs.map((cost) => cost.drop ?? 0)),
    hasCosts: costs.length > 0,
    columns: hasRanks(row) ? 11 : 9,
  };
  const group = (text, span) => element("th", { scope: "colgroup", colspan: span, class: "first" }, text);
  const column = (text, kind = "") => element("th", { scope: "col", class: kind }, text);
  const head = element("thead", {},
    element("tr", {}, element("td", { class: "name" }), group("channels kept", 2), hasRanks(row) ? group("rank", 2) : null, group("zeros", 2), group("distinct values", 2), group("number format", 2),
      group("bytes, deflated", 3), most.hasCosts ? group(`${report.metric} it costs`, 1) : null),
    element("tr", {}, column("layer", "name"), ...(hasRanks(row) ? [0, 1, 2, 3, 4] : [0, 1, 2, 3]).flatMap(() => [column("asked", "asked"), column("in the file")]),
      column("before", "first"), column("after"), column("smaller", "number"), most.hasCosts ? column("alone, untrained", "first") : null));
  const total = (name, old, now, withBars) => totalRow(name, [old, model.file_bytes], [now, row.values.size_bytes], most, withBars);
  const foot = row.found.length === 0 ? null : element("tfoot", {},
    total("all layers", before, after, false),
    total("the rest: graph, biases, scales", model.file_bytes - before, Math.max(0, row.values.size_bytes - after), true),
    total("the file", model.file_bytes, row.values.size_bytes, false));
  return element("table", { class: "layers" }, head,
    element("tbody", {}, model.layers.map((_, index) => layerRow(report, row, model, index, most))), foot);
}

function totalRow(name, [before, fileBefore], [after, fileAfter], most, withBars) {
  const known = Number.isFinite(before) && before > 0;
  const cell = (kind, bytes, file, more) => (withBars ? bytesCell(kind, bytes, file, most, more) : element("td", { class: more }, bytesText(bytes)));
  return element("tr", {}, element("th", { scope: "row", colspan: most.columns }, name),
    known ? cell("before", before, fileBefore, "first") : element("td", { class: "first" }, "-"), cell("after", after, fileAfter, ""),
    element("td", { class: "number" }, known && after > 0 ? `${(before / after).toFixed(1)}x` : "-"), most.hasCosts ? element("td", { class: "first" }) : null);
}
