// Volumes that were asked for once, each with its slices.

import { get, list } from "../api.js";

const volumes = new Map(); // volume id -> promise of {volume, slices}

/** A volume and its slices in their order. */
export function loadVolume(id) {
  if (!volumes.has(id)) {
    const both = Promise.all([get(`/v1/volumes/${id}`), list(`/v1/volumes/${id}/slices`)]);
    const loaded = both.then(([volume, slices]) => ({ volume, slices }));
    loaded.catch(() => volumes.delete(id));
    volumes.set(id, loaded);
  }
  return volumes.get(id);
}
