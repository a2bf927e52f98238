// What a reviewer looks at: a slice, its newest version, the prediction, and what was said of it before.

import { get, list, readAnnotation, readPrediction } from "../api.js";
import { annotatorName } from "../kept.js";
import { loadPlane, prefetchPlanes } from "../viewer/planes.js";
import { loadVolume } from "../viewer/volumes.js";

const CONTEXT = 1; // neighbours on either side that are fetched ahead

/** A plane with its two masks, each null where there is none. */
export async function loadSight(slice) {
  const [plane, stored, predicted] = await Promise.all([
    loadPlane(slice.id),
    slice.annotation === "0" ? null : readAnnotation(slice.id),
    readPrediction(slice.id),
  ]);
  return { plane, submitted: stored?.pixels ?? null, version: stored?.version ?? null, predicted };
}

/** Everything that the verdict on a slice needs. */
export async function loadWork(slice) {
  const [{ volume, slices }, sight, reviews] = await Promise.all([
    loadVolume(slice.volume_id),
    loadSight(slice),
    list(`/v1/slices/${slice.id}/reviews`),
  ]);
  const who = new URLSearchParams({ annotator: annotatorName() });
  const version = await get(`/v1/annotation-versions/${sight.version}?${who}`);
  prefetchPlanes(slices.filter(({ id, index }) => id !== slice.id && Math.abs(index - slice.index) <= CONTEXT).map(({ id }) => id));
  return { slice, volume, siblings: slices, sight, version, reviews };
}
