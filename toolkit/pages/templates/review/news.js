// Who wants to know of what: the parts of the page tell each other what happened, and know nothing else.
//
// "labels" [{place, before, now}]  the state of labels changed      "undone" [...], answer  an act was taken back
// "queue"                          what waits to be written         "acknowledged" act      an act is on the disk
// "classes"                        there are more classes           "filters", "list"       another list is in hand
// "desk"                           another label is in hand         "pixels"                its picture is painted
// "view"                           palette or window changed        "hand"                  a box is being edited
// "again", "run"                   how far `propose again` is; another run is there         "mode" name  go there

const wanting = new Map();

export function on(what, does) {
  if (!wanting.has(what)) wanting.set(what, []);
  wanting.get(what).push(does);
}

export function tell(what, ...facts) {
  for (const does of wanting.get(what) || []) does(...facts);
}
