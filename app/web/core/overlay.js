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

/** Paint a mask into RGBA words. */
export function paintMask(pixels, palette, words) {
  for (let index = 0; index < pixels.length; index += 1) words[index] = palette[pixels[index]];
}

/** Paint the outlines of a mask only: pixels with a neighbour of another value. */
export function paintOutline(pixels, [height, width], palette, words) {
  words.fill(0);
  for (let row = 0, index = 0; row < height; row += 1) {
    for (let column = 0; column < width; column += 1, index += 1) {
      const value = pixels[index];
      const edge =
        (column > 0 && pixels[index - 1] !== value) ||
        (column < width - 1 && pixels[index + 1] !== value) ||
        (row > 0 && pixels[index - width] !== value) ||
        (row < height - 1 && pixels[index + width] !== value);
      if (edge) words[index] = palette[value];
    }
  }
}
