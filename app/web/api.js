// The REST API as this page uses it; it can do nothing that another front end could not.

import { askToSignIn } from "./signin.js";
import { strings } from "./strings.js";

const PART_BYTES = 4 << 20;
const PART_TRIES = 20;
const PART_AGAIN_MS = 3000;
const BYTES = { "Content-Type": "application/octet-stream" };

/** A refusal in the service's own sentence; `status` 0: the service could not be reached. */
export class Problem extends Error {
  constructor(status, code, detail, etag = null) {
    super(detail);
    this.status = status;
    this.code = code;
    this.etag = etag;
  }

  /** True when the same request may succeed later without any change. */
  get passes() {
    return this.status === 0 || this.status >= 500 || this.status === 429;
  }
}

async function send(path, options = {}) {
  let answer;
  try {
    answer = await fetch(path, options);
  } catch {
    throw new Problem(0, "unreachable", strings.unreachable);
  }
  if (answer.ok) return answer;
  if (answer.status === 401) askToSignIn();
  const problem = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, problem.code ?? "", problem.detail ?? strings.refused(answer.status), tagOf(answer));
}

/** The JSON answer of a GET; null where there is nothing. */
export async function get(path) {
  const answer = await send(path, { headers: { Accept: "application/json" } });
  return answer.status === 204 ? null : answer.json();
}

/** The JSON answer of a GET with its ETag, for a change that must not undo somebody else's. */
export async function getTagged(path) {
  const answer = await send(path);
  return { body: await answer.json(), tag: tagOf(answer) };
}

/** Change what is still as it was read; gives it as `getTagged` does. */
export async function change(path, body, tag) {
  const headers = { "Content-Type": "application/json", "If-Match": `"${tag}"` };
  const answer = await send(path, { method: "PATCH", headers, body: JSON.stringify(body) });
  return { body: await answer.json(), tag: tagOf(answer) };
}

/** All items of a list, page after page. */
export async function list(path) {
  const items = [];
  for (let cursor = null; ; ) {
    const page = await get(`${path}?limit=500` + (cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`));
    items.push(...page.items);
    if (page.next_cursor === null) return items;
    cursor = page.next_cursor;
  }
}

/** What `read` (`get` or `list`) gives for a path; null too where one's role does not reach. */
export async function ifAllowed(read, path) {
  try {
    return await read(path);
  } catch (problem) {
    if (problem.status === 403) return null;
    throw problem;
  }
}

/** Take something away. */
export async function remove(path) {
  await send(path, { method: "DELETE" });
}

/** The JSON answer of a POST (or of another method that changes something); null where there is none. */
export async function post(path, body = null, method = "POST") {
  const options = { method, headers: {} };
  if (body !== null) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await send(path, options);
  return answer.status === 204 ? null : answer.json();
}

/** Send a file in parts, each as often as it takes; `share` is told how much of it (0 to 1) has arrived. Gives its upload. */
export async function uploadFile(project, file, share) {
  const draft = { file_name: file.name, size_bytes: file.size, part_bytes: PART_BYTES };
  const upload = await post(`/v1/projects/${encodeURIComponent(project)}/uploads`, draft);
  for (const [done, number] of upload.missing.entries()) {
    share(done / upload.parts);
    const part = file.slice(number * PART_BYTES, (number + 1) * PART_BYTES);
    await again(() => send(`/v1/uploads/${upload.id}/parts/${number}`, { method: "PUT", headers: BYTES, body: part }));
  }
  return post(`/v1/uploads/${upload.id}/complete`);
}

// A line that breaks in the middle of an hour's upload costs one part.
async function again(ask) {
  for (let left = PART_TRIES; ; left -= 1) {
    try {
      return await ask();
    } catch (problem) {
      if (!problem.passes || left === 0) throw problem;
      await new Promise((done) => setTimeout(done, PART_AGAIN_MS));
    }
  }
}

/** How unsure the models are of each pixel, 0 to 255; null where it is not known. */
export async function readUncertainty(slice) {
  const answer = await send(`/v1/slices/${slice}/uncertainty`);
  return answer.status === 204 ? null : new Uint8Array(await answer.arrayBuffer());
}

/** Give a lease back. */
export async function release(lease) {
  await send(`/v1/leases/${lease}`, { method: "DELETE", keepalive: true });
}

/** The raw plane of a slice: bytes, type, shape, slope and intercept. */
export async function readPlane(slice) {
  const answer = await send(`/v1/slices/${slice}/image?format=raw`);
  return {
    buffer: await answer.arrayBuffer(),
    dtype: answer.headers.get("X-Dtype"),
    shape: answer.headers.get("X-Shape").split(",").map(Number),
    slope: Number(answer.headers.get("X-Slope")),
    intercept: Number(answer.headers.get("X-Intercept")),
  };
}

/** The current mask of a slice with its version; null where it is not annotated. */
export async function readAnnotation(slice) {
  try {
    const answer = await send(`/v1/slices/${slice}/annotation`);
    return { pixels: new Uint8Array(await answer.arrayBuffer()), version: tagOf(answer) };
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

/** Keep an unfinished gzipped mask at the service; `tag` is of the draft that it follows on. */
export async function saveDraft(slice, bytes, { kind, annotator, tag, version, leadTimeMs }) {
  const query = new URLSearchParams({ kind, annotator, base_version: version, lead_time_ms: String(Math.round(leadTimeMs)) });
  const headers = { ...BYTES, "If-Match": `"${tag}"` };
  return (await send(`/v1/slices/${slice}/draft?${query}`, { method: "PUT", headers, body: bytes })).json();
}

/** One's own unfinished mask from the service; null where there is none. */
export async function readDraft(slice, annotator) {
  const answer = await send(`/v1/slices/${slice}/draft?${new URLSearchParams({ annotator })}`);
  if (answer.status === 204) return null;
  return {
    pixels: new Uint8Array(await answer.arrayBuffer()),
    tag: tagOf(answer),
    base: answer.headers.get("X-Base-Version"),
    leadTimeMs: Number(answer.headers.get("X-Lead-Time-Ms") ?? 0),
  };
}

/** The newest prediction of a slice; null where none was made yet. */
export async function readPrediction(slice) {
  const answer = await send(`/v1/slices/${slice}/prediction`);
  return answer.status === 204 ? null : new Uint8Array(await answer.arrayBuffer());
}

/** Submit a gzipped mask over the version that was seen; gives the new version. */
export async function submitMask(slice, bytes, { kind, annotator, version, schemaVersion, leadTimeMs, purpose = "annotate" }) {
  const query = new URLSearchParams({ kind, annotator, purpose, lead_time_ms: String(Math.round(leadTimeMs)) });
  if (schemaVersion !== undefined) query.set("schema_version", String(schemaVersion)); // one kept by an older page has none
  const headers = { "Content-Type": "application/octet-stream", "If-Match": `"${version}"` };
  return (await send(`/v1/slices/${slice}/annotations?${query}`, { method: "POST", headers, body: bytes })).json();
}

function tagOf(answer) {
  return answer.headers.get("ETag")?.replace(/^W\/|"/g, "") ?? null;
}
