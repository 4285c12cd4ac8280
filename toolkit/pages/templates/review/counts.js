// The bar: how much is done, how fast, what is left; what waits to be written; what other pages did meanwhile.

import { at, count, many } from "./elements.js";
import { on, tell } from "./news.js";
import { isUnknown } from "./order.js";
import { countWaiting, discard, noteUndo, troubleNow, tryNow, undoSentence, waitingActs } from "./queue.js";
import { ask } from "./server.js";
import { OPEN, countOfRows, finished, heard, learn, list, statusOf } from "./state.js";
import { say } from "./telling.js";

const EVERY = 1500; // milliseconds between looks at what happened elsewhere
let since = 0, timer = 0, perMinute = null, gone = "";
const all = { asked: 0, unknown: 0 }, done = { asked: 0, unknown: 0 }; // proposals to be reviewed, and those left unknown

export function startCounts(seq) {
  since = seq;
  recount();
  on("labels", changed => {
    for (const { before, now } of changed) {
      if (now.place >= countOfRows() || !before) continue;
      done[sortOf(now.place)] += (now.status !== OPEN) - (before.status !== OPEN);
    }
    show();
  });
  on("queue", showQueue);
  on("acknowledged", () => { gone = ""; });
  on("undone", () => poll());
  at("try").addEventListener("click", tryNow);
  at("discard").addEventListener("click", () => { discard(); say("What waited was given up; the page shows what stands."); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) poll(); });
  poll();
}

const sortOf = place => (isUnknown(place) ? "unknown" : "asked");

function recount() {
  for (let place = 0; place < countOfRows(); place++) {
    all[sortOf(place)] += 1;
    if (statusOf(place) !== OPEN) done[sortOf(place)] += 1;
  }
  show();
}

export async function poll() {
  clearTimeout(timer);
  try {
    const news = await ask(`/api/changes?since=${since}`);
    gone = "";
    await take(news);
  } catch (error) {
    gone = error.message;
  }
  showQueue();
  if (!document.hidden) timer = setTimeout(poll, EVERY);
}

async function take(news) {
  if (news.run && news.run !== list.run) return tell("run", news.run, true);
  since = Math.max(since, news.seq);
  const busy = waitingActs().length > 0; // what this page itself is about to hear is no news from elsewhere
  const changed = heard(news.changes);
  if (changed.length && !busy) say(`${many(changed.length, "label")} changed in another window.`);
  learn(news.classes || []);
  const before = finished.size;
  finished.clear();
  for (const image of news.finished || []) finished.add(image);
  for (const act of waitingActs()) if (act.finished !== undefined) finished.add(act.finished);
  if (finished.size !== before) tell("desk");
  perMinute = news.counts?.per_minute ?? null;
  if (!busy) noteUndo(news.undo);
  tell("again", news.again);
  if (news.newer_run) tell("run", news.newer_run, false);
  return show();
}

function show() {
  const left = all.asked - done.asked, unknown = all.unknown - done.unknown;
  const apart = unknown ? ` · ${count(unknown)} unknown` : "";
  at("done").textContent = count(done.asked);
  at("left").textContent = `of ${count(all.asked)} · ${count(left)} left${apart}`;
  at("left").title = unknown ? "Unknown ones need not be reviewed; advice “unknown” shows them." : "";
  at("bar").value = all.asked ? done.asked / all.asked : 1;
  at("bar").setAttribute("aria-valuetext", `${done.asked} of ${all.asked} done${apart}`);
  const minutes = perMinute ? Math.ceil(left / perMinute) : 0;
  const more = left && minutes < 600 ? ` · ${count(minutes)} min more` : "";
  at("pace").textContent = at("pace").title = perMinute ? `${count(Math.round(perMinute))}/min${more}` : "";
}

function showQueue() {
  const number = countWaiting(), trouble = troubleNow() || gone;
  at("saved").textContent = !number ? "all on disk" : `${count(number)} ${trouble ? "waiting" : "being written"}`;
  at("saved").className = trouble ? "wrong" : number ? "busy" : "soft";
  at("trouble").hidden = !trouble;
  at("trouble-word").textContent = !trouble ? "" : number
    ? `${many(number, "action")} ${number === 1 ? "waits" : "wait"} here, to be written as soon as that can be. Leave this page open. ${trouble}`
    : `${trouble} Nothing is lost: all that you did is on disk.`;
  at("discard").hidden = !number;
  const what = undoSentence();
  at("undo").disabled = !what && !number;
  at("undo").title = what ? `Take back: ${what}` : "Nothing is left to take back";
}
