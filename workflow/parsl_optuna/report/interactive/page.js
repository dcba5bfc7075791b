// Filters, and what follows from them. The state is in the address, so that a reload keeps it.

const RELOAD_MS = 15000;
const SETTINGS = {responsive: true, displaylogo: false, displayModeBar: false};
const STALE_MS = 600000; // a driver writes at least every minute, or a hundred times what a page takes

function load() {
  try { Object.assign(STATE, JSON.parse(decodeURIComponent(location.hash.slice(1)) || "{}")); } catch { /* an old or foreign address */ }
}
function keep() {
  window.history.replaceState(null, "", "#" + encodeURIComponent(JSON.stringify(STATE)));
}

function shownTrials() {
  const words = STATE.search.toLowerCase();
  return DATA.trials.filter((trial) => ["problem", "method", "state"].every((name) => !STATE[name] || trial[name] === STATE[name]) &&
    (!words || JSON.stringify([trial.id, trial.params, trial.seeds, trial.verdict, trial.reason, trial.host]).toLowerCase().includes(words)));
}

let trials = [], watcher = null;
const hasLibrary = () => typeof Plotly !== "undefined";

function drawChart(box, chart) {
  const tools = box.querySelector(".tools"), plot = box.querySelector(".plot"), picks = [], menus = [];
  chart.menus.forEach((choices, which) => {
    const names = choices(trials, picks), wanted = [(STATE.picks[chart.title] || [])[which], (chart.picks || [])[which]];
    picks.push(wanted.find((name) => names.includes(name)) ?? names[0]);
    menus.push(`<select data-which="${which}" aria-label="${escaped(chart.title)} ${which + 1}">` +
      names.map((name) => `<option${name === picks[which] ? " selected" : ""}>${escaped(name)}</option>`).join("") + "</select>");
  });
  tools.innerHTML = menus.join("") + (trials.length > chart.most ? `<span class="quiet">an even sample of the points</span>` : "");
  const found = picks.includes(undefined) ? null : chart.draw(trials, picks);
  if (!found || typeof found === "string") {
    Plotly.purge(plot);
    plot.style.height = "auto";
    plot.innerHTML = `<p class="quiet">${found || "Nothing to show for these trials."}</p>`;
    return;
  }
  if (plot.firstChild && !plot.classList.contains("js-plotly-plot")) plot.innerHTML = "";
  plot.style.height = found.layout.height ? `${found.layout.height}px` : "";
  for (const trace of found.traces) if (trace.name) trace.name = drawnText(trace.name);
  Plotly.react(plot, found.traces, layout(found.layout), SETTINGS);
  plot.removeAllListeners?.("plotly_click");
  plot.on?.("plotly_click", (event) => { if (BY_ID.has(event.points[0].customdata)) choose(event.points[0].customdata); });
}

// What has nothing to show is left out, with the reason.
const SHOWN = [], LEFT_OUT = [];
function sortCharts() {
  for (const chart of CHARTS) {
    const why = chart.why(chart.picks || []);
    if (why === null) SHOWN.push(chart);
    else if (why) LEFT_OUT.push([chart.title, why]);
  }
}

// The plotting library takes seconds to start on a slow machine: words and tables are there before it.
function startLibrary() {
  const program = document.createElement("script");
  program.textContent = document.getElementById("library").textContent;
  document.head.append(program);
  drawCharts();
  drawDetail();
}

// One picture at a time, in view, while nobody scrolls: a large one takes longer than a frame.
const RESTING_MS = 150;
const waiting = new Set();
let scrolled = -RESTING_MS, isDue = false;
function drawNext() {
  isDue = false;
  const resting = performance.now() - scrolled, [box] = waiting;
  if (box && resting >= RESTING_MS) {
    waiting.delete(box);
    watcher.unobserve(box);
    drawChart(box, SHOWN[box.dataset.index]);
  }
  if (waiting.size) drawSoon(Math.max(0, RESTING_MS - resting));
}
function drawSoon(delay) {
  if (!isDue) setTimeout(drawNext, delay);
  isDue = true;
}

function drawCharts() {
  const host = document.getElementById("charts");
  watcher?.disconnect();
  waiting.clear();
  watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) waiting.add(entry.target);
      else waiting.delete(entry.target);
    }
    if (waiting.size) drawSoon(0);
  }, {rootMargin: "200px"});
  SHOWN.forEach((chart, index) => {
    let box = host.querySelector(`[data-index="${index}"]`);
    if (!box) {
      box = document.createElement("section");
      box.className = `chart${chart.broad ? " broad" : ""}`;
      box.dataset.index = index;
      box.innerHTML = `<h2>${escaped(chart.title)}</h2><div class="tools"></div><div class="plot"></div>`;
      host.append(box);
    }
    if (hasLibrary()) watcher.observe(box);
  });
}

function choose(id) {
  STATE.chosen = id || "";
  keep();
  drawTable(trials);
  drawDetail();
}

function update() {
  trials = shownTrials();
  document.getElementById("count").textContent = `${trials.length} of ${DATA.trials.length} trials`;
  keep();
  drawCharts();
  drawFailures(trials);
  drawTable(trials);
  drawDetail();
}

function drawHead() {
  document.getElementById("title").textContent = DATA.title;
  const isStale = DATA.is_running && Date.now() - Date.parse(DATA.written) > STALE_MS;
  document.getElementById("status").textContent = `${DATA.status} · written ${DATA.written.slice(0, 19).replace("T", " ")} UTC` +
    (isStale ? " · not written since: the command was killed, or its disk is full" : "");
  document.getElementById("findings").innerHTML = DATA.findings.map((one) => `<li>${escaped(one)}</li>`).join("");
  const rows = DATA.studies, names = rows.length ? Object.keys(rows[0]) : [];
  document.getElementById("studies").innerHTML = !rows.length ? "" : `<div class="wide"><table><tr>${names.map((name) => `<th>${escaped(name)}</th>`).join("")}</tr>` +
    rows.map((row) => `<tr>${names.map((name) => `<td>${escaped(row[name])}</td>`).join("")}</tr>`).join("") + "</table></div>";
  document.getElementById("pictures").innerHTML = !DATA.pictures.length ? "" : "<h2>Pictures of the best trials</h2>" +
    DATA.pictures.map(([title, source]) => `<figure><img src="${source}" alt="${escaped(title)}"><figcaption class="quiet">${escaped(title)}</figcaption></figure>`).join("");
  const missing = [...new Map([...LEFT_OUT, ...DATA.missing])]; // of one title, the reason of the analysis counts
  document.getElementById("missing").innerHTML = !missing.length ? "" : "<h2>Left out</h2><ul>" +
    missing.map(([title, why]) => `<li>${escaped(title)}: <span class="quiet">${escaped(why)}.</span></li>`).join("") + "</ul>";
  document.getElementById("events").innerHTML = !DATA.events.length ? "" : "<h2>Last events</h2><ol>" +
    DATA.events.map((one) => `<li>${escaped(one.at.slice(0, 19).replace("T", " "))} ${escaped(one.text)}</li>`).join("") + "</ol>";
}

function listen() {
  for (const name of ["problem", "method", "state"]) {
    const box = document.getElementById(name), values = unique(DATA.trials.map((trial) => trial[name])).sort();
    if (STATE[name] && !values.includes(STATE[name])) STATE[name] = "";
    box.innerHTML = '<option value="">all</option>' + values.map((value) => `<option${value === STATE[name] ? " selected" : ""}>${escaped(value)}</option>`).join("");
    box.addEventListener("change", () => { STATE[name] = box.value; STATE.page = 0; update(); });
  }
  const search = document.getElementById("search");
  search.value = STATE.search;
  search.addEventListener("input", () => { STATE.search = search.value; STATE.page = 0; update(); });
  document.getElementById("filters").addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-id]"), head = event.target.closest("th[data-key]"), step = event.target.closest("[data-step]");
    if (row) choose(row.dataset.id);
    if (event.target.closest("#detail button")) choose("");
    if (head) { STATE.down = STATE.sort === head.dataset.key && !STATE.down; STATE.sort = head.dataset.key; update(); }
    if (step) { STATE.page = Math.max(0, STATE.page + Number(step.dataset.step)); update(); }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") choose(""); });
  document.getElementById("charts").addEventListener("change", (event) => {
    const box = event.target.closest(".chart"), index = box?.dataset.index;
    if (!box || event.target.dataset.which === undefined) return;
    STATE.picks[SHOWN[index].title] = [...box.querySelectorAll("select")].map((one) => one.value);
    keep();
    drawChart(box, SHOWN[index]);
  });
  addEventListener("scroll", () => { scrolled = performance.now(); }, {passive: true});
  darkness.addEventListener("change", () => { COLOURS = darkness.matches ? DARK : LIGHT; update(); });
}

load();
sortCharts();
drawHead();
listen();
update();
requestAnimationFrame(() => setTimeout(startLibrary)); // after the first paint
document.documentElement.dataset.ready = "yes";
if (DATA.is_running) setTimeout(() => location.reload(), RELOAD_MS);
