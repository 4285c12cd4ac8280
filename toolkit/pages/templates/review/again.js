// Propose again with what was said: the server does it, the page shows how far it is, and takes the new run.

import { at, button, shown } from "./elements.js";
import { on } from "./news.js";
import { waitingActs } from "./queue.js";
import { post } from "./server.js";
import { say, warn } from "./telling.js";

let running = false, offered = "", told = "";

export function startAgain() {
  on("again", show);
  on("run", (name, taken) => offer(name, taken));
}

export async function proposeAgain() {
  if (running) return say("Proposals are being made already.");
  try {
    show((await post("/api/again", {})).again);
    return say("Proposals are being made anew from all that was said so far. Go on meanwhile.");
  } catch (error) {
    return warn(error.message);
  }
}

function show(again) {
  const before = running;
  running = Boolean(again?.running);
  at("again-line").textContent = running ? shown(again.line || "proposing ...") : "";
  at("again").disabled = running;
  if (again?.failed && again.failed !== told) {
    told = again.failed;
    warn(`Proposing again failed: ${shown(again.failed)}`);
  }
  if (before && again?.done) {
    say("Proposals were made anew.");
    offer(again.done, false);
  }
}

// A newer run is never put under the hand that works on this one: it is offered.
function offer(name, taken) {
  if (name === offered) return;
  offered = name;
  const text = taken ? `Another window took run ${shown(name)} in hand.` : `A newer run is there: ${shown(name)}.`;
  at("newer-word").textContent = text;
  at("newer-buttons").replaceChildren(button("Show it", "", () => take(name, taken)),
    ...(taken ? [] : [button("Later", "", () => { at("newer").hidden = true; })]));
  at("newer").hidden = false;
}

async function take(name, taken) {
  if (waitingActs().length) return warn("Some actions are not written yet. Wait a moment.");
  try {
    if (!taken) await post("/api/run", { run: name });
    return location.reload();
  } catch (error) {
    return warn(error.message);
  }
}
