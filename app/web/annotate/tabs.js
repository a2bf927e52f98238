// One tab draws on a slice: two of them would overwrite each other's drafts.

export class TabLock {
  /** `lost` is called with the slice that another tab takes over. */
  constructor(lost) {
    this.lost = lost;
    this.held = null; // {slice, free}
  }

  /** Take a slice for this tab, from another one where `steal` says so; true when it is this tab's now. */
  async claim(slice, steal = false) {
    if (navigator.locks === undefined) return true; // only where the page is served without TLS to another machine
    if (this.held?.slice === slice) return true;
    this.held?.free();
    this.held = null;
    return new Promise((resolve) => {
      const how = steal ? { steal: true } : { ifAvailable: true };
      const done = navigator.locks.request(`nextslice:${slice}`, how, (lock) => {
        resolve(lock !== null);
        if (lock === null) return undefined;
        return new Promise((free) => (this.held = { slice, free }));
      });
      done.catch(() => {
        if (this.held?.slice === slice) this.held = null;
        this.lost(slice);
      });
    });
  }
}
