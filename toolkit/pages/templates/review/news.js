// Who wants to know of what: the parts of the page tell each other what happened, and know nothing else.
//
// "labels" [{place, before, now}]   the state of labels changed       "queue"    what waits to be written
// "classes"                         there are more classes            "view"     palette, window or what is shown
// "list"                            the list in hand is another one   "gone"     the server does not answer

const wanting = new Map();

export function on(what, does) {
  if (!wanting.has(what)) wanting.set(what, []);
  wanting.get(what).push(does);
}

export function tell(what, ...facts) {
  for (const does of wanting.get(what) || []) does(...facts);
}
