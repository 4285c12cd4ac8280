// The facts of the proposal in hand, and the values in its box. In an audit none of it is seen: it would lead.

import { at, make, shown } from "./elements.js";
import { desk, isProposal, place } from "./desk.js";
import { on } from "./news.js";
import { OPEN, REJECTED, finished, list, look, rows, secondOf } from "./state.js";
import { scene } from "./stage.js";
import { valuesIn, written } from "./thermal.js";
import { sentence } from "./window.js";

const ACTIONS = {
  accepted: "accepted", relabelled: "class changed", moved: "box moved", drawn: "drawn or imported", rejected: "rejected",
};

export function startFacts() {
  on("desk", show);
  on("pixels", showValues);
  on("view", () => { at("window-told").textContent = sentence(); });
}

function line(term, text) {
  return text === "" || text === null ? [] : [make("dt", {}, term), make("dd", {}, text)];
}

const share = value => (value === null || value === undefined ? "" : value.toFixed(2));

function ofRun(row) {
  if (!isProposal()) return [];
  const chance = rows.probability[row], sure = chance === null ? "" : `right in ${Math.round(100 * chance)} of 100`;
  const second = secondOf(row), rest = rows.margin[row] === null ? "" : ` (${share(rows.margin[row])} behind)`;
  return [
    ...line("Score", share(rows.score[row])), ...line("Chance", sure),
    ...line("Advice", rows.advice[row]), ...line("Next best", second ? `${shown(second)}${rest}` : ""),
    ...line("Alike", share(rows.similarity[row])), ...line("Methods", rows.agree[row] ? "" : "do not agree"),
  ];
}

function show() {
  at("where").textContent = place();
  const label = desk.place >= 0 ? look(desk.place) : null;
  at("panel-title").textContent = label ? shown(label.label) || "No class" : "No proposal in hand";
  const state = !label ? "" : label.status === OPEN ? "open" : ACTIONS[label.action] || label.action;
  at("panel-state").textContent = label?.waiting ? `${state}, being written` : state;
  at("panel-state").className = label?.status === REJECTED ? "rejected" : label?.status === OPEN ? "" : "stands";
  const recording = list.images.recording[desk.image], size = `${list.images.width[desk.image]} × ${list.images.height[desk.image]}`;
  at("facts").replaceChildren(...ofRun(desk.place), ...line("Recording", recording ? shown(recording) : ""),
    ...line("Image", size), ...line("Missing", finished.has(desk.image) ? "nothing, somebody said" : ""),
    make("dt", { id: "values-term" }), make("dd", { id: "values" }));
  at("reason").textContent = isProposal() ? shown(rows.reason[desk.place]) : "";
  describe(label);
  showValues();
}

function showValues() {
  if (!at("values")) return;
  const source = scene.picture, box = scene.current?.kind === "region" ? scene.current.box : [0, 0, ...scene.size];
  const found = source?.values && scene.image === desk.image ? valuesIn(source, box) : null;
  at("values-term").textContent = found ? "Values" : "";
  const [least, most, mean] = found ? [found.least, found.most, found.mean].map(value => written(source, value)) : [];
  at("values").textContent = found ? `${least} to ${most}, mean ${mean}` : "";
}

// What the picture shows, for those who do not see it.
function describe(label) {
  const [x, y, w, h] = label?.kind === "region" ? label.box.map(Math.round) : [];
  const box = label?.kind === "region" ? `, box at ${x}, ${y}, ${w} wide, ${h} high` : "";
  const what = label && !desk.bare ? `, ${shown(label.label) || "no class"}` : "", image = shown(list.images.name[desk.image] ?? "none");
  at("stage").setAttribute("aria-label", `Picture: ${image}${what}${box}. ${scene.others.length} other boxes.`);
}
