// Planes that were fetched once; a slice's pixels never change.

import { readPlane } from "../api.js";
import { decodePlane } from "../core/grey.js";

const KEPT_AT_MOST = 64;
const planes = new Map(); // slice id -> promise of a plane

/** The plane of a slice, from memory where it was fetched before. */
export function loadPlane(slice) {
  if (!planes.has(slice)) {
    const plane = readPlane(slice).then(({ buffer, dtype, shape, slope, intercept }) =>
      decodePlane(buffer, dtype, shape, slope, intercept),
    );
    plane.catch(() => planes.delete(slice)); // asked again next time
    planes.set(slice, plane);
    if (planes.size > KEPT_AT_MOST) planes.delete(planes.keys().next().value);
  }
  return planes.get(slice);
}

/** Fetch planes that will probably be looked at next. */
export function prefetchPlanes(slices) {
  for (const slice of slices) loadPlane(slice).catch(() => {});
}
