// Undo and redo without limit: steps as Mask.takeStep gives them.

export class History {
  constructor() {
    this.done = [];
    this.undone = [];
  }

  /** Note a step; what had been undone before it is gone. */
  push(step) {
    if (step === null) return;
    this.done.push(step);
    this.undone.length = 0;
  }

  /** Take the last step back; false when there is none. */
  undo(mask) {
    return move(this.done, this.undone, mask, "before");
  }

  /** Do the last undone step again; false when there is none. */
  redo(mask) {
    return move(this.undone, this.done, mask, "after");
  }
}

function move(from, to, mask, side) {
  const step = from.pop();
  if (step === undefined) return false;
  step.indices.forEach((index, at) => {
    mask.put(index, step[side][at]);
  });
  to.push(step);
  return true;
}
