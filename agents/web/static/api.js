// Questions to the API. An answer that has not changed costs a few bytes.

const known = new Map();
const KNOWN = 60;

export class Unanswered extends Error {
  constructor(status, detail, field) {
    super(detail);
    this.status = status;
    this.field = field;
  }
}

export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `/api/v1${path}${text ? `?${text}` : ""}`;
}

/** The answer as an object; the same object as long as it is the same answer. */
export async function ask(path, parameters = {}) {
  const url = address(path, parameters);
  const before = known.get(url);
  let response;
  try {
    response = await fetch(url, { headers: before ? { "If-None-Match": before.etag } : {}, cache: "no-store" });
  } catch {
    throw new Unanswered(0, "The worker that served this page does not answer.");
  }
  if (response.status === 304) return before.answer;
  if (response.status === 401) location.reload();
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: response.statusText }));
    throw new Unanswered(response.status, problem.detail, problem.field);
  }
  const answer = await response.json();
  known.delete(url);
  known.set(url, { etag: response.headers.get("ETag"), answer });
  if (known.size > KNOWN) known.delete(known.keys().next().value);
  return answer;
}

export const modelPath = (model, rest = "") => `/models/${encodeURIComponent(model)}${rest}`;
