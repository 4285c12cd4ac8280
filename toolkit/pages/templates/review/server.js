// Asks the server. An answer is JSON or an error that says what the server said; no answer at all is Gone.

export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error || `The server answered ${status}.`);
    this.status = status;
    this.answer = answer;
  }
}

export class Gone extends Error {}

const PATIENCE = 30000; // milliseconds until a silent server counts as gone: it waits 20 s for others who write

async function reach(address, options) {
  try {
    return await fetch(address, { credentials: "same-origin", signal: AbortSignal.timeout(PATIENCE), ...options });
  } catch {
    throw new Gone("The server does not answer.");
  }
}

async function refusal(response) {
  const answer = await response.json().catch(() => ({}));
  return new Refused(response.status, answer);
}

export async function ask(address) {
  const response = await reach(address, {});
  if (!response.ok) throw await refusal(response);
  return response.json().catch(() => { throw new Gone("The answer broke off."); });
}

export async function post(address, body) {
  const response = await reach(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw await refusal(response);
  return response.json().catch(() => { throw new Gone("The answer broke off."); });
}

// The body and the headers of what is no JSON: pixels, crops.
export async function fetched(address, as = "blob") {
  const response = await reach(address, {});
  if (!response.ok) throw await refusal(response);
  try {
    return { body: await response[as](), headers: response.headers };
  } catch {
    throw new Gone("The answer broke off.");
  }
}
