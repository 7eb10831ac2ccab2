"use strict";
// The board: a table of runs, one run, and runs side by side. It asks the server that it came from, and only reads.

const at = (id) => document.getElementById(id);
const LIST_SECONDS = 4, CURVE_SECONDS = 2, FIRST_ROWS = 60, MOST = 6;
const COLUMNS = [
  { label: "Compare", class: "w-choose" },
  { key: "name", label: "Run", class: "w-name", value: (run) => run.name },
  { key: "status", label: "Status", class: "w-status", value: (run) => run.status },
  { key: "time", label: "Started", class: "w-time", value: (run) => run.time, greatest: true },
  { key: "arms", label: "Arms", class: "w-arms", value: (run) => Object.keys(run.arms).length || null, greatest: true },
  { key: "accuracy", label: "Accuracy", class: "w-accuracy", value: (run) => (best(run) ? best(run).value : null), greatest: true },
  { key: "external", label: "External", class: "w-number", value: external, greatest: true },
  { key: "minutes", label: "Minutes", class: "w-number", value: (run) => run.minutes, greatest: true },
  { key: "verdict", label: "Verdict", class: "w-verdict", value: (run) => verdict(run.verdict)[0] || null },
  { label: "Report", class: "w-report" },
];

const state = { runs: [], etag: "", sort: "time", down: true, chosen: new Set(), rows: new Map(), images: false, view: 0 };

class Refused extends Error {}

async function ask(path, headers = {}) {
  const token = at("token").value;
  if (token) headers.Authorization = "Bearer " + token;
  const response = await fetch(path, { headers, cache: "no-store" });
  if (response.status === 401) {
    at("secret").hidden = false;
    throw new Refused("This board asks for a token.");
  }
  if (response.status === 304) return null;
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error || "the server answered " + response.status);
  return { answer, etag: response.headers.get("ETag") };
}

function element(name, content = "", attributes = {}) {
  const made = document.createElement(name);
  made.append(...[content].flat().filter((part) => part !== null && part !== ""));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function fail(error) {
  at("error").textContent = error.message;
  at("error").hidden = false;
}

const calm = () => (at("error").hidden = true);
const three = (value) => (value === null || value === undefined ? "-" : value.toFixed(3));
const best = (run) => (run.best_arm === null ? null : run.arms[run.best_arm]);
const runLink = (name) => "#" + new URLSearchParams({ run: name });

/** The lowest AUROC of the most accurate arm on images from elsewhere. */
function external(run) {
  const values = (best(run) ? Object.values(best(run).external_roc_auc) : []).filter((value) => value !== null);
  return values.length ? Math.min(...values) : null;
}

/** The first words of a verdict, and how grave they are. */
function verdict(text) {
  const kinds = [["The winner is better", "none"], ["The winner is worse", "none"], ["No difference", "none"], ["No value tried", "none"], ["Not as it stands", "fail"], ["With care", "warn"], ["Not audited", "none"], ["Nothing that was checked", "pass"]];
  const [words, kind] = kinds.find(([start]) => text.startsWith(start)) || ["", ""];
  return kind === "pass" ? ["Nothing found", kind] : words ? [words, kind] : [text.split(/[.:;]/)[0], "none"];
}

function local(time) {
  const date = new Date(time), two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

function size(bytes) {
  const [unit, name] = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]].find(([unit]) => bytes >= unit) || [1, "B"];
  return (bytes / unit).toFixed(unit > 1 ? 1 : 0) + " " + name;
}

// The table

function headings() {
  at("headings").replaceChildren(
    ...COLUMNS.map((column) => {
      const heading = element("th", "", { scope: "col", role: "columnheader", class: column.class + (column.key ? "" : " fixed") });
      if (!column.key) {
        heading.append(element("span", column.label));
        return heading;
      }
      const button = element("button", column.label, { type: "button" });
      button.addEventListener("click", () => {
        state.down = state.sort === column.key ? !state.down : Boolean(column.greatest);
        state.sort = column.key;
        table();
      });
      heading.setAttribute("aria-sort", "none");
      heading.id = "by-" + column.key;
      heading.append(button);
      return heading;
    }),
  );
}

function cell(label, content, kind = "") {
  return element("td", content, { role: "cell", "data-label": label, ...(kind && { class: kind }) });
}

function interval(arm) {
  if (!arm || arm.value === null) return "-";
  const parts = [(arm.metric === "accuracy" ? "" : arm.metric + " ") + three(arm.value) + (arm.set === "test" ? " test" : "")];
  if (arm.interval) {
    const [low, high] = arm.interval;
    parts.push(element("span", ` (${three(low)} to ${three(high)})`, { class: "soft" }));
    const range = element("i"), point = element("b");
    range.style.left = 100 * low + "%";
    range.style.width = 100 * (high - low) + "%";
    point.style.left = `calc(${100 * arm.value}% - 1px)`;
    parts.push(element("span", [range, point], { class: "range", "aria-hidden": "true" }));
  }
  return parts;
}

function row(run) {
  const box = element("input", "", { type: "checkbox", "aria-label": "Compare " + run.name });
  box.checked = state.chosen.has(run.name);
  box.addEventListener("change", () => choose(run.name, box.checked));
  const name = element("a", run.name, { href: runLink(run.name) });
  const tags = run.tags.map((tag) => element("span", tag, { class: "tag" }));
  const notes = [run.kind !== "run" ? element("span", run.kind, { class: "tag" }) : null, ...tags];
  const [words, kind] = verdict(run.verdict);
  const why = run.reason || run.damage;
  const arms = Object.keys(run.arms);
  const made = element("tr", [
    element("td", run.kind === "audit" ? "" : box, { role: "cell" }), // an audit has neither a recipe nor fits
    element("th", [name, " ", ...notes.filter(Boolean), why ? element("div", why, { class: "soft" }) : null].filter(Boolean), { scope: "row", role: "rowheader" }),
    cell("Status", element("span", run.status, { class: "badge " + run.status })),
    cell("Started", local(run.time)),
    cell("Arms", arms.length ? [String(arms.length), element("div", run.best_arm || "", { class: "soft" })] : "-"),
    cell("Accuracy", interval(best(run))),
    cell("External AUROC", three(external(run))),
    cell("Minutes", run.minutes === null ? "-" : run.minutes.toFixed(2)),
    cell("Verdict", words ? element("span", words, { class: "badge " + kind, title: run.verdict }) : "-", "verdict"),
    cell("Report", run.report ? reportLink(run.name, "report") : "-"),
  ], { role: "row" });
  made.classList.toggle("chosen", box.checked);
  made.dataset.run = run.name;
  return made;
}

function reportLink(name, text) {
  return element("a", text, { href: "reports/" + encodeURIComponent(name), target: "_blank", rel: "noopener", "aria-label": "Report of " + name });
}

function matching() {
  const words = at("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  return state.runs.filter((run) => {
    const text = [run.name, run.recipe, run.note, run.status, ...run.tags, ...Object.keys(run.arms)].join(" ").toLowerCase();
    return (
      words.every((word) => text.includes(word)) &&
      (!at("status").value || run.status === at("status").value) &&
      (!at("recipe").value || run.recipe === at("recipe").value) &&
      (!at("tag").value || run.tags.includes(at("tag").value))
    );
  });
}

function sorted(runs) {
  const { value } = COLUMNS.find((column) => column.key === state.sort);
  const sign = state.down ? -1 : 1;
  return runs
    .map((run) => [value(run), run])
    .sort(([a, one], [b, other]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = typeof a === "number" ? a - b : a.localeCompare(b, "en", { numeric: true });
      return sign * order || other.time.localeCompare(one.time);
    })
    .map(([, run]) => run);
}

let drawing = 0; // the table that is being drawn: a later one ends an earlier one

function table() {
  const turn = ++drawing;
  const runs = sorted(matching());
  for (const column of COLUMNS.filter((column) => column.key)) {
    at("by-" + column.key).setAttribute("aria-sort", column.key !== state.sort ? "none" : state.down ? "descending" : "ascending");
  }
  const counts = ["running", "failed", "interrupted"].map((name) => [state.runs.filter((run) => run.status === name).length, name]);
  const said = counts.filter(([count]) => count).map(([count, name]) => `${count} ${name}`);
  const of = runs.length === state.runs.length ? "" : ` of ${state.runs.length}`;
  at("count").textContent = `${runs.length}${of} run${runs.length === 1 && !of ? "" : "s"}${said.length ? ": " + said.join(", ") : ""}`;
  const body = at("rows");
  if (body.children.length) {
    update(body, runs.map(rowOf)); // at once, so that a reader's place in the page stays
    return;
  }
  body.append(...runs.slice(0, FIRST_ROWS).map(rowOf));
  const rest = (start) => {
    if (turn !== drawing || start >= runs.length) return;
    body.append(...runs.slice(start, start + 150).map(rowOf));
    setTimeout(rest, 0, start + 150);
  };
  setTimeout(rest, 0, FIRST_ROWS);
}

/** Show rows in place of others; the focus stays in its run's row. */
function update(body, rows) {
  if (rows.length === body.children.length && rows.every((row, index) => row === body.children[index])) return;
  const focused = document.activeElement, name = focused?.closest("#rows tr")?.dataset.run;
  const place = name ? [...focused.closest("tr").querySelectorAll("a, input")].indexOf(focused) : -1;
  const { scrollX, scrollY } = window;
  body.replaceChildren(...rows);
  const row = name && rows.find((row) => row.dataset.run === name);
  if (row) row.querySelectorAll("a, input")[place]?.focus({ preventScroll: true });
  window.scrollTo(scrollX, scrollY);
}

function rowOf(run) {
  const text = JSON.stringify(run), known = state.rows.get(run.name);
  if (known && known.text === text) return known.row;
  const made = row(run);
  state.rows.set(run.name, { text, row: made });
  return made;
}

function options(id, every, values) {
  const chosen = at(id).value;
  at(id).replaceChildren(new Option(every, ""), ...values.map((value) => new Option(value, value)));
  at(id).value = values.includes(chosen) ? chosen : "";
}

async function refresh() {
  const fresh = await ask("api/runs", state.etag ? { "If-None-Match": state.etag } : {});
  if (!fresh) return;
  state.etag = fresh.etag;
  const { folder, images, runs } = fresh.answer;
  state.images = images;
  state.runs = runs;
  at("folder").textContent = folder;
  for (const name of state.chosen) if (!runs.some((run) => run.name === name)) state.chosen.delete(name);
  for (const name of state.rows.keys()) if (!runs.some((run) => run.name === name)) state.rows.delete(name);
  options("status", "any", ["running", "done", "failed", "interrupted"]);
  options("recipe", "any", [...new Set(runs.map((run) => run.recipe).filter(Boolean))].sort());
  options("tag", "any", [...new Set(runs.flatMap((run) => run.tags))].sort());
  if (!at("list").hidden) table();
  chosen();
}

// Chosen runs

function choose(name, yes) {
  state.chosen[yes ? "add" : "delete"](name);
  const known = state.rows.get(name);
  if (known) {
    known.row.classList.toggle("chosen", yes);
    known.row.querySelector("input").checked = yes;
  }
  chosen();
}

function chosen() {
  const count = state.chosen.size;
  at("chosen").hidden = count === 0;
  at("chosen-count").textContent = count > MOST ? `${count} chosen; at most ${MOST} can be compared` : count === 1 ? "1 chosen; choose another to compare" : `${count} chosen`;
  at("compare").disabled = count < 2 || count > MOST;
}

// One run

async function showRun(name, turn) {
  const { answer: run } = await ask("api/runs/" + encodeURIComponent(name));
  if (turn !== state.view) return;
  const facts = [
    ["Status", element("span", run.status, { class: "badge " + run.status })],
    ["Kind", { sweep: "a sweep", audit: "an audit of predictions or of a model made elsewhere" }[run.kind] || ""],
    ["Why", run.reason], ["Damaged", run.damage], ["Verdict", run.verdict],
    ["Recipe", run.recipe], ["Started", local(run.time)],
    ["Training", run.minutes === null ? "" : run.minutes.toFixed(2) + (run.kind === "sweep" ? " minutes, all trials and the final fits" : " minutes, all arms")],
    ["Files", size(run.bytes)], ["Tags", run.tags.join(", ")], ["Note", run.note],
    ["Report", run.report ? reportLink(run.name, "Open the report") : ""],
  ];
  const place = element("div"), heard = element("p", "", { role: "status", class: "soft" });
  const parts = [element("dl", facts.filter(([, value]) => value !== "").flatMap(([name, value]) => [element("dt", name), element("dd", value)]))];
  if (run.kind === "sweep") parts.push(heard, place);
  else if (Object.keys(run.arms).length) parts.push(element("h3", "Arms"), armsTable(run));
  if (run.kind === "run") parts.push(element("h3", "Epochs"), heard, place);
  if (run.resolved_recipe) parts.push(element("details", [element("summary", "The resolved recipe"), element("pre", run.resolved_recipe, { tabindex: 0 })]));
  at("content").replaceChildren(...parts);
  if (run.kind === "sweep") await follow(name, turn, run, "trials", (found) => showTrials(found, run, place, heard));
  if (run.kind === "run") await follow(name, turn, run, "curves", (found) => showCurves(found, run, place, heard));
}

function armsTable(run) {
  const head = ["arm", "metric", "of", "value", "95 % interval", "external AUROC", "minutes"];
  const rows = Object.entries(run.arms).map(([name, arm]) => [
    name, arm.metric, { valid: "validation", test: "test" }[arm.set] || "-", three(arm.value), arm.interval ? arm.interval.map(three).join(" to ") : "-",
    Object.entries(arm.external_roc_auc).map(([set, value]) => `${set} ${three(value)}`).join(", ") || "-",
    arm.train_seconds === null ? "-" : (arm.train_seconds / 60).toFixed(2),
  ]);
  return plainTable("Arms", head, rows);
}

function showCurves({ fits }, { status }, place, heard) {
  const none = status === "running" ? "No epoch has ended yet." : "No epoch was recorded.";
  place.className = "charts";
  redraw(place, charts(fits));
  const text = fits.length ? fits.map((fit) => `${fit.fit}: epoch ${fit.epochs.at(-1) || 0}`).join("; ") : none;
  heard.textContent = (status === "running" ? "Running. " : "") + text;
}

function showTrials(found, { status }, place, heard) {
  redraw(place, trialParts(found, state.runs));
  const next = found.fitting ? ` The best, trial ${found.best}, is fitted again with fresh seeds.` : "";
  heard.textContent = status === "running" ? `Running. ${found.trials.length} trials have ended.${next}` : "";
}

/** Show parts in place of others; the focus stays in its figure or table. */
function redraw(place, parts) {
  const stops = "svg[tabindex], .scroll";
  const focused = [...place.querySelectorAll(stops)].indexOf(document.activeElement);
  place.replaceChildren(...parts);
  if (focused >= 0) place.querySelectorAll(stops)[focused]?.focus({ preventScroll: true });
}

/** Ask for a run's curves or trials, again and again while it is running, and show what is new. */
async function follow(name, turn, { status }, what, show) {
  let etag = "";
  for (;;) {
    const fresh = await ask(`api/runs/${encodeURIComponent(name)}/${what}`, etag ? { "If-None-Match": etag } : {});
    if (turn !== state.view) return;
    if (fresh) {
      etag = fresh.etag;
      show(fresh.answer);
    }
    if (status !== "running") return;
    await new Promise((done) => setTimeout(done, CURVE_SECONDS * 1000));
    if (turn !== state.view) return;
    const now = state.runs.find((run) => run.name === name);
    if (now && now.status !== "running") return showRun(name, turn);
  }
}

// Runs side by side

/** A key that may break after its dots. */
const breakable = (key) => key.split(/(?<=\.)/).flatMap((part) => [part, element("wbr")]);

function plainTable(name, head, rows) {
  const table = element("table", [
    element("caption", name, { class: "unseen" }),
    element("thead", element("tr", head.map((text) => element("th", text, { scope: "col" })))),
    element("tbody", rows.map((cells) => element("tr", cells.map((content, index) => (index ? element("td", content) : element("th", content, { scope: "row" })))))),
  ]);
  const place = element("div", table, { class: "scroll", tabindex: 0, role: "region", "aria-label": name });
  const sign = element("p", "More columns to the right: scroll sideways.", { class: "soft sideways" });
  const look = () => (sign.hidden = place.scrollWidth <= place.clientWidth + 1);
  sign.hidden = true;
  new ResizeObserver(look).observe(place);
  return element("div", [sign, place]);
}

async function showComparison(names, turn) {
  at("content").replaceChildren(element("p", "Comparing …", { role: "status" }));
  const { answer: found } = await ask("api/compare?" + new URLSearchParams(names.map((name) => ["run", name])));
  if (turn !== state.view) return;
  const curves = element("div", "", { class: "charts" });
  const parts = [element("ol", names.map((name) => element("li", element("a", name, { href: runLink(name) }))))];
  parts.push(...found.notes.map((note) => element("p", note, { class: "warn" })));
  parts.push(...found.not_comparable.map((reason) => element("p", "Not comparable: " + reason + ".", { class: "warn" })));
  parts.push(element("h3", "What differs between their recipes"), differences(found));
  if (found.rows.length) parts.push(element("h3", "Arms"), plainTable("Figures of the arms", ["", ...found.arms], found.rows.map(([label, texts]) => [label, ...texts])));
  if (found.pairs.length) parts.push(element("h3", "Paired tests on the same patients"), ...pairs(found.pairs));
  parts.push(element("h3", "Epochs"), curves);
  if (found.classifiers.length > 1) parts.push(element("h3", "Images that two arms call differently"), disagreements(found, names, turn));
  at("content").replaceChildren(...parts);
  const all = await Promise.all(names.map((name) => ask(`api/runs/${encodeURIComponent(name)}/curves`)));
  if (turn !== state.view) return;
  const fits = all.flatMap(({ answer }, index) => answer.fits.map((fit) => ({ ...fit, fit: `${index + 1}: ${fit.fit}`, color: found.colors[fit.arm] || fit.color })));
  curves.replaceChildren(...charts(fits));
}

function differences({ runs, differences }) {
  const keys = Object.entries(differences);
  if (!keys.length) return element("p", "Nothing: their resolved recipes are the same.");
  const text = (value) => (value === null ? "-" : typeof value === "string" ? value : JSON.stringify(value));
  const rows = keys.map(([key, values]) => [
    breakable(key),
    ...values.map((value) => (text(value) === text(values[0]) ? text(value) : element("mark", text(value)))),
  ]);
  const heads = runs.map((name, index) => `${index + 1}: ${name}`);
  return plainTable("Recipe keys that differ; what differs from the first run is marked", ["key", ...heads], rows);
}

function pairs(found) {
  const p = (value) => (value === null ? "-" : value < 0.001 ? "< 0.001" : value.toFixed(3));
  const rows = found.map((pair) => [pair.arm, pair.reference, String(pair.only_arm), String(pair.only_reference), p(pair.p), p(pair.p_holm)]);
  const head = ["arm", "against", "images it alone got right", "images the other alone got right", "McNemar p", "after Holm's correction"];
  return [plainTable("Paired tests", head, rows), element("ul", found.map((pair) => element("li", pair.sentence)))];
}

function disagreements({ classifiers: arms, pairs }, names, turn) {
  const label = ({ run, arm }) => `${names.indexOf(run) + 1}: ${arm}`;
  const picks = ["First arm", "Second arm"].map((name, index) => {
    const select = element("select", arms.map((arm) => new Option(label(arm), `${arm.run}/${arm.arm}`)), { id: "arm-" + index });
    return [element("p", [element("label", name, { for: select.id }), select]), select];
  });
  const [[, first], [, second]] = picks;
  const tested = pairs.map((pair) => [pair.reference, pair.arm].map((name) => arms.find((arm) => label(arm) === name)));
  const across = tested.find(([one, other]) => one && other && one.run !== other.run); // scored on the same images
  const twin = (arm) => arms.find((other) => other.run !== arm.run && other.arm === arm.arm);
  const one = across ? across[0] : arms.find((arm) => arm.run === arms[0].run && twin(arm)) || arms[0]; // arms of one name in two runs, else of two runs
  const other = across ? across[1] : twin(one) || arms.find((arm) => arm.run !== one.run) || arms.find((arm) => arm !== one);
  first.value = `${one.run}/${one.arm}`;
  second.value = `${other.run}/${other.arm}`;
  const place = element("div", "");
  const show = async () => {
    place.replaceChildren(element("p", "Looking …", { role: "status" }));
    try {
      const chosen = [first.value, second.value];
      const { answer } = await ask("api/disagreements?" + new URLSearchParams({ first: chosen[0], second: chosen[1] }));
      if (turn === state.view && chosen[0] === first.value && chosen[1] === second.value) place.replaceChildren(...disagreementTable(answer, chosen, picks.map(([, select]) => select.selectedOptions[0].text)));
    } catch (error) {
      place.replaceChildren(element("p", error.message, { class: "warn" }));
    }
  };
  for (const select of [first, second]) select.addEventListener("change", show);
  show();
  return element("div", [element("div", picks.map(([paragraph]) => paragraph), { class: "picks" }), place]);
}

function disagreementTable(found, [first], labels) {
  const count = found.disagree > found.rows.length ? `, the ${found.rows.length} widest apart shown` : "";
  const said = `${found.disagree} of ${found.images} answers differ, ${found.answers}${count}. Right by both: ${found.both_right}; by the first alone: ${found.only_first}; by the second alone: ${found.only_second}; by neither: ${found.both_wrong}.`;
  const call = (label, { predicted, probability }) => {
    const right = predicted === label;
    return element("span", `${predicted} ${probability.toFixed(2)}, ${right ? "right" : "wrong"}`, { class: right ? "right" : "wrong" });
  };
  const picture = (image) => {
    const [run, ...arm] = first.split("/");
    const source = `api/runs/${encodeURIComponent(run)}/thumbnail?` + new URLSearchParams({ arm: arm.join("/"), image });
    const made = element("img", "", { class: "thumbnail", src: source, alt: "Radiograph " + image, loading: "lazy", width: 96, height: 96 });
    made.addEventListener("error", () => made.replaceWith(element("span", "no thumbnail", { class: "soft" })));
    return made;
  };
  const rows = found.rows.map((item) => [
    item.image, ...(state.images ? [picture(item.image)] : []), item.patient, item.label, call(item.label, item.first), call(item.label, item.second),
  ]);
  const head = ["image", ...(state.images ? ["radiograph"] : []), "patient", "label", ...labels];
  const note = state.images ? null : element("p", "Radiographs are not shown; darkcovid board --images shows them.", { class: "soft" });
  return [element("p", said), note, found.rows.length ? plainTable("Disagreements", head, rows) : null].filter(Boolean);
}

// Which view

async function navigate() {
  if (location.hash === "#main-content") return;
  const turn = ++state.view;
  const asked = new URLSearchParams(location.hash.slice(1));
  const names = asked.getAll("compare"), name = asked.get("run");
  const listing = !name && names.length === 0, before = !at("view").hidden;
  at("list").hidden = !listing;
  at("view").hidden = listing;
  calm();
  if (listing) {
    document.title = "Runs: darkcovid";
    table();
    if (before) at("main-content").focus();
    return;
  }
  const title = name || `${names.length} runs side by side`;
  document.title = title + ": darkcovid";
  at("title").textContent = title;
  at("content").replaceChildren();
  window.scrollTo(0, 0);
  at("title").focus();
  await (name ? showRun(name, turn) : showComparison(names, turn)).catch((error) => turn === state.view && fail(error));
}

async function poll() {
  if (!document.hidden) await refresh().then(() => state.lost && calm(), lost);
  setTimeout(poll, LIST_SECONDS * 1000);
}

function lost(error) {
  state.lost = true;
  fail(error instanceof TypeError ? new Error("The board's server does not answer; what is shown is as of before.") : error);
}

async function open() {
  try {
    await refresh();
    calm();
    await navigate();
    setTimeout(poll, LIST_SECONDS * 1000);
  } catch (error) {
    fail(error);
    if (error instanceof Refused) at("token").focus();
    else setTimeout(open, LIST_SECONDS * 1000);
  }
}

headings();
for (const name of ["search", "status", "recipe", "tag"]) at(name).addEventListener("input", table);
at("filters").addEventListener("submit", (event) => event.preventDefault());
at("compare").addEventListener("click", () => (location.hash = new URLSearchParams([...state.chosen].map((name) => ["compare", name]))));
at("clear").addEventListener("click", () => [...state.chosen].forEach((name) => choose(name, false)));
at("skip").addEventListener("click", (event) => {
  event.preventDefault();
  at("main-content").focus();
});
at("secret").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await fetch("session", { method: "POST", headers: { Authorization: "Bearer " + at("token").value } });
  if (!response.ok) return fail(new Error("The token is not the one that was set."));
  at("token").value = ""; // the cookie stands for it from here on
  at("secret").hidden = true;
  open();
});
window.addEventListener("hashchange", navigate);
open();
