// The REST API as this page uses it; it can do nothing that another front end could not.

import { strings } from "./strings.js";

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
  const problem = await answer.json().catch(() => ({}));
  throw new Problem(answer.status, problem.code ?? "", problem.detail ?? strings.refused(answer.status), tagOf(answer));
}

/** The JSON answer of a GET; null where there is nothing. */
export async function get(path) {
  const answer = await send(path, { headers: { Accept: "application/json" } });
  return answer.status === 204 ? null : answer.json();
}

/** All items of a list, page after page. */
export async function list(path) {
  const items = [];
  for (let cursor = null; ; ) {
    const page = await get(cursor === null ? path : `${path}?cursor=${encodeURIComponent(cursor)}`);
    items.push(...page.items);
    if (page.next_cursor === null) return items;
    cursor = page.next_cursor;
  }
}

/** The JSON answer of a POST; null where there is none. */
export async function post(path, body = null) {
  const options = { method: "POST", headers: {} };
  if (body !== null) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const answer = await send(path, options);
  return answer.status === 204 ? null : answer.json();
}

/** Send one file as a volume; `share` is told how much of it (0 to 1) is on its way. */
export function uploadVolume(project, file, fields, share) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  form.append("image", file);
  // fetch does not say how far an upload is.
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.upload.addEventListener("progress", (event) => share(event.total ? event.loaded / event.total : 0));
    request.addEventListener("error", () => reject(new Problem(0, "unreachable", strings.unreachable)));
    request.addEventListener("load", () => {
      const answer = JSON.parse(request.responseText || "{}");
      if (request.status < 300) resolve(answer);
      else reject(new Problem(request.status, answer.code ?? "", answer.detail ?? strings.refused(request.status)));
    });
    request.open("POST", `/v1/projects/${encodeURIComponent(project)}/volumes`);
    request.send(form);
  });
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

/** The newest prediction of a slice; null where none was made yet. */
export async function readPrediction(slice) {
  const answer = await send(`/v1/slices/${slice}/prediction`);
  return answer.status === 204 ? null : new Uint8Array(await answer.arrayBuffer());
}

/** Submit a gzipped mask over the version that was seen; gives the new version. */
export async function submitMask(slice, bytes, { kind, annotator, version, leadTimeMs }) {
  const query = new URLSearchParams({ kind, annotator, lead_time_ms: String(Math.round(leadTimeMs)) });
  const headers = { "Content-Type": "application/octet-stream", "If-Match": `"${version}"` };
  return (await send(`/v1/slices/${slice}/annotations?${query}`, { method: "POST", headers, body: bytes })).json();
}

function tagOf(answer) {
  return answer.headers.get("ETag")?.replace(/^W\/|"/g, "") ?? null;
}
