// What is kept in this browser until the service has it: drafts, and submissions that could not be sent.
// localStorage because it is written before the call returns, so that a reload a moment later finds it.

import { packRuns, unpackRuns } from "./core/coding.js";

const DRAFT = "nextslice:draft:";
const UNSENT = "nextslice:unsent:";
const KEYS = "nextslice:keys";
const ANNOTATOR = "nextslice:annotator";
const DRAFT_LIFE_MS = 60 * 24 * 3600 * 1000;

/** Keep the unfinished mask of a slice over the version that it began from; `tag` is of the service's draft before it. */
export function keepDraft(slice, version, pixels, { leadTimeMs, tag = "0", unsaved = true }) {
  const draft = { at: Date.now(), mask: packRuns(pixels), leadTimeMs, tag, unsaved };
  localStorage.setItem(`${DRAFT}${slice}:${version}`, JSON.stringify(draft));
}

/** The kept mask, or null. */
export function findDraft(slice, version, length) {
  const text = localStorage.getItem(`${DRAFT}${slice}:${version}`);
  if (text === null) return null;
  const draft = JSON.parse(text);
  return { ...draft, pixels: unpackRuns(draft.mask, length) };
}

export function dropDraft(slice, version) {
  localStorage.removeItem(`${DRAFT}${slice}:${version}`);
}

/** Forget drafts that nobody came back to for two months. */
export function dropOldDrafts() {
  for (const key of keysOf(DRAFT)) {
    if (Date.now() - JSON.parse(localStorage.getItem(key)).at > DRAFT_LIFE_MS) localStorage.removeItem(key);
  }
}

/** Keep a submission: {project, slice, version, kind, purpose, annotator, leadTimeMs, draftTag, schemaVersion, pixels}. */
export function keepUnsent({ pixels, ...facts }) {
  const record = { ...facts, at: Date.now(), length: pixels.length, mask: packRuns(pixels) };
  localStorage.setItem(UNSENT + facts.slice, JSON.stringify(record));
}

/** All submissions that wait, the oldest first. */
export function listUnsent() {
  return keysOf(UNSENT)
    .map((key) => JSON.parse(localStorage.getItem(key)))
    .sort((a, b) => a.at - b.at)
    .map(({ mask, ...facts }) => ({ ...facts, pixels: unpackRuns(mask, facts.length) }));
}

/** Drop a submission, unless a newer one of the same slice has taken its place. */
export function dropUnsent(record) {
  const text = localStorage.getItem(UNSENT + record.slice);
  if (text !== null && JSON.parse(text).at === record.at) localStorage.removeItem(UNSENT + record.slice);
}

export function annotatorName() {
  return localStorage.getItem(ANNOTATOR) || "local";
}

export function setAnnotatorName(name) {
  localStorage.setItem(ANNOTATOR, name.trim() || "local");
}

/** A person's own keys, action -> combinations. */
export function keptKeys() {
  return JSON.parse(localStorage.getItem(KEYS) ?? "{}");
}

export function keepKeys(keys) {
  localStorage.setItem(KEYS, JSON.stringify(keys));
}

function keysOf(prefix) {
  return Object.keys(localStorage).filter((key) => key.startsWith(prefix));
}
