// Pictures with menus that answer a question: a metric by groups, what was reported, how trials ended, differences.

const FEW = 8; // values of a hyperparameter that are told apart one by one
const MOST_ROWS = 40; // of differences that can still be read
const GROUPS = {
  study: groupName, problem: (trial) => trial.problem, method: (trial) => trial.method, verdict: (trial) => trial.verdict,
};
const PARAMETER = " (hyperparameter)", METRIC = " (metric)";

const METRICS = (() => {
  const names = new Set();
  for (const trial of DATA.trials)
    for (const [name, value] of Object.entries(trial.metrics)) if (!names.has(name) && known(value)) names.add(name);
  return [...names];
})();
const metricNames = () => [objectiveName(), ...METRICS.filter((name) => name !== objectiveName())];
const metricOf = (name) => name === objectiveName() ? (trial) => trial.values[0] : (trial) => trial.metrics[name];

// Names that a menu offers; one that means two things says which.
const xNames = (trials) => {
  const parameters = parameterNames(trials);
  return [...parameters, ...metricNames().map((name) => parameters.includes(name) ? name + METRIC : name)];
};
const xOf = (name, trials) => {
  if (name.endsWith(METRIC)) return metricOf(name.slice(0, -METRIC.length));
  return parameterNames(trials).includes(name) ? (trial) => trial.params[name] : metricOf(name);
};
const groupNames = (trials) => {
  const few = parameterNames(trials).filter((name) => new Set(trials.map((trial) => JSON.stringify(trial.params[name]))).size <= FEW + 1);
  return [...Object.keys(GROUPS), ...few.map((name) => name in GROUPS ? name + PARAMETER : name)];
};
const groupOf = (name) => {
  if (name in GROUPS) return GROUPS[name];
  const own = name.endsWith(PARAMETER) ? name.slice(0, -PARAMETER.length) : name;
  return (trial) => own in trial.params ? text(trial.params[own]) : `without ${own}`;
};
const byGroup = (trials, name) => {
  const of = groupOf(name), groups = new Map();
  for (const trial of trials) groups.set(of(trial), [...(groups.get(of(trial)) || []), trial]);
  return levelsOf(groups.keys()).map((one) => [one, groups.get(one)]);
};

const titled = (group) => ({legend: {orientation: "h", y: 1.02, yanchor: "bottom", x: 0, title: {text: `${drawnText(group)}  `, side: "left"}}});

function byGroups(trials, [metric, name, group]) {
  const y = metricOf(metric), x = xOf(name, DATA.trials);
  const every = scored(trials).filter((trial) => known(y(trial)) && x(trial) !== undefined && x(trial) !== null);
  const different = new Set(every.map(x)).size; // where most values are of one trial, as in a search, boxes say nothing
  const isScale = isNumeric(every.map(x)) && (different > FEW || 2 * different > every.length), usable = isScale ? thinned(every) : every;
  if (!usable.length) return null;
  const values = usable.map(x);
  const order = levelsOf(values).map(text);
  const traces = byGroup(usable, group).flatMap(([title, together], index) => {
    const color = COLOURS[index % COLOURS.length], look = {name: title, legendgroup: title, marker: {color, size: 6, opacity: .7}};
    if (isScale) return [points(together, x, y, look)];
    const box = {...look, type: "box", mode: undefined, boxpoints: usable.length > MOST_POINTS ? false : "all", jitter: .5, pointpos: 0, fillcolor: "rgba(0,0,0,0)", line: {color, width: 1}};
    // Values of two problems are in no common box.
    return [...grouped(together).values()].map((own, nth) => {
      const drawn = usable.length > MOST_POINTS ? {x: own.map((trial) => text(x(trial))), y: own.map(y)} : points(own, (trial) => text(x(trial)), y);
      return {...drawn, ...box, showlegend: nth === 0};
    });
  });
  const across = isScale ? axis(name, values) : {...axis(name, []), type: "category", categoryorder: "array", categoryarray: order};
  return {traces, layout: {boxmode: "group", showlegend: true, ...titled(group), xaxis: across, yaxis: axis(metric, usable.map(y))}};
}

function reported(trials, [metric, group]) {
  const studies = DATA.curves[metric] || {}, of = groupOf(group), ids = new Set(trials.map((trial) => trial.id));
  const curves = Object.values(studies).flatMap((byTrial) => Object.entries(byTrial)).filter(([id]) => ids.has(id));
  const titles = levelsOf(curves.map(([id]) => of(BY_ID.get(id)))), seen = new Set(), all = [];
  const traces = curves.map(([id, pairsOf]) => {
    const title = of(BY_ID.get(id)), isFirst = !seen.has(title);
    seen.add(title);
    for (const one of pairsOf) all.push(one[1]);
    return {type: "scatter", mode: "lines", x: pairsOf.map((one) => one[0]), y: pairsOf.map((one) => one[1]), name: title, legendgroup: title, showlegend: isFirst,
      legendrank: titles.indexOf(title), line: {color: COLOURS[titles.indexOf(title) % COLOURS.length], width: 1.2}, opacity: .6, customdata: pairsOf.map(() => id),
      hovertemplate: `${hover(BY_ID.get(id))}<br>%{x}, %{y}<extra></extra>`};
  });
  return traces.length ? {traces, layout: {...titled(group), showlegend: true, xaxis: axis("step", [1]), yaxis: axis(metric, all)}} : null;
}

function verdicts(trials, [group]) {
  const groups = byGroup(trials, group), words = levelsOf(trials.map((trial) => trial.verdict));
  if (!trials.length) return null;
  const colours = {ok: "#2f9e6e", good: "#2f9e6e", failed: "#c0392b", pruned: "#d9a62b"};
  const traces = words.map((word, index) => ({type: "bar", name: word, x: groups.map(([title]) => title),
    y: groups.map(([, own]) => own.filter((trial) => trial.verdict === word).length), marker: {color: colours[word] || COLOURS[(index + 3) % COLOURS.length]}}));
  return {traces, layout: {barmode: "stack", showlegend: true, xaxis: {title: {text: drawnText(group)}, type: "category", automargin: true}, yaxis: {...axis("trials", [1]), rangemode: "tozero"}}};
}

const isShown = (row) => (!STATE.problem || row.problem === STATE.problem) && (!STATE.method || row.method === STATE.method);
// Points with intervals, one per row, and zero as a line.
function forest(rows, x, label, note) {
  const several = new Set(rows.map(groupName)).size > 1;
  const y = rows.map((row) => label(row) + (several ? `<br>${drawnText(groupName(row))}` : ""));
  const limit = limitOf(rows.flatMap((row) => [x(row), row.low, row.high])), isNear = (row) => [x(row), row.low, row.high].every((one) => !known(one) || Math.abs(one) <= limit);
  const near = rows.filter(isNear).flatMap((row) => [x(row), row.low, row.high]).filter(known);
  const least = Math.min(0, ...near), most = Math.max(0, ...near), room = .06 * (most - least); // of one point without interval it would be one to either side
  const reach = (name, sign) => rows.map((row) => row[name] === null || !isNear(row) ? 0 : sign * (row[name] - x(row)));
  return {
    traces: [{type: "scatter", mode: "markers", y, x: rows.map((row) => isNear(row) ? x(row) : null), error_x: {type: "data", symmetric: false, array: reach("high", 1), arrayminus: reach("low", -1), thickness: 1.5},
      text: rows.map(note), hovertemplate: "%{x}<br>%{text}<extra></extra>", marker: {size: 8, color: COLOURS[0]}}],
    layout: {height: Math.max(240, 90 + 44 * rows.length), showlegend: false, xaxis: {...axis("", [1]), ...(room > 0 ? {range: [least - room, most + room]} : {}), zeroline: true, zerolinewidth: 2, zerolinecolor: style("--quiet")},
      yaxis: {type: "category", automargin: true, autorange: "reversed"},
      annotations: rows.map((row, index) => ({x: 1, xref: "paper", xanchor: "right", y: index, yshift: 13, showarrow: false, text: note(row) + (isNear(row) ? "" : "; far outside"), font: {size: 10, color: style("--quiet")}}))},
  };
}

function differences(trials, [name]) {
  const rows = DATA.pairs.filter((row) => row.parameter === name && isShown(row)).slice(0, MOST_ROWS);
  if (!rows.length) return null;
  const note = (row) => [row.d_z === null ? null : `d_z ${number(row.d_z)}`, row.p_holm === null ? null : `p ${number(row.p_holm)} (Holm)`, `${row.seeds} ${row.seeds === 1 ? "seed (no interval)" : "seeds"}, ${row.matches} ${row.matches === 1 ? "match" : "matches"}`].filter(Boolean).join(", ");
  const drawn = forest(rows, (row) => row.difference, (row) => `${drawnText(row.second)} − ${drawnText(row.first)}`, note);
  drawn.layout.xaxis.title = {text: `difference of ${drawnText(objectiveName())}, 95 % over seeds`};
  return drawn;
}

function bias() {
  const rows = DATA.biases.filter(isShown);
  if (!rows.length) return null;
  const note = (row) => `rmse ${number(row.rmse)}, ${Math.round(100 * row.covered)} % within their stated 95 %, ${row.trials} trials`;
  const drawn = forest(rows, (row) => row.bias, (row) => `${drawnText(row.method)} (${drawnText(row.trials_of)})`, note);
  drawn.layout.xaxis.title = {text: `mean ${drawnText(DATA.comparison.value)} − ${drawnText(DATA.comparison.reference)}, 95 % over trials`};
  return drawn;
}

function transfer(trials, [method]) {
  const rows = DATA.transfer.filter((row) => row.method === method && (!STATE.method || row.method === STATE.method));
  if (!rows.length) return null;
  const names = levelsOf(rows.map((row) => row.chosen_on));
  const at = (chosen, tried) => rows.find((row) => row.chosen_on === chosen && row.tried_on === tried);
  const cells = (of, other) => names.map((chosen) => names.map((tried) => { const row = at(chosen, tried); return row ? of(row) : other; }));
  return {
    traces: [{type: "heatmap", x: names, y: names, z: cells((row) => row.rank / row.configurations, null), zmin: 0, zmax: 1, colorscale: [[0, "#2f9e6e"], [1, "#c0392b"]], opacity: .55, showscale: false,
      text: cells((row) => `${number(row.value)}<br>best ${number(row.best)}<br>rank ${row.rank} of ${row.configurations}`, ""), texttemplate: "%{text}", hoverongaps: false, hovertemplate: "chosen on %{y}, tried on %{x}<extra></extra>"}],
    layout: {xaxis: {title: {text: "tried on"}, type: "category", automargin: true}, yaxis: {title: {text: "best configuration of"}, type: "category", automargin: true}},
  };
}

// Each kind: how it is drawn, what its menus offer, and why there is nothing to show, null where there is.
const LATER = "parsl-optuna analyze adds it";
const isThere = (name, trials) => name === undefined || xNames(trials).includes(name);
const KINDS = {
  grouped: {draw: byGroups, most: MOST_POINTS, menus: [metricNames, xNames, groupNames],
    why: (picks) => !isThere(picks[0], DATA.trials) ? `no trial has ${picks[0]}` : !isThere(picks[1], DATA.trials) ? `${picks[1]} does not vary` : null},
  reported: {draw: reported, menus: [() => Object.keys(DATA.curves), groupNames],
    why: (picks) => !DATA.is_analysed ? LATER : !(picks[0] in DATA.curves) && picks.length ? `no trial reported ${picks[0]}` : Object.keys(DATA.curves).length ? null : "no trial reported values"},
  verdicts: {draw: verdicts, menus: [groupNames],
    why: (picks) => picks.length && !groupNames(DATA.trials).includes(picks[0]) ? `${picks[0]} does not vary` : null},
  pairs: {draw: differences, menus: [() => unique(DATA.pairs.map((row) => row.parameter))],
    why: (picks) => !DATA.is_analysed ? LATER : DATA.pairs.some((row) => !picks.length || row.parameter === picks[0]) ? null : `no two trials differ in ${picks[0] || "one hyperparameter"} alone`},
  transfer: {draw: transfer, menus: [() => unique(DATA.transfer.map((row) => row.method))],
    why: () => !DATA.is_analysed ? LATER : DATA.transfer.length ? null : "no method has two configurations on several problems"},
  bias: {draw: bias, menus: [], why: () => !DATA.is_analysed ? LATER : DATA.biases.length ? null : "no trial has a reference"},
};

const VARY = () => parameterNames(DATA.trials).length;
const CHARTS = [
  {title: "History", draw: course, most: MOST_POINTS, menus: [], why: () => null},
  ...DATA.views.map((view) => ({...KINDS[view.chart], title: view.question, picks: view.picks})),
  {title: "Difference from the reference, with 95 % of both errors", draw: comparison, most: MOST_POINTS, menus: [], why: () => DATA.comparison ? null : ""},
  {title: "One hyperparameter", draw: slice, most: MOST_POINTS, menus: [parameterNames], why: () => VARY() ? null : "no hyperparameter varies"},
  {title: "Two hyperparameters", draw: pairs, most: MOST_POINTS, menus: [(trials) => parameterNames(trials).filter((name) => partners(trials, name).length), (trials, picks) => picks[0] === undefined ? [] : partners(trials, picks[0])],
    why: () => parameterNames(DATA.trials).some((name) => partners(DATA.trials, name).length) ? null : "no two hyperparameters vary together"},
  {title: "Pareto fronts of the first two objectives", draw: front, most: MOST_POINTS, menus: [], why: () => DATA.objectives.length > 1 ? null : ""},
  {title: "Importance of hyperparameters", draw: importances, menus: [], why: () => DATA.importances.some((one) => one.parameter) ? null : !DATA.is_analysed ? LATER : DATA.importances.length ? DATA.importances[0].note : "no hyperparameter varies"},
  {title: "A metric by groups", ...KINDS.grouped, picks: [], why: () => VARY() ? null : "no hyperparameter varies"},
  {title: "What trials reported", ...KINDS.reported, picks: []},
  {title: "How trials ended", ...KINDS.verdicts, picks: []},
  {title: "Differences between two values, all else equal", ...KINDS.pairs, picks: []},
  {title: "All hyperparameters", draw: parallel, most: MOST_LINES, menus: [], broad: true, why: () => !VARY() ? "no hyperparameter varies" : hasWebgl ? null : "this browser has no WebGL"},
  {title: "Workers", draw: timeline, menus: [], broad: true, why: () => null},
];
