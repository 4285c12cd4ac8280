// The page begins here: it asks for the list, gives every part its place, and changes from mode to mode.

import { at, make, shown } from "./elements.js";
import { proposeAgain, startAgain } from "./again.js";
import { audit, startAudit } from "./audit.js";
import { startClasses } from "./classes.js";
import { clusters, startClusters } from "./clusters.js";
import { startCounts } from "./counts.js";
import { startDesk } from "./desk.js";
import { begin as beginBox, ended, pulledTo, stop } from "./drawing.js";
import { startFacts } from "./facts.js";
import { startFilters } from "./filters.js";
import { grid, startGrid } from "./grid.js";
import { startHands } from "./hands.js";
import { help, home, listen, share, useKeys } from "./keys.js";
import { on } from "./news.js";
import { undo } from "./queue.js";
import { ask } from "./server.js";
import { handsOf, single, startSingle } from "./single.js";
import { startStage } from "./stage.js";
import { begin, list } from "./state.js";
import { say } from "./telling.js";
import { startTheme, turnTheme } from "./theme.js";
import { startWhy, toggleWhy } from "./why.js";
import { nextPalette, recallPalette } from "./window.js";

const MODES = { grid, single, clusters, audit };
const VIEWS = { grid: "grid-view", single: "single-view", clusters: "cluster-view", audit: "single-view" };
let mode = "";

function go(name, place) {
  if (mode) MODES[mode].leave();
  stop();
  const before = mode ? MODES[mode].chosen() : undefined, target = place ?? before;
  mode = name;
  document.body.dataset.mode = name;
  for (const view of new Set(Object.values(VIEWS))) at(view).hidden = view !== VIEWS[name];
  for (const each of Object.keys(MODES)) at(`mode-${each}`).setAttribute("aria-pressed", String(each === name));
  MODES[name].enter(target);
  useKeys(MODES[name].keys);
  home();
  location.replace(`#${name}`);
}

const helpNow = () => help(`${MODES[mode].name} mode`);

function shareKeys() {
  share(
    { keys: ["g"], name: "Grid: many of one class", does: () => go("grid") },
    { keys: ["s"], name: "Single: one after the other", does: () => go("single") },
    { keys: ["c"], name: "Clusters: name what looks alike", does: () => go("clusters") },
    { keys: ["a"], name: "Audit: the random sample", does: () => go("audit") },
    { keys: ["u"], name: "Undo, as often as you like (or Ctrl Z)", undoes: true, once: true, does: () => undo() },
    { keys: ["p"], name: "Next palette", during: true, does: () => nextPalette(1) },
    { keys: ["Shift+p"], name: "Palette before", during: true, does: () => nextPalette(-1) },
    { keys: ["h"], name: "To the choice of class, advice, state, order", does: () => at("label").focus() },
    { keys: ["e"], name: "About the proposal, and why: shown or not", does: toggleWhy },
    { keys: ["q"], name: "Propose again with what was said", once: true, does: proposeAgain },
    { keys: ["d"], name: "Dark or light", during: true, does: turnTheme },
    { keys: ["?"], name: "These keys", during: true, does: helpNow },
  );
}

const CONTROLS = {
  undo: () => undo(), again: proposeAgain, theme: turnTheme, keys: helpNow, palette: () => nextPalette(1), why: toggleWhy,
};

function wire() {
  for (const name of Object.keys(MODES)) at(`mode-${name}`).addEventListener("click", () => go(name));
  for (const [id, does] of Object.entries(CONTROLS)) at(id).addEventListener("click", does);
  at("help-close").addEventListener("click", () => at("help").close());
  for (const dialog of document.querySelectorAll("dialog")) dialog.addEventListener("close", () => home());
  document.addEventListener("keydown", event => { // Escape leaves a field for the work
    if (event.key === "Escape" && event.target.matches("select, input") && !event.target.closest("dialog")) home();
  });
  on("list", () => home());
  on("mode", name => go(name));
}

function introduce() {
  document.title = `${shown(list.run)} · dinotool review`;
  at("run").textContent = `${shown(list.set)} · ${shown(list.run)}`;
  at("run").title = shown(list.made);
  at("made").replaceChildren(...[list.made, ...list.sentences].map(text => make("p", {}, shown(text))));
}

function firstMode() {
  const asked = location.hash.slice(1);
  if (list.audit && !(asked in MODES)) return "audit";
  if (asked in MODES) return asked;
  return list.rows.cluster.some(number => number >= 0) && !list.rows.label.some(number => number >= 0) ? "clusters" : "grid";
}

async function start() {
  startTheme();
  const answer = await ask("/api/list");
  begin(answer);
  shareKeys();
  listen();
  startClasses();
  startStage();
  startDesk();
  const hooks = { single: place => { if (place !== undefined) go("single", place); } };
  startGrid(hooks);
  startClusters(hooks);
  startSingle();
  startAudit(answer.audit);
  startHands({ ...handsOf(), begin: beginBox, pulledTo, ended });
  startFacts();
  startWhy();
  startFilters();
  startAgain();
  recallPalette();
  wire();
  introduce();
  document.body.classList.add("ready");
  go(firstMode());
  startCounts(answer.seq);
  say("? shows the keys.");
}

start().catch(error => {
  at("starting").textContent = error.message;
  throw error;
});
