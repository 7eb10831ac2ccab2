"use strict";

const at = (id) => document.getElementById(id);
const percent = (value) => (100 * value).toFixed(1) + " %";
const words = (name) => name.replaceAll("_", " ");

async function ask(path, options = {}) {
  const token = at("token").value;
  const headers = token ? { Authorization: "Bearer " + token } : {};
  const response = await fetch(path, { ...options, headers });
  const answer = await response.json().catch(() => ({}));
  if (response.status === 401) {
    at("secret").hidden = false;
    at("token").focus();
  }
  if (!response.ok) throw new Error(answer.error || "the service answered " + response.status);
  return answer;
}

async function loadModels() {
  const { models } = await ask("v1/models");
  at("model").replaceChildren(...models.map((model) => new Option(model.name, model.name)));
  at("models").hidden = models.length < 2;
  await loadCard();
}

function load() {
  loading = loadModels();
  return loading;
}

async function loadCard() {
  const card = await ask("v1/models/" + encodeURIComponent(at("model").value) + "/card");
  at("caution").textContent = card.not_for + " " + card.caution;
  const interval = card.accuracy_interval ? " [" + card.accuracy_interval.map(percent).join(" to ") + "]" : "";
  const rows = [
    ["Model", card.name + ", " + card.fit],
    ["Network", card.network + ", " + card.parameters.toLocaleString("en") + " parameters, " + card.image_size.join(" x ") + " pixels"],
    ["Sees", card.lungs === "crop" ? "a crop around the lungs" : card.lungs],
    ["Trained on", card.trained_on.images.train + " images of " + (card.trained_on.dataset || card.trained_on.manifest)],
    ["Patients kept apart", card.patients_kept_apart ? "yes" : "no"],
    ["Leaks found", card.leaks_found === null ? "not looked for" : card.leaks_found ? "yes" : "none"],
    ["Accuracy (validation)", percent(card.accuracy) + interval],
    ...Object.entries(card.per_class).map(([name, one]) => ["Recall, " + words(name), percent(one.recall)]),
    ...Object.entries(card.elsewhere).map(([name, one]) => ["Balanced accuracy elsewhere, " + name, percent(one)]),
    ["Run", card.run],
  ];
  at("card").replaceChildren(...rows.flatMap(([name, value]) => [element("dt", name), element("dd", String(value))]));
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function row(name, share, best) {
  const made = document.createElement("tr");
  const bar = document.createElement("progress");
  const label = element("th", words(name));
  const cell = document.createElement("td");
  label.scope = "row";
  bar.max = 1;
  bar.value = share;
  bar.setAttribute("aria-label", words(name));
  cell.append(bar);
  made.classList.toggle("best", best);
  made.append(label, cell, element("td", percent(share)));
  return made;
}

function answer(found) {
  if (found.answer === found.label) {
    return words(found.label) + ", " + percent(found.probabilities[found.label]);
  }
  const could = found.answer === "not sure" && found.class_set.length ? ": " + found.class_set.map(words).join(" or ") : "";
  return words(found.answer) + could;
}

function show(found, name) {
  at("answer").textContent = answer(found);
  at("bars").replaceChildren(
    ...Object.entries(found.probabilities).map(([label, share]) => row(label, share, label === found.label)),
  );
  at("warnings").replaceChildren(...found.warnings.map((text) => element("li", text)));
  at("picture").src = found.picture;
  at("picture").alt = "The radiograph " + name;
  at("heat").src = found.heat;
  at("lungs").src = found.lungs;
  layers();
  at("result").hidden = false;
  at("answer").focus();
}

function layers() {
  at("heat").style.opacity = at("opacity").value / 100;
  at("lungs").hidden = !at("outline").checked;
}

function side(picture, heat, method) {
  const made = document.createElement("figure");
  const view = document.createElement("div");
  const images = [picture, heat].map((source, place) => {
    const image = document.createElement("img");
    image.src = source;
    image.alt = place ? "" : "The radiograph under " + method;
    return image;
  });
  view.className = "view";
  view.append(...images);
  made.append(view, element("figcaption", method));
  return made;
}

let latest = 0;
let shown;  // the file that the page shows, of which explanations can be compared
let loading;  // the list of models, which a file that is chosen early waits for

async function explain(file) {
  const turn = ++latest;
  const form = new FormData();
  form.append("file", file, file.name);
  at("error").hidden = true;
  at("result").hidden = true;
  at("comparison").hidden = true;
  at("status").textContent = "Asking the model about " + file.name + " ...";
  try {
    await loading;
    const path = "v1/models/" + encodeURIComponent(at("model").value) + ":explain";
    const { explanations } = await ask(path, { method: "POST", body: form });
    if (turn === latest) {
      show(explanations[0], file.name);
      shown = file;
      at("methods").replaceChildren();
      at("agreement").textContent = "";
      at("comparing").textContent = "";
      at("comparison").hidden = false;
      at("status").textContent = "";
    }
  } catch (error) {
    if (turn === latest) fail(error);
  }
}

async function compare() {
  const turn = latest;
  const form = new FormData();
  form.append("file", shown, shown.name);
  at("compare").disabled = true;
  at("comparing").textContent = "Asking hundreds of times with parts hidden ...";
  try {
    const path = "v1/models/" + encodeURIComponent(at("model").value) + ":compare";
    const { comparison } = await ask(path, { method: "POST", body: form });
    if (turn === latest) {
      at("methods").replaceChildren(...Object.entries(comparison.maps).map(([method, heat]) => side(comparison.picture, heat, method)));
      at("agreement").textContent = comparison.words;
      at("comparing").textContent = "What speaks for " + words(comparison.label);
    }
  } catch (error) {
    if (turn === latest) at("comparing").textContent = error.message;
  } finally {
    at("compare").disabled = false;
  }
}

function fail(error) {
  at("status").textContent = "";
  at("error").textContent = error.message;
  at("error").hidden = false;
}

at("form").addEventListener("submit", (event) => event.preventDefault());
at("file").addEventListener("change", () => at("file").files.length && explain(at("file").files[0]));
at("model").addEventListener("change", () => loadCard().catch(fail));
at("token").addEventListener("change", () => load().then(() => (at("error").hidden = true)).catch(fail));
at("compare").addEventListener("click", compare);
at("opacity").addEventListener("input", layers);
at("outline").addEventListener("change", layers);
for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
  at("drop").addEventListener(name, (event) => {
    event.preventDefault();
    at("drop").classList.toggle("over", name === "dragenter" || name === "dragover");
    if (name === "drop" && event.dataTransfer.files.length) explain(event.dataTransfer.files[0]);
  });
}
load().catch(fail);
