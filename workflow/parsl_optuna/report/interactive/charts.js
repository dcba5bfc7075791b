// Pictures of the trials that the filters leave. Each draws itself into an element when it comes into view.

const DATA = JSON.parse(document.getElementById("data").textContent);
const BY_ID = new Map(DATA.trials.map((trial) => [trial.id, trial]));
const STATE = {problem: "", method: "", state: "", search: "", sort: "number", down: false, page: 0, chosen: "", picks: {}};

// A trial of a list of points has no number: the order of its study is that in which trials began.
(() => {
  const next = new Map();
  for (const trial of [...DATA.trials].sort((a, b) => (a.number ?? 1e15) - (b.number ?? 1e15) || a.began - b.began)) {
    const study = JSON.stringify([trial.problem, trial.method]);
    trial.order = trial.number ?? next.get(study) ?? 0;
    next.set(study, trial.order + 1);
  }
})();

const LIGHT = ["#2a6fdb", "#d9772b", "#2f9e6e", "#b04fb8", "#c0392b", "#7a7f2a", "#16889c", "#8d6e5a"];
const DARK = ["#78aaff", "#f0a35e", "#5fd3a0", "#dc8fe3", "#f08a7f", "#c3c95e", "#5fd0e3", "#c9a793"];
const darkness = matchMedia("(prefers-color-scheme: dark)");
let COLOURS = darkness.matches ? DARK : LIGHT;
const MOST_POINTS = 2500; // drawn in a picture: more make it slow and hide each other; browsers allow few WebGL pictures
const MOST_LINES = 800; // across parallel axes: more cannot be told apart, and take seconds without a graphics card
const hasWebgl = (() => {
  try { return !!document.createElement("canvas").getContext("webgl"); } catch { return false; }
})();

const text = (value) => value === null || value === undefined ? "" : typeof value === "number" ? number(value) : String(value);
const number = (value) => Number.isInteger(value) && Math.abs(value) < 1e7 ? String(value) : String(Number(value.toPrecision(4)));
const known = (value) => typeof value === "number" && Number.isFinite(value);
const unique = (values) => [...new Set(values)];
const escaped = (value) => text(value).replace(/[&<>"]/g, (one) => ({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"})[one]);
const drawnText = (value) => escaped(value).replaceAll("&quot;", '"'); // Plotly's text knows few entities
const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const groupName = (trial) => `${trial.method} · ${trial.problem}`;
const grouped = (trials) => {
  const groups = new Map();
  for (const trial of trials) {
    const name = groupName(trial);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(trial);
  }
  return groups;
};
// What varies within a method on a problem: between methods, what differs is which parameters they have.
const parameterNames = (trials) => {
  const names = new Set(), first = new Map();
  for (const trial of trials)
    for (const [name, value] of Object.entries(trial.params)) {
      const key = JSON.stringify([groupName(trial), name]), text = JSON.stringify(value);
      if (!first.has(key)) first.set(key, text);
      else if (first.get(key) !== text) names.add(name);
    }
  return [...names].sort();
};
// Hyperparameters that some trial has together with another one.
const partners = (trials, first) =>
  parameterNames(trials.filter((trial) => first in trial.params)).filter((name) => name !== first);
const hover = (trial) => {
  const params = Object.entries(trial.params).slice(0, 12).map(([name, value]) => `${drawnText(name)}=${drawnText(value)}`);
  params.push(...Object.entries(trial.seeds).map(([name, value]) => `${drawnText(name)}=${drawnText(value)}`));
  return [`${trial.id.slice(0, 12)} (${trial.number ?? "-"}) ${trial.state}`, groupName(trial), ...params].join("<br>");
};
const isNumeric = (values) => values.length > 0 && values.every(known);
// Over an order of magnitude the small values, as those of another problem, are one line on a linear axis.
const wantsLog = (values) => {
  if (!isNumeric(values)) return false;
  let low = Infinity, high = 0;
  for (const value of values) { if (value <= 0) return false; low = Math.min(low, value); high = Math.max(high, value); }
  return high / low > 10;
};
const decades = (values) => {
  let low = Infinity, high = 0;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  return Math.log10(high / low);
};
const levelsOf = (values) => [...new Set(values)].sort((a, b) => known(a) && known(b) ? a - b : text(a).localeCompare(text(b), undefined, {numeric: true}));
const axis = (title, values) => ({
  title: {text: drawnText(title), standoff: 8}, ...(isNumeric(values) ? {type: wantsLog(values) ? "log" : "linear"} : {type: "category", categoryorder: "array", categoryarray: levelsOf(values.map(text))}),
  gridcolor: style("--line"), zerolinecolor: style("--line"), automargin: true, exponentformat: "power",
  ...(wantsLog(values) && decades(values) < 12 ? {dtick: decades(values) < 2 ? "D2" : 1} : {}),
});
const layout = (extra) => ({
  margin: {l: 50, r: 10, t: 10, b: 40}, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
  font: {color: style("--ink"), size: 12}, legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0}, hovermode: "closest", ...extra,
});
const points = (trials, x, y, extra = {}) => ({
  type: "scatter", mode: "markers",
  x: trials.map(x), y: trials.map(y), customdata: trials.map((trial) => trial.id),
  text: trials.map(hover), hovertemplate: "%{text}<br>%{x}, %{y}<extra></extra>", ...extra,
});
// Evenly spaced ones of many trials; lines, tables, counts and filters have them all.
const thinned = (trials, most = MOST_POINTS) => {
  const every = Math.ceil(trials.length / most);
  return every < 2 ? trials : trials.filter((_, index) => index % every === 0);
};
const objectiveName = (index = 0) => DATA.objectives[index].name;
const better = (a, b, index = 0) => DATA.objectives[index].maximise ? a > b : a < b;
// What may be the best: infeasible trials are shown, but count only where there is no other.
const candidates = (trials) => trials.some((one) => one.feasible) ? trials.filter((one) => one.feasible) : trials;
const scored = (trials, index = 0) => trials.filter((trial) => trial.state === "ok" && known(trial.values[index]));

function course(trials) {
  const traces = [], all = [];
  let colour = 0;
  const usable = scored(trials).filter((trial) => trial.by !== "confirm"), kept = new Set(thinned(usable).map((one) => one.id));
  for (const [name, group] of grouped(usable)) {
    const ordered = group.sort((a, b) => a.order - b.order);
    const look = {color: COLOURS[colour++ % COLOURS.length]};
    const drawn = ordered.filter((one) => kept.has(one.id));
    traces.push(points(drawn, (one) => one.order, (one) => one.values[0], {name, legendgroup: name, marker: {...look, size: 6, opacity: .6, symbol: drawn.map((one) => one.feasible ? "circle" : "x")}}));
    let best = null;
    const counting = candidates(ordered).filter((one, index, all) => {
      const wins = best === null || better(one.values[0], best);
      if (wins) best = one.values[0];
      return wins || index === all.length - 1;
    });
    best = null;
    const line = counting.map((one) => best = best === null || better(one.values[0], best) ? one.values[0] : best);
    traces.push({type: "scatter", mode: "lines", x: counting.map((one) => one.order), y: line, line: {...look, shape: "hv"},
      name: `best: ${name}`, legendgroup: name, showlegend: false, hoverinfo: "skip"});
    for (const one of ordered) all.push(one.values[0]);
  }
  return all.length ? {traces, layout: {xaxis: axis("trial", [1]), yaxis: axis(objectiveName(), all)}} : null;
}

function slice(trials, [name]) {
  const usable = thinned(scored(trials).filter((trial) => name in trial.params));
  if (!usable.length) return null;
  const values = usable.map((trial) => trial.params[name]);
  const shown = isNumeric(values) ? (trial) => trial.params[name] : (trial) => text(trial.params[name]);
  let colour = 0;
  const traces = [...grouped(usable)].map(([group, own]) =>
    points(own, shown, (one) => one.values[0], {name: group, marker: {color: COLOURS[colour++ % COLOURS.length], size: 6, opacity: .7}}));
  return {traces, layout: {xaxis: axis(name, values), yaxis: axis(objectiveName(), usable.map((one) => one.values[0]))}};
}

function pairs(trials, [first, second]) {
  const usable = thinned(scored(trials).filter((trial) => first in trial.params && second in trial.params));
  if (!usable.length) return null;
  const values = usable.map((trial) => trial.values[0]), log = wantsLog(values);
  const shown = (name) => (trial) => known(trial.params[name]) ? trial.params[name] : text(trial.params[name]);
  const bar = {title: {text: (log ? "log10 " : "") + drawnText(objectiveName())}, thickness: 12, exponentformat: "power"};
  const marker = {size: 9, color: log ? values.map(Math.log10) : values, colorscale: "Viridis", showscale: true, colorbar: bar};
  return {
    traces: [points(usable, shown(first), shown(second), {marker})],
    layout: {xaxis: axis(first, usable.map((one) => one.params[first])), yaxis: axis(second, usable.map((one) => one.params[second]))},
  };
}

function parallel(trials) {
  const usable = thinned(scored(trials), MOST_LINES), names = parameterNames(usable).slice(0, 14);
  if (!usable.length || !names.length) return null;
  const dimension = (label, values) => {
    if (values.every((one) => one === null || known(one)) && values.some(known)) {
      const log = wantsLog(values.filter(known));
      const numbers = values.map((one) => one === null ? NaN : log ? Math.log10(one) : one);
      return {label: (log ? "log10 " : "") + label, values: numbers, tickformat: ".3~g"};
    }
    const levels = levelsOf(values.map(text));
    return {label, values: values.map((one) => levels.indexOf(text(one))), tickvals: levels.map((_, index) => index), ticktext: levels};
  };
  const values = usable.map((trial) => trial.values[0]);
  const last = dimension(objectiveName(), values);
  // Trials of several methods have no parameter in common: each axis needs a value of every line.
  const shared = names.filter((name) => usable.every((trial) => name in trial.params));
  if (!shared.length) return "These trials have no hyperparameter in common: choose a method.";
  const dimensions = [...shared.map((name) => dimension(name, usable.map((trial) => trial.params[name]))), last];
  const longest = Math.max(...(dimensions[0].ticktext || []).map((one) => one.length), 6); // it stands left of the first axis
  return {traces: [{type: "parcoords", dimensions, line: {color: last.values, colorscale: "Viridis"}, labelangle: -20}],
    layout: {width: Math.max(document.getElementById("charts").clientWidth - 22, 90 * dimensions.length), margin: {l: Math.min(24 + 7 * longest, 240), r: 60, t: 70, b: 20}}};
}

function frontOf(trials) {
  const ordered = [...candidates(trials)].sort((a, b) => better(a.values[0], b.values[0]) ? -1 : 1);
  let best = null;
  return ordered.filter((one) => {
    const wins = best === null || better(one.values[1], best, 1);
    if (wins) best = one.values[1];
    return wins;
  });
}

// Values of two problems cannot be compared: each study has a front of its own.
function front(trials) {
  const usable = scored(trials).filter((trial) => known(trial.values[1]));
  if (!usable.length) return null;
  const x = (one) => one.values[0], y = (one) => one.values[1], kept = new Set(thinned(usable).map((one) => one.id));
  const traces = [...grouped(usable)].flatMap(([name, own], index) => {
    const color = COLOURS[index % COLOURS.length], look = {name, legendgroup: name};
    return [points(own.filter((one) => kept.has(one.id)), x, y, {...look, showlegend: false, marker: {color, size: 6, opacity: .4}}),
      points(frontOf(own), x, y, {...look, mode: "lines+markers", marker: {color, size: 9}, line: {color}})];
  });
  return {traces, layout: {showlegend: true, xaxis: axis(objectiveName(), usable.map(x)), yaxis: axis(objectiveName(1), usable.map(y))}};
}

function importances(trials) {
  const shown = new Set(trials.map(groupName)), groups = new Map();
  for (const row of DATA.importances) {
    const name = groupName(row);
    if (shown.has(name) && row.parameter) groups.set(name, [...(groups.get(name) || []), row]);
  }
  const traces = [...groups].map(([name, rows]) => ({type: "bar", orientation: "h", name,
    y: rows.map((one) => one.parameter), x: rows.map((one) => one.importance),
    text: rows.map((one) => drawnText(one.note)), textposition: "auto", hovertemplate: "%{y}: %{x}<br>%{text}<extra></extra>"}));
  return traces.length ? {traces, layout: {barmode: "group", xaxis: axis("importance", [1]), yaxis: {automargin: true, autorange: "reversed"}}} : null;
}

const MOST_BARS = 300; // of a lane
// Bars of a lane; trials of one state that follow each other within *gap* are one.
function merged(trials, lanes, gap) {
  const bars = [], last = new Map();
  trials.forEach((trial, index) => {
    const lane = lanes[index], before = last.get(lane);
    if (gap && before && before.trial.state === trial.state && trial.began - before.ended < gap && before.ended - before.began < 10 * gap) {
      before.ended = Math.max(before.ended, trial.ended);
      before.n += 1;
      return;
    }
    const bar = {lane, trial, began: trial.began, ended: trial.ended, n: 1};
    bars.push(bar);
    last.set(lane, bar);
  });
  return bars;
}

function timeline(trials) {
  const usable = trials.filter((trial) => trial.began !== null && trial.ended !== null).sort((a, b) => a.began - b.began);
  if (!usable.length) return null;
  // A lane per worker that was busy at once: what ran, without asking who.
  const lanes = new Map(), rows = usable.map((trial) => {
    const free = lanes.get(trial.host) || [];
    let lane = free.findIndex((until) => until <= trial.began);
    if (lane < 0) lane = free.push(0) - 1;
    free[lane] = trial.ended;
    lanes.set(trial.host, free);
    return `${trial.host} ${lane + 1}`;
  });
  const busy = usable.reduce((sum, one) => sum + one.ended - one.began, 0);
  const span = usable.reduce((last, one) => Math.max(last, one.ended), 0) - usable[0].began, workers = unique(rows).length;
  const note = `${workers} ${workers === 1 ? "worker" : "workers"} at once at most, busy ${Math.round(100 * busy / Math.max(workers * span, 1))} % of the time`;
  const bars = merged(usable, rows, usable.length > MOST_POINTS ? span / MOST_BARS : 0);
  const colours = {ok: "#2f9e6e", pruned: "#d9a62b", cached: "#9aa5b1"};
  return {
    traces: [{type: "bar", orientation: "h", y: bars.map((one) => one.lane), base: bars.map((one) => one.began), x: bars.map((one) => Math.max(one.ended - one.began, 1)),
      marker: {color: bars.map((one) => colours[one.trial.state] || "#c0392b")}, customdata: bars.map((one) => one.trial.id),
      text: bars.map((one) => one.n > 1 ? `${one.n} trials, the first: ${hover(one.trial)}` : hover(one.trial)), textposition: "none", hovertemplate: "%{text}<extra></extra>"}],
    layout: {barmode: "overlay", showlegend: false, title: {text: note, font: {size: 12}, x: 0}, margin: {l: 50, r: 10, t: 30, b: 40}, xaxis: {type: "date", gridcolor: style("--line")}, yaxis: {automargin: true, type: "category"}},
  };
}

// Single values a thousand times larger than the middle one would hide the others: tables have them.
const limitOf = (values) => {
  const sizes = values.filter(known).map(Math.abs).sort((a, b) => a - b);
  return 1000 * sizes[Math.floor(sizes.length / 2)] || Infinity;
};

function comparison(trials) {
  const names = DATA.comparison;
  const away = (trial) => trial.metrics[names.value] - trial.metrics[names.reference];
  const every = thinned(trials.filter((trial) => known(trial.metrics[names.value]) && known(trial.metrics[names.reference])));
  const limit = limitOf(every.map(away)), usable = every.filter((trial) => Math.abs(away(trial)) <= limit);
  if (!usable.length) return null;
  let colour = 0;
  const traces = [...grouped(usable)].map(([name, own]) => points(own, (one) => one.order, (one) => one.metrics[names.value] - one.metrics[names.reference], {
    name, marker: {color: COLOURS[colour++ % COLOURS.length], size: 6, symbol: own.map((one) => one.state === "ok" && one.feasible ? "circle" : "x")},
    error_y: {type: "data", thickness: 1, width: 0,
      array: own.map((one) => 1.96 * Math.hypot(one.metrics[names.value_se] || 0, one.metrics[names.reference_se] || 0))},
  }));
  const gone = every.length - usable.length, told = {text: `far outside: ${gone}  `, font: {size: 11}};
  return {traces, layout: {showlegend: true, ...(gone ? {legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0, title: told}} : {}), xaxis: axis("trial", [1]), yaxis: {...axis(`${names.value} − ${names.reference}`, [1]), zeroline: true, zerolinewidth: 2}}};
}
