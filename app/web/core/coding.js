// Masks as bytes: gzip for the wire, run lengths as text for what is kept in the browser.

/** Bytes -> gzip. */
export async function gzip(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Pixels -> "value*length" runs with commas between them, lengths in base 36. */
export function packRuns(pixels) {
  const runs = [];
  let start = 0;
  for (let index = 1; index <= pixels.length; index += 1) {
    if (index === pixels.length || pixels[index] !== pixels[start]) {
      runs.push(`${pixels[start]}*${(index - start).toString(36)}`);
      start = index;
    }
  }
  return runs.join(",");
}

/** The pixels of packRuns; throws where the text is not `length` pixels of 0 to 255. */
export function unpackRuns(text, length) {
  const pixels = new Uint8Array(length);
  let at = 0;
  for (const run of text.split(",")) {
    const [value, long] = run.split("*");
    const end = at + Number.parseInt(long, 36);
    if (!(Number(value) >= 0 && Number(value) <= 255) || !(end > at && end <= length)) {
      throw new RangeError("The kept mask is damaged.");
    }
    pixels.fill(Number(value), at, end);
    at = end;
  }
  if (at !== length) throw new RangeError(`The kept mask has ${at} pixels where ${length} are needed.`);
  return pixels;
}
