// Window and level: the presets of a slice, the menu that names them, and what a drag makes of them.

import { windowPresets } from "../core/grey.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";

export class Windowing {
  /** `changed` is called when another window or level was chosen. */
  constructor(changed) {
    this.changed = changed;
    this.presets = [];
    this.setting = null; // {window, level}
    byId("preset").addEventListener("change", (event) => event.target.value && this.choose(Number(event.target.value)));
  }

  /** Begin with a slice, in its volume's own window. */
  open(volume, plane) {
    this.presets = windowPresets(volume.window, plane);
    const options = this.presets.map(({ name }, index) => element("option", { value: String(index) }, name));
    replaceChildren(byId("preset"), ...options, element("option", { value: "" }, strings.presetOwn));
    byId("preset").value = "0";
    this.setting = { window: this.presets[0].window, level: this.presets[0].level };
  }

  /** Take a preset, or a setting that has none. */
  choose(index, setting = this.presets[index]) {
    if (setting === undefined) return;
    byId("preset").value = String(index);
    this.setting = { window: setting.window, level: setting.level };
    this.changed();
  }

  next() {
    if (this.presets.length) this.choose((Number(byId("preset").value || this.presets.length - 1) + 1) % this.presets.length);
  }

  /** Drag: sideways the width, up and down the middle, in shares of the present width. */
  drag(dx, dy) {
    if (this.setting === null) return;
    const { window, level } = this.setting;
    this.choose("", { window: Math.max(1e-6, window * 1.005 ** dx), level: level + (dy * window) / 400 });
  }
}
