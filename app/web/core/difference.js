// What a submitted mask and a predicted one do not have in common. No DOM in here.

import { BACKGROUND, UNLABELLED } from "./mask.js";

export const AGREE = 0;
export const ONLY_SUBMITTED = 1;
export const ONLY_PREDICTED = 2;
export const OTHER_CLASS = 3;

/**
 * Compare two masks of one shape where the first one says anything: unlabelled pixels are in no figure.
 *
 * Gives `pixels` (the kinds of difference above; unlabelled where both agree), `counts` of the four kinds, and `dice`:
 * class -> its Dice over the labelled pixels, for each foreground class that either mask has there.
 */
export function compareMasks(submitted, predicted) {
  if (submitted.length !== predicted.length) throw new RangeError("The two masks differ in size.");
  const pixels = new Uint8Array(submitted.length).fill(UNLABELLED);
  const counts = [0, 0, 0, 0];
  const [sizes, shared] = [new Uint32Array(256), new Uint32Array(256)];
  submitted.forEach((value, index) => {
    if (value === UNLABELLED) return;
    const other = predicted[index];
    const kind = kindOf(value, other);
    counts[kind] += 1;
    sizes[value] += 1;
    sizes[other] += 1;
    if (kind === AGREE) shared[value] += 1;
    else pixels[index] = kind;
  });
  const dice = new Map();
  for (let value = BACKGROUND + 1; value < UNLABELLED; value += 1) {
    if (sizes[value]) dice.set(value, (2 * shared[value]) / sizes[value]);
  }
  return { pixels, counts, dice };
}

function kindOf(submitted, predicted) {
  if (submitted === predicted) return AGREE;
  if (predicted === BACKGROUND) return ONLY_SUBMITTED;
  return submitted === BACKGROUND ? ONLY_PREDICTED : OTHER_CLASS;
}
