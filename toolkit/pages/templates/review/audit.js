// The audit: proposals drawn at random, each right or not. No score is shown, and no reason, and nothing of what was
// said of them elsewhere: it would lead. What was said elsewhere is no verdict, so that it is asked here all the same.

import { at, button, count, make, shown } from "./elements.js";
import { classKeys } from "./classes.js";
import { desk, go, goTo, lay, lookKeys, nextOpen, walkKeys } from "./desk.js";
import { on } from "./news.js";
import { act } from "./queue.js";
import { OPEN, list, look, proposed, proposedOf } from "./state.js";
import { say } from "./telling.js";

let shownNow = false, which = 0;

export const auditNow = () => list.audits[which] || null;

function asked(place) {
  const label = look(place);
  return label.audit ? label : proposed(place);
}

const isOpen = place => asked(place).status === OPEN;

export function startAudit(name) {
  which = Math.max(0, list.audits.findIndex(each => each.name === name)); // the newest stands first
  at("audits").replaceChildren(...list.audits.map((each, i) => make("option", { value: i }, shown(each.name))));
  at("audits").value = which;
  at("audits").addEventListener("change", () => { which = Number(at("audits").value); audit.enter(); });
  on("desk", () => { if (shownNow) showActions(); });
  on("undone", changed => { if (shownNow && changed.length) goTo(changed[0].place); });
}

export const audit = {
  name: "Audit",
  enter() {
    shownNow = true;
    const places = auditNow() ? auditNow().rows : [];
    at("audit-empty").hidden = places.length > 0;
    at("single-view").classList.toggle("none", !places.length);
    lay(places, Math.max(0, places.findIndex(isOpen)), { bare: true, see: asked });
  },
  leave() {
    shownNow = false;
    at("single-view").classList.remove("none");
  },
  keys: () => [
    { keys: ["y", "Enter"], name: "Yes, it is right", once: true, does: yes },
    { keys: ["n", "x", "r"], name: "No, it is wrong", once: true, does: () => answer({ do: "rejected" }, "No") },
    ...classKeys(classify, "say what it is"),
    ...walkKeys(),
    ...lookKeys(),
  ],
  chosen: () => desk.place,
};

function answer(facts, text) {
  if (desk.place < 0 || !auditNow()) return;
  const label = asked(desk.place);
  const asBefore = (facts.do === "rejected") === (label.action === "rejected") && (facts.label || proposedOf(desk.place)) === label.label;
  if (label.status === OPEN || !asBefore) act([{ id: label.id, ...facts }], { audit: auditNow().name });
  say(`${text}.`);
  nextOpen();
  if (!auditNow().rows.some(isOpen)) {
    say("All are answered. Proposing again (Q) says what may be accepted for it.");
  }
}

function yes() {
  const name = desk.place < 0 ? "" : proposedOf(desk.place); // whatever class it has been given elsewhere
  return answer({ do: "accepted", ...(name ? { label: name } : {}) }, "Yes");
}

function classify(name) {
  if (name === proposedOf(desk.place)) return yes();
  return answer({ do: "relabelled", label: name }, `No, it is ${shown(name)}`);
}

const ANSWERS = { accepted: "You said yes.", moved: "You said yes.", rejected: "You said no." };

function showActions() {
  const has = desk.place >= 0 && Boolean(auditNow()), label = has ? asked(desk.place) : null;
  const done = auditNow() ? auditNow().rows.filter(place => !isOpen(place)).length : 0;
  at("audit-sum").textContent = auditNow() ? `${count(done)} of ${count(auditNow().rows.length)} answered` : "";
  const what = has ? shown(proposedOf(desk.place) || "nothing of the classes") : "";
  at("audit-question").textContent = !has ? "" : `Is this “${what}”${label.kind === "region" ? ", with the box on it" : ""}?`;
  at("audit-answer").textContent = !label?.action ? "" : ANSWERS[label.action] || `You said: ${shown(label.label)}.`;
  at("single-actions").replaceChildren(
    button("Yes", "Y", yes, { class: "main", disabled: !has }),
    button("No", "N", () => answer({ do: "rejected" }, "No"), { disabled: !has }),
    button("", "←", () => go(desk.index - 1), { "aria-label": "Before", disabled: desk.index <= 0 }),
    button("", "→", () => go(desk.index + 1), { "aria-label": "Next", disabled: desk.index >= desk.places.length - 1 }),
  );
}
