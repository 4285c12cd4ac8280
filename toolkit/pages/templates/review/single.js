// Single: one proposal with all that is known of it; accept, reject, relabel, move and draw.

import { at, button, make, shown } from "./elements.js";
import { classKeys, currentClass, findClass, keep } from "./classes.js";
import { desk, go, goImage, goTo, lay, lookKeys, nextOpen, refresh, walkKeys } from "./desk.js";
import { cancel, drawNew, edit, finish, placeInMiddle, startDrawing } from "./drawing.js";
import { pen } from "./hands.js";
import { on } from "./news.js";
import { arranged } from "./order.js";
import { act } from "./queue.js";
import { scene } from "./stage.js";
import { OPEN, REJECTED, STANDS, finished, isDrawn, look, onImage } from "./state.js";
import { say } from "./telling.js";

let shownNow = false;

export function startSingle() {
  startDrawing(kept);
  on("list", () => { if (shownNow) lay(arranged(), 0); });
  for (const what of ["desk", "hand"]) on(what, () => { if (shownNow) showActions(); });
  on("undone", changed => { if (shownNow && changed.length) goTo(changed[0].place); });
}

export const single = {
  name: "Single",
  enter(place) {
    shownNow = true;
    const places = arranged(), index = place === undefined || place === -1 ? 0 : places.indexOf(place);
    lay(places, Math.max(0, index));
    if (index < 0) goTo(place);
  },
  leave() { shownNow = false; },
  keys: () => [
    { keys: ["Enter"], name: "Accept, and the next", once: true, does: accept },
    { keys: ["x", "r"], name: "Reject, and the next", once: true, does: reject },
    ...classKeys(classify, "give it and go on"),
    ...walkKeys(),
    { keys: ["PageDown", "."], name: "Next image", does: () => goImage(1) },
    { keys: ["PageUp", ","], name: "Image before", does: () => goImage(-1) },
    { keys: ["j"], name: "Next box of this image", does: nextBox },
    { keys: ["b"], name: "Move the box by keys (or pull its sides)", group: "Boxes", does: edit },
    { keys: ["n"], name: "Draw a new box", group: "Boxes", does: drawNew },
    { keys: ["f"], name: "Nothing is missing in this image", group: "Boxes", does: finishImage },
    ...lookKeys(),
  ],
  chosen: () => desk.place,
};

const here = () => (desk.place >= 0 ? look(desk.place) : null);

function decide(changes, text) {
  act(changes);
  say(text);
  nextOpen();
}

function accept() {
  const label = here();
  if (!label) return nextOpen();
  if (!label.label) return findClass(classify); // nothing is claimed that could be accepted
  if (label.status === STANDS) return nextOpen();
  return decide([{ id: label.id, do: "accepted" }], `Accepted: ${shown(label.label)}.`);
}

function reject() {
  const label = here();
  if (!label || label.status === REJECTED) return nextOpen();
  return decide([{ id: label.id, do: "rejected" }], `Rejected${label.label ? `: ${shown(label.label)}` : ""}.`);
}

function classify(name) {
  if (finish(name)) return null;
  const label = here();
  if (!label) return say("No label is in hand. N draws a box.");
  const same = label.label === name, change = same ? { do: "accepted" } : { do: "relabelled", label: name };
  if (same && label.status === STANDS) return nextOpen();
  return decide([{ id: label.id, ...change }], `${same ? "Accepted" : "Changed to"} ${shown(name)}.`);
}

// A box that was kept: a new one stays in view, a moved one is as good as accepted.
function kept(box, fresh, name) {
  if (fresh) {
    const label = name || currentClass(here()?.label);
    if (!label) return findClass(made => { keep(made); kept(box, true, made); });
    keep(label);
    act([{ do: "drawn", image: desk.image, kind: "region", label, box }]).then(refresh);
    refresh();
    return say(`New ${shown(label)}.`);
  }
  const label = here(), to = name || label.label;
  if (!to) return findClass(made => { keep(made); kept(box, false, made); });
  return decide([{ id: label.id, do: "moved", label: to, box }], `Moved: ${shown(to)}.`);
}

function nextBox() {
  const places = onImage(desk.image).filter(place => place === desk.place || (look(place).kind === "region"
    && (look(place).label || desk.others === "all") && !(isDrawn(place) && look(place).status === REJECTED)));
  if (places.length) goTo(places[(places.indexOf(desk.place) + 1) % places.length]);
}

function finishImage() {
  if (finished.has(desk.image)) return say("It is noted already that nothing is missing here.");
  finished.add(desk.image);
  act([], { finished: desk.image }).then(done => { if (!done) finished.delete(desk.image); refresh(); });
  say("Noted: nothing is missing in this image.");
  return refresh();
}

// While a box is in hand, the buttons are about it.
function boxActions() {
  const keeping = scene.fresh ? `Keep as ${shown(currentClass(scene.current?.label) || "...")}` : "Keep";
  const ways = "arrows move it · with Shift widen · with Alt narrow · 1-9, / keep it as";
  at("single-actions").replaceChildren(
    scene.editing ? button(keeping, "Enter", () => finish(null), { class: "main" })
      : button("A box in the middle", "Enter", placeInMiddle, { class: "main" }),
    button(scene.fresh || pen.ready ? "Let it go" : "Put back", "Esc", cancel),
    make("span", { class: "soft" }, scene.editing ? ways : "Drag a box on the picture."),
  );
}

function enterText(label) {
  if (label && !label.label) return "Name it";
  if (!label) return "Next";
  if (label.status === OPEN) return "Accept";
  return label.status === REJECTED ? "Accept after all" : "Next";
}

function showActions() {
  if (scene.editing || pen.ready) return boxActions();
  const label = here(), has = Boolean(label), whole = finished.has(desk.image);
  return at("single-actions").replaceChildren(
    button(enterText(label), "Enter", accept, { class: "main" }),
    button("Reject", "X", reject, { disabled: !has || label.status === REJECTED }),
    button("Move box", "B", edit, { disabled: label?.kind !== "region" }),
    button("New box", "N", drawNew),
    button(whole ? "None missing ✓" : "None missing", "F", finishImage, { "aria-pressed": String(whole) }),
    button("", "←", () => go(desk.index - 1), { "aria-label": "Before", disabled: desk.index <= 0 }),
    button("", "→", () => go(desk.index + 1), { "aria-label": "Next", disabled: desk.index >= desk.places.length - 1 }),
  );
}

export const takeInHand = label => {
  if (!shownNow || label.place < 0) return;
  goTo(label.place);
};

export const handsOf = () => ({
  choose: takeInHand,
  canEdit: () => shownNow && desk.place >= 0 && here().kind === "region",
});
