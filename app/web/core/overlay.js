// Masks as colours over the image. Background is drawn as its own layer (hatched), unlabelled is not drawn at all.

import { BACKGROUND, UNLABELLED } from "./mask.js";

/** "#rrggbb" -> [red, green, blue]. */
export function parseColour(colour) {
  return [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
}

/** 256 colours as 32-bit RGBA words for the classes of a schema; background and unlabelled stay clear. */
export function classPalette(classes) {
  const bytes = new Uint8ClampedArray(256 * 4);
  for (const { value, color } of classes) {
    if (value !== BACKGROUND && value !== UNLABELLED) bytes.set([...parseColour(color), 255], value * 4);
  }
  return new Uint32Array(bytes.buffer);
}

/** Opaque white where the mask says background: the stencil of the hatching. */
export function backgroundPalette() {
  const words = new Uint32Array(256);
  words[BACKGROUND] = 0xffffffff;
  return words;
}

/** Paint the part of a mask that lies in a box (inclusive) into RGBA words. */
export function paintMask(pixels, palette, words, width, { top, left, bottom, right }) {
  for (let row = top; row <= bottom; row += 1) {
    for (let index = row * width + left; index <= row * width + right; index += 1) words[index] = palette[pixels[index]];
  }
}

/** Colours of a certainty map (0 to 255 = 0 to 1): clear where the model is sure, yellow and opaque where it is not. */
export function uncertaintyPalette() {
  const bytes = new Uint8ClampedArray(256 * 4);
  for (let value = 0; value < 256; value += 1) bytes.set([255, 214 - value / 3, 64, value * 0.9], value * 4);
  return new Uint32Array(bytes.buffer);
}

/**
 * The outlines of a mask's classes: value -> [row, column, row, column, ...], a pair of corners for every pixel edge
 * that has the class on one side only.
 */
export function findOutlines(pixels, [height, width]) {
  const outlines = new Map();
  const note = (value, ...corners) => {
    if (value === BACKGROUND || value === UNLABELLED) return;
    if (!outlines.has(value)) outlines.set(value, []);
    outlines.get(value).push(...corners);
  };
  const at = (row, column) => (row < 0 || column < 0 || row >= height || column >= width ? BACKGROUND : pixels[row * width + column]);
  for (let row = 0; row <= height; row += 1) {
    for (let column = 0; column <= width; column += 1) {
      const own = at(row, column);
      const [above, before] = [at(row - 1, column), at(row, column - 1)];
      if (own !== above) for (const each of [own, above]) note(each, row, column, row, column + 1);
      if (own !== before) for (const each of [own, before]) note(each, row, column, row + 1, column);
    }
  }
  return outlines;
}
