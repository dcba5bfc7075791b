// The table of trials, a page of it at a time, and the details of one.

const ROWS = 100; // a page of the table: more than a screen, and drawn within a few milliseconds

function columnsOf(trials) {
  const columns = [
    {key: "number", title: "trial", of: (trial) => trial.order},
    {key: "id", title: "id", of: (trial) => trial.id},
    {key: "problem", title: "problem", of: (trial) => trial.problem},
    {key: "method", title: "method", of: (trial) => trial.method},
    {key: "state", title: "state", of: (trial) => trial.state},
    ...DATA.objectives.map((one, index) => ({key: `value ${index}`, title: one.name, of: (trial) => trial.values[index]})),
    {key: "seconds", title: "seconds", of: (trial) => trial.seconds},
    ...parameterNames(trials).map((name) => ({key: `param ${name}`, title: name, of: (trial) => trial.params[name]})),
    ...[...new Set(trials.flatMap((trial) => Object.keys(trial.seeds)))].map((name) => ({key: `seed ${name}`, title: name, of: (trial) => trial.seeds[name]})),
    {key: "reason", title: "reason", of: (trial) => trial.reason, wide: true},
  ];
  return columns.filter((one) => one.key !== "reason" || trials.some((trial) => trial.reason));
}

function compare(a, b) {
  const none = (value) => value === null || value === undefined;
  if (none(a) || none(b)) return none(a) - none(b);
  return typeof a === "number" && typeof b === "number" ? a - b : text(a).localeCompare(text(b));
}

function drawTable(trials) {
  const columns = columnsOf(trials), key = columns.find((one) => one.key === STATE.sort) || columns[0];
  const missing = (trial) => key.of(trial) === null || key.of(trial) === undefined;
  const ordered = [...trials].sort((a, b) => missing(a) - missing(b) || compare(key.of(a), key.of(b)) * (STATE.down ? -1 : 1));
  const pages = Math.max(1, Math.ceil(ordered.length / ROWS));
  STATE.page = Math.min(STATE.page, pages - 1);
  const head = columns.map((one) => `<th data-key="${escaped(one.key)}">${escaped(one.title)}${one === key ? (STATE.down ? " ▾" : " ▴") : ""}</th>`);
  const rows = ordered.slice(STATE.page * ROWS, (STATE.page + 1) * ROWS).map((trial) => {
    const cells = columns.map((one) => `<td${one.wide ? ' class="reason"' : ""}>${escaped(one.key === "id" ? trial.id.slice(0, 12) : one.of(trial))}</td>`);
    return `<tr data-id="${escaped(trial.id)}"${trial.id === STATE.chosen ? ' class="chosen"' : ""}>${cells.join("")}</tr>`;
  });
  document.getElementById("trials").innerHTML = `<table><thead><tr>${head.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
  document.getElementById("pager").innerHTML = pages < 2 ? "" :
    `<button data-step="-1">earlier</button> page ${STATE.page + 1} of ${pages} <button data-step="1">later</button>`;
}

function drawFailures(trials) {
  const counts = new Map();
  for (const trial of trials) if (!["ok", "pruned"].includes(trial.state)) {
    const key = JSON.stringify([trial.method, trial.state, trial.reason || ""]);
    counts.set(key, [...(counts.get(key) || []), trial.id]);
  }
  const rows = [...counts].sort((a, b) => b[1].length - a[1].length).slice(0, 20).map(([key, ids]) => {
    const [method, state, reason] = JSON.parse(key);
    return `<tr data-id="${escaped(ids[0])}"><td>${escaped(method)}</td><td>${escaped(state)}</td><td>${ids.length}</td><td class="text">${escaped(reason)}</td></tr>`;
  });
  document.getElementById("failures").innerHTML = !rows.length ? "" :
    `<h2 class="bad">Trials that failed</h2><div class="wide"><table><tr><th>method</th><th>state</th><th>trials</th><th class="text">reason</th></tr>${rows.join("")}</table></div>`;
}

function drawDetail() {
  const box = document.getElementById("detail"), trial = BY_ID.get(STATE.chosen);
  box.hidden = !trial;
  if (!trial) return;
  const table = (title, values) => {
    const rows = Object.entries(values).map(([name, value]) => `<tr><td>${escaped(name)}</td><td class="text">${escaped(value)}</td></tr>`);
    return rows.length ? `<h2>${title}</h2><table>${rows.join("")}</table>` : "";
  };
  const objectives = Object.fromEntries(DATA.objectives.map((one, index) => [one.name, trial.values[index]]));
  const where = {problem: trial.problem, method: trial.method, number: trial.number, verdict: trial.verdict, state: trial.state, reason: trial.reason,
    "asked by": trial.by, host: trial.host, seconds: trial.seconds};
  const link = trial.folder.split("/").map(encodeURIComponent).join("/").replaceAll("%2E%2E", "..");
  box.innerHTML = `<button type="button" aria-label="Close">✕</button><strong>${escaped(trial.id)}</strong> <a href="${link}/">its files</a>` +
    table("Objectives", objectives) + table("Hyperparameters", trial.params) + table("Seeds", {...trial.seeds, replicate: trial.replicate}) + table("Metrics", trial.metrics) + table("Run", where) +
    '<div id="reported"></div>' +
    (trial.output ? `<h2>End of its output</h2><pre>${escaped(trial.output)}</pre>` : "");
  drawLines(trial.id);
}

// What a trial reported and what lines it left, each a small picture.
function drawLines(id) {
  const host = document.getElementById("reported"), found = [];
  for (const [metric, studies] of Object.entries(DATA.curves)) for (const byTrial of Object.values(studies)) if (id in byTrial)
    found.push([`reported ${metric}`, [{x: byTrial[id].map((one) => one[0]), y: byTrial[id].map((one) => one[1])}]]);
  for (const [name, lines] of Object.entries(DATA.lines[id] || {})) found.push([name.replaceAll("_", " "), lines.map((y) => ({y}))]);
  if (hasLibrary()) for (const [title, traces] of found) {
    const box = document.createElement("div");
    box.className = "line";
    box.innerHTML = `<h2>${escaped(title)}</h2><div class="plot"></div>`;
    host.append(box);
    Plotly.newPlot(box.lastChild, traces.map((one, index) => ({type: "scatter", mode: "lines", line: {width: 1, color: COLOURS[index]}, ...one})),
      layout({showlegend: false, margin: {l: 50, r: 10, t: 5, b: 25}, xaxis: {gridcolor: style("--line")}, yaxis: {gridcolor: style("--line"), automargin: true}}), SETTINGS);
  }
}
