// Pixel values and the grey (or colour) they are shown in.

const TYPES = { uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, float32: Float32Array };

// Width and level in Hounsfield units, the usual settings of reading rooms.
const CT_WINDOWS = [
  { name: "Soft tissue", window: 400, level: 40 },
  { name: "Lung", window: 1500, level: -600 },
  { name: "Bone", window: 1800, level: 400 },
  { name: "Brain", window: 80, level: 40 },
];
const AIR_HU = -500;

/** The real values of a plane from its bytes (little-endian) and what the answer says about them. */
export function decodePlane(buffer, dtype, shape, slope, intercept) {
  const Type = TYPES[dtype];
  if (Type === undefined) throw new TypeError(`Pixels of the type ${dtype} cannot be shown.`);
  const stored = new Type(buffer);
  const channels = shape[2] ?? 1;
  if (stored.length !== shape[0] * shape[1] * channels) {
    throw new RangeError(`A plane of ${shape.join(" x ")} came with ${stored.length} values.`);
  }
  return { shape: [shape[0], shape[1]], channels, values: Float32Array.from(stored, (each) => each * slope + intercept) };
}

/** Paint a plane into RGBA bytes with a window: `level` is its middle, `window` its width. */
export function paintGrey(plane, { window, level }, rgba) {
  const factor = 255 / Math.max(window, 1e-6);
  const low = level - window / 2;
  const { values, channels } = plane;
  for (let index = 0, at = 0; at < values.length; index += 4, at += channels) {
    rgba[index] = (values[at] - low) * factor; // a clamped array rounds and limits by itself
    rgba[index + 1] = channels === 1 ? rgba[index] : (values[at + 1] - low) * factor;
    rgba[index + 2] = channels === 1 ? rgba[index] : (values[at + 2] - low) * factor;
    rgba[index + 3] = 255;
  }
}

/** Window and level to choose from: the volume's own, the whole range of this slice, and those of CT where it is one. */
export function windowPresets(volumeWindow, plane) {
  let [low, high] = [Infinity, -Infinity];
  for (const value of plane.values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const presets = [fromRange("Volume", ...volumeWindow), fromRange("Whole slice", low, high)];
  return low < AIR_HU ? [...presets, ...CT_WINDOWS] : presets;
}

function fromRange(name, low, high) {
  return { name, window: Math.max(high - low, 1e-6), level: (low + high) / 2 };
}
