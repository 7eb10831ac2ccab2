"use strict";
// Line charts as SVG: values under the pointer, or under the arrow keys.

const CHART = { width: 420, height: 230, left: 44, right: 10, top: 8, bottom: 26 };
const COLORS = ["#4C8BD0", "#E0607E", "#3A9A50", "#B8860B", "#2AA6C9", "#B04A90", "#888888"];
const DASHES = ["", "6 3", "2 2", "8 3 2 3"];

function svg(name, attributes = {}) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

const color = (fit, index) => fit.color || COLORS[index % COLORS.length];

function stroke(fit, index) {
  const dash = DASHES[(fit.color ? fit.dash : Math.floor(index / COLORS.length)) % DASHES.length];
  return { stroke: color(fit, index), fill: "none", "stroke-width": 2, "stroke-dasharray": dash };
}

function ticks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((candidate) => candidate >= rough);
  const found = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) found.push(Number(value.toPrecision(10)));
  return found;
}

const short = (value) => (value === null || value === undefined ? "-" : String(Number(value.toPrecision(3))));

/** A figure of one column: a line per fit. `fits`: [{fit, epochs, curves}], and color and dash where they have their own; of one with `dots` only points are drawn, with `steps` a
 * line that rises at once. `unit` is what is counted along the axis. Null where no fit has a value. */
function chart(title, column, fits, unit = "epoch") {
  const lines = fits.filter((fit) => (fit.curves[column] || []).some((value) => value !== null));
  if (!lines.length) return null;
  const values = lines.flatMap((fit) => fit.curves[column].filter((value) => value !== null));
  const epochs = lines.flatMap((fit) => fit.epochs);
  const first = Math.min(...epochs), last = Math.max(...epochs);
  let low = Math.min(...values), high = Math.max(...values);
  const margin = low === high ? Math.abs(low) / 10 || 0.1 : (high - low) * 0.06; // so that no point lies on an edge
  [low, high] = [low - margin, high + margin];
  const { height, left, right, top, bottom } = CHART;
  const width = Math.min(CHART.width, Math.max(280, document.documentElement.clientWidth - 60)); // so that words stay as large on a phone
  const inset = Math.min(60, (width - left - right) / (2 * (last - first + 1))); // few epochs keep away from the edges; one is in the middle
  const from = first === last ? (left + width - right) / 2 : left + inset, to = first === last ? from : width - right - inset;
  const x = (epoch) => from + ((epoch - first) / (last - first || 1)) * (to - from);
  const y = (value) => height - bottom - ((value - low) / (high - low)) * (height - top - bottom);

  const ends = lines.map((fit) => fit.fit + " " + short(fit.curves[column].at(-1)) + ` at ${unit} ${fit.epochs.at(-1)}`);
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": `${title}: ${ends.join("; ")}. Arrow keys read each ${unit}.` });
  for (const value of ticks(low, high, 5)) {
    drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(value), y2: y(value) }));
    const label = svg("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" });
    label.textContent = short(value);
    drawing.append(label);
  }
  drawing.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: height - bottom, y2: height - bottom }));
  for (const epoch of ticks(first, last, 8).filter(Number.isInteger)) {
    const label = svg("text", { x: x(epoch), y: height - 8, "text-anchor": "middle" });
    label.textContent = epoch;
    drawing.append(label);
  }
  lines.forEach((fit, index) => {
    const points = fit.epochs.map((epoch, at) => [epoch, fit.curves[column][at]]).filter(([, value]) => value !== null);
    const place = ([epoch, value]) => `${x(epoch).toFixed(1)},${y(value).toFixed(1)}`;
    const corners = fit.steps ? points.flatMap((point, at) => (at ? [[point[0], points[at - 1][1]], point] : [point])) : points;
    if (!fit.dots) drawing.append(svg("polyline", { points: corners.map(place).join(" "), ...stroke(fit, index) }));
    const marked = fit.dots || (points.length <= 3 && !fit.steps) ? points : points.slice(-1);
    for (const [epoch, value] of marked) drawing.append(svg("circle", { cx: x(epoch), cy: y(value), r: 3.5, fill: color(fit, index) }));
  });
  const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  drawing.append(cursor);

  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const legend = document.createElement("ul");
  const readout = document.createElement("p");
  figure.className = "chart";
  legend.className = "legend";
  readout.className = "soft unseen";
  readout.setAttribute("role", "status");
  const texts = lines.map((fit, index) => {
    const item = document.createElement("li");
    const sample = svg("svg", { viewBox: "0 0 26 8", "aria-hidden": "true" });
    sample.append(fit.dots ? svg("circle", { cx: 13, cy: 4, r: 3.5, fill: color(fit, index) }) : svg("line", { x1: 0, x2: 26, y1: 4, y2: 4, ...stroke(fit, index) }));
    const text = document.createElement("span");
    item.append(sample, " ", text);
    legend.append(item);
    return text;
  });
  let shown = last;
  const show = (epoch, spoken) => {
    shown = epoch;
    lines.forEach((fit, index) => {
      const at = fit.epochs.indexOf(epoch);
      texts[index].textContent = fit.fit + " " + short(at < 0 ? null : fit.curves[column][at]);
    });
    caption.textContent = `${title}, ${unit} ${epoch}`;
    cursor.setAttribute("x1", x(epoch));
    cursor.setAttribute("x2", x(epoch));
    cursor.setAttribute("visibility", spoken === null ? "hidden" : "visible");
    if (spoken) readout.textContent = `${unit[0].toUpperCase() + unit.slice(1)} ${epoch}: ${texts.map((text) => text.textContent).join(", ")}`;
  };
  const leave = () => {
    show(last, null);
    lines.forEach((fit, index) => (texts[index].textContent = fit.dots ? fit.fit : fit.fit + " " + short(fit.curves[column].at(-1))));
    caption.textContent = title;
  };
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const share = ((event.clientX - box.left) / box.width) * width;
    const epoch = Math.round(first + ((share - from) / (to - from || 1)) * (last - first));
    show(Math.min(last, Math.max(first, epoch)), false);
  });
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Math.min(last, Math.max(first, shown + step)), true);
  });
  leave();
  figure.append(caption, drawing, legend, readout);
  return figure;
}

/** Figures of all columns: the validation metric first, then losses. */
function charts(fits) {
  const places = new Map(); // fits of one arm, and arms of one name in several runs, have one color: they differ by their dashes
  fits = fits.map((fit) => {
    const dash = places.get(fit.color) ?? 0;
    places.set(fit.color, dash + 1);
    return { ...fit, dash };
  });
  const columns = [...new Set(fits.flatMap((fit) => Object.keys(fit.curves)))];
  const losses = columns.filter((column) => column.endsWith("loss"));
  const order = [...columns.filter((column) => !losses.includes(column)), ...losses.reverse()];
  const words = (column) => column.replaceAll("_", " ").replace("valid", "validation").replace("train ", "training ");
  return order.map((column) => chart(words(column), column, fits)).filter(Boolean);
}
