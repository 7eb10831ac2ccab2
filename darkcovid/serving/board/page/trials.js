"use strict";
// A sweep: its winner beside the plain recipe, the history of its trials, and each of them.

const MOST_ROWS = 500;

/** Elements that show a sweep; nothing of a winner before it is done. `found` is what api/runs/NAME/trials answers. */
function trialParts(found, runs) {
  const metric = found.metric.replaceAll("_", " ") || "metric";
  return [...winnerParts(found, metric, runs), element("h3", "Trials"), ...searchParts(found, metric), ...rowParts(found, metric)];
}

function winnerParts(found, metric, runs) {
  if (!found.final.length) return [];
  const won = found.final.some(({ role }) => role === "winner");
  const best = found.trials.find(({ number }) => number === found.best), ties = tied(found).size;
  const said = ties > 1 ? `${ties} trials tied at ${three(best.metric)}; ${won ? "the first" : "the plain recipe"} is taken: trial ` : won ? "The winner, trial " : "The best, trial ";
  const span = (interval) => (interval ? interval.map(three).join(" to ") : "-");
  const rows = found.final.map((arm) => [{ winner: "the winner", plain: "the plain recipe" }[arm.role] || arm.role, arm.arm, three(arm.metric), span(arm.interval)]);
  if (found.difference) {
    const signed = (value) => (value < 0 ? "" : "+") + value.toFixed(3);
    const { difference, low, high } = found.difference;
    rows.push(["winner less plain", "", signed(difference), `${signed(low)} to ${signed(high)}`]);
  }
  const known = runs.some(({ name }) => name === found.final_run);
  return [
    element("h3", won ? "The winner against the plain recipe" : "The plain recipe, confirmed"),
    ...found.sentences.map((sentence) => element("p", sentence)),
    best ? element("p", [said, String(best.number), ": ", element("code", valuesText(best.values))]) : "",
    plainTable("Figures on the locked images", ["", "arm", metric, "95 % interval"], rows),
    known ? element("p", ["The final run: ", element("a", found.final_run, { href: runLink(found.final_run) })]) : "",
  ].filter(Boolean);
}

/** The numbers of the complete trials that are as good as the best. */
function tied({ trials, best }) {
  const found = trials.find(({ number }) => number === best);
  return new Set(found ? trials.filter(({ state, metric }) => state === "complete" && metric === found.metric).map(({ number }) => number) : []);
}

function searchParts(found, metric) {
  const count = (state) => found.trials.filter((trial) => trial.state === state).length;
  if (!found.trials.length) return [element("p", "No trial has ended yet.", { class: "soft" })];
  const made = found.trials.length + found.left_out + (found.planned ? ` of ${found.planned}` : "");
  const states = ["complete", "pruned", "failed", "interrupted"].filter(count).map((state) => `${count(state)} ${state}`).join(", ");
  const said = element("p", `${made} trials: ${states}. Judged by ${metric} on inner folds of the training set; the best of several trials looks better than it is.`);
  const figure = chart(metric, found.metric, trialSeries(found), "trial");
  const shares = Object.entries(found.importance);
  const importance = shares.length ? plainTable("Importance", ["key", "share of the differences that it explains"], shares.map(([key, share]) => [breakable(key), share.toFixed(2)])) : "";
  return [said, figure ? element("div", figure, { class: "charts" }) : "", importance].filter(Boolean);
}

/** Dots of complete and pruned trials, and the best so far as a line. */
function trialSeries({ metric, trials, lower_is_better: lower }) {
  const of = (state) => trials.filter((trial) => trial.state === state && trial.metric !== null);
  const series = (name, rows, more = {}) => ({ fit: name, epochs: rows.map(({ number }) => number), curves: { [metric]: rows.map((row) => row.metric) }, ...more });
  let best = null;
  const soFar = of("complete").map((trial) => {
    if (best === null || (lower ? trial.metric < best : trial.metric > best)) best = trial.metric;
    return { number: trial.number, metric: best };
  });
  return [series("best so far", soFar, { steps: true }), series("complete", of("complete"), { dots: true }), series("pruned, so far", of("pruned"), { dots: true })].filter(({ epochs }) => epochs.length);
}

function rowParts({ trials, best, lower_is_better: lower }, metric) {
  if (!trials.length) return [];
  const ties = tied({ trials, best });
  const rank = ({ number }) => (ties.size < 2 ? (number === best ? "the best" : "") : number === best ? "tied, taken" : ties.has(number) ? "tied" : "");
  const keys = [...new Set(trials.flatMap(({ values }) => Object.keys(values)))];
  const last = lower ? Infinity : -Infinity;
  const grade = (trial) => (trial.metric === null ? last : trial.metric);
  const order = [...trials].sort((a, b) => (a.state !== "complete") - (b.state !== "complete") || (lower ? 1 : -1) * (grade(a) - grade(b) || 0) || a.number - b.number);
  const rows = order.slice(0, MOST_ROWS).map((trial) => [
    String(trial.number),
    element("span", trial.state, { class: { complete: "done", pruned: "none", interrupted: "interrupted", failed: "failed" }[trial.state] }),
    ties.has(trial.number) ? element("mark", three(trial.metric)) : three(trial.metric),
    ...keys.map((key) => short4(trial.values[key])),
    trial.seconds === null ? "-" : trial.seconds.toFixed(1),
    [rank(trial), trial.plain ? "the plain recipe" : "", trial.reason].filter(Boolean).join("; ") || "-",
  ]);
  const more = order.length > rows.length ? element("p", `${order.length - rows.length} more are in trials.csv.`, { class: "soft" }) : "";
  return [plainTable("Trials, the best first", ["trial", "state", metric, ...keys, "seconds", ""], rows), more].filter(Boolean);
}

const short4 = (value) => (value === undefined ? "-" : typeof value === "number" ? String(Number(value.toPrecision(4))) : typeof value === "string" ? value : JSON.stringify(value));
const valuesText = (values) => Object.entries(values).map(([key, value]) => `${key}: ${short4(value)}`).join(", ");
