/**
 * The fields above the picture: what is shown, and how.
 *
 * `paint.js` and `scene.js` come before this file.
 */

const TILES = [1, 4, 9, 16, 36, 64, 144];
const VIEWS = {
  maps: "feature maps",
  attributions: "attributions",
  comparison: "comparison of all stages",
};
const CELLS = {
  attribution: "attribution",
  energy: "energy of all channels",
  channel: "channel of the chosen rank",
};
const SCALES = {
  panel: "each map by itself",
  stage: "one for all models at a stage",
  model: "one for all stages of a model",
  all: "one for everything",
};

/** Whether attributions, energies or channels are looked at. */
function shownIn({ view, cells }) {
  if (view === "comparison") return cells;
  return view === "maps" ? "channel" : "attribution";
}

/** Labelled fields above the picture, which work without Python. */
class Toolbar {
  constructor(view) {
    this.view = view;
    this.root = element("div", "vk-toolbar");
    this.fields = {
      view: this.choice("Show", Object.entries(VIEWS)),
      place: this.choice("Stage", []),
      tiles: this.choice("Channels", TILES.map((n) => [n, n === 1 ? "one, enlarged" : String(n)])),
      rank: this.number("Rank by energy", { min: 1, step: 1 }, "number"),
      scale: this.choice("Colours", Object.entries(SCALES)),
      cells: this.choice("In each cell", Object.entries(CELLS)),
      overlay: this.number("Overlay strength", { min: 0, max: 1, step: 0.05 }, "range"),
    };
    this.listen();
  }

  labelled(text, field) {
    const label = element("label", "vk-field", text);
    // else the options of a list would be read as part of its name
    field.setAttribute("aria-label", text);
    label.append(field);
    this.root.append(label);
    return field;
  }

  choice(text, options) {
    const field = element("select", "vk-select");
    field.append(...options.map(([value, name]) => new Option(name, value)));
    return this.labelled(text, field);
  }

  number(text, attributes, type) {
    const field = Object.assign(element("input", `vk-${type}`), { type }, attributes);
    return this.labelled(text, field);
  }

  listen() {
    const { view, place, tiles, rank, scale, cells, overlay } = this.fields;
    view.onchange = () => this.view.set({ view: view.value });
    place.onchange = () => this.view.move(Number(place.value));
    tiles.onchange = () => this.view.set({ tiles: Number(tiles.value) });
    rank.oninput = () => rank.value && this.view.choose(Number(rank.value) - 1);
    // what was typed may be no rank at all
    rank.onchange = () => {
      rank.value = String(this.view.state.rank + 1);
    };
    scale.onchange = () => this.view.set({ scale: scale.value });
    cells.onchange = () => this.view.set({ cells: cells.value });
    overlay.oninput = () => this.view.set({ overlay: Number(overlay.value) });
  }

  /** List the stages of a new scene. */
  build({ meta }) {
    const options = endsOf(meta.places).map((end, i) => new Option(end, i));
    options.forEach((option, i) => option.setAttribute("title", meta.places[i]));
    this.fields.place.replaceChildren(...options);
  }

  /** Show what is chosen. */
  update(state, scene) {
    for (const name of ["view", "place", "tiles", "scale", "cells", "overlay"]) {
      this.fields[name].value = String(state[name]);
    }
    const { rank } = this.fields;
    rank.max = scene.ranks(state);
    // not while somebody types
    if (Number(rank.value) !== state.rank + 1) rank.value = String(state.rank + 1);
    const shown = shownIn(state);
    rank.disabled = shown !== "channel";
    this.fields.overlay.disabled = shown !== "attribution";
    this.fields.tiles.disabled = state.view !== "maps";
    // what has no meaning at all elsewhere takes no room there
    const compared = state.view === "comparison";
    this.fields.cells.parentNode.hidden = !compared;
    this.fields.tiles.parentNode.hidden = compared;
  }
}

