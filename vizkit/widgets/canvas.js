/**
 * The linked canvas: the stages of several networks in rows, the chosen one enlarged, or all.
 *
 * All that is drawn lies in the traits `scene`, `heat` and `patches`, and their bytes; moving about
 * in it never asks Python. This file comes after those that draw the parts.
 */

const CALM = 250;
const STATE = ["place", "row", "rank", "tiles", "view", "cells", "scale", "overlay", "pixel"];
const DATA = ["scene", "scene_data", "heat", "heat_data", "patches", "patches_data", "palettes"];
const HELP =
  "Keys, once the picture has the focus: \u2190 \u2192 stage, Home End first and last stage, " +
  "\u2191 \u2193 channel, Page Up and Down a page of channels, + \u2212 fewer or more channels, " +
  "Enter one channel or many, Shift with arrows moves the pixel, Esc forgets it, " +
  "M maps, attributions or all stages, S scale. Mouse: point at a map or photo for values and " +
  "receptive fields, click a map to enlarge it.";
const COMPARING =
  "Keys, once the picture has the focus: \u2190 \u2192 stage, Home End first and last stage, " +
  "\u2191 \u2193 network, Enter opens the chosen stage, C what the cells show, Page Up and Down " +
  "channel, Shift with arrows moves the pixel, Esc forgets it, M maps, attributions or all " +
  "stages, S scale. Mouse: point at a cell or photo for the values of all, click a cell to choose " +
  "it, twice to open its stage.";

const MAPS_NOTE =
  "Small pictures: energy of all channels (root mean square). " +
  "Channels: strongest first, one rank in all models.";
const INPUT_NOTE =
  "This method explains the input itself, at no stage; small pictures: energy of all channels.";
const ENERGY_NOTE = "Energy: root mean square of all channels.";
const RANK_NOTE = "Channels: one rank by energy in all cells.";
const FIELD_NOTE = "Photos: what the chosen stage sees of the photo.";
const ERROR_NOTE = "Values have 8 bits: off by at most 1/510 of their map's range.";

/** All of it: state, keys, and when to draw what. */
class StageView {
  constructor(model, root) {
    this.model = model;
    this.root = root;
    this.spot = null;
    this.many = 16;
    this.due = new Set();
    this.palettes = {};
    this.toolbar = new Toolbar(this);
    this.strip = new Strip(this);
    this.comparison = new Comparison(this);
    this.panels = [];
    this.layout();
    this.listen();
    this.load();
    this.tell();
  }

  layout() {
    this.root.classList.add("vizkit");
    this.message = element("div", "vk-message");
    this.message.setAttribute("role", "alert");
    this.status = element("div", "vk-status");
    this.status.setAttribute("role", "status");
    this.main = element("div", "vk-main");
    this.panelRow = element("div", "vk-panels");
    this.main.append(this.strip.root, this.panelRow, this.comparison.box);
    this.main.tabIndex = 0;
    this.main.setAttribute("role", "application");
    this.caption = element("p", "vk-caption");
    this.help = element("p", "vk-help");
    this.help.id = `vk-help-${Math.random().toString(36).slice(2)}`;
    this.main.setAttribute("aria-describedby", this.help.id);
    this.live = element("div", "vk-live");
    this.live.setAttribute("aria-live", "polite");
    const { message, toolbar, status, main, caption, help, live } = this;
    this.root.append(message, toolbar.root, status, main, caption, help, live);
  }

  listen() {
    this.main.addEventListener("keydown", (event) => this.key(event));
    this.off = [onTheme(() => this.repaint("all"))];
    const observer = new ResizeObserver(() => this.resized());
    observer.observe(this.main);
    this.off.push(() => observer.disconnect());
    const on = (names, call) => {
      for (const name of names) {
        this.model.on(`change:${name}`, call);
        this.off.push(() => this.model.off(`change:${name}`, call));
      }
    };
    on(DATA, () => this.reload());
    on(STATE, () => this.repaint("stage"));
    on(["view", "cells", "scale", "overlay"], () => this.repaint("all"));
    on(["message", "busy"], () => this.tell());
  }

  /** Draw anew, and scroll the chosen stage into sight where there is more or less room for it. */
  resized() {
    const { clientWidth: width } = this.main;
    if (width !== this.width) this.strip.shown = this.comparison.shown = -1;
    this.width = width;
    this.repaint("all");
  }

  stop() {
    for (const off of [...this.off, this.unguard]) off?.();
    clearTimeout(this.calm);
    cancelAnimationFrame(this.frame);
  }

  /** What is chosen. */
  get state() {
    const state = Object.fromEntries(STATE.map((name) => [name, this.model.get(name)]));
    const [places, models] = this.scene?.ready
      ? [this.scene.meta.places.length, this.scene.models.length]
      : [1, 1];
    const place = clamp(state.place, 0, places - 1);
    const row = clamp(state.row, 0, models - 1);
    // as many channels as another stage has, this one may not have
    const last = this.scene?.ready ? this.scene.ranks({ ...state, place }) - 1 : Infinity;
    return { ...state, place, row, rank: clamp(state.rank, 0, last) };
  }

  /** Choose something else; Python is told, and not waited for. */
  set(values) {
    for (const [name, value] of Object.entries(values)) this.model.set(name, value);
    this.model.save_changes();
  }

  move(place) {
    const last = this.scene.meta.places.length - 1;
    this.set({ place: clamp(place, 0, last) });
  }

  /** Choose another channel: between two of them, and beyond the last, there is none. */
  choose(rank) {
    this.set({ rank: clamp(Math.round(rank), 0, this.scene.ranks(this.state) - 1) });
  }

  /** Go up or down: to another channel, or to another network. */
  step(by) {
    const { view, row, rank } = this.state;
    if (view !== "comparison") this.choose(rank + by);
    else this.set({ row: clamp(row + by, 0, this.scene.models.length - 1) });
  }

  /** Show the chosen stage of a comparison alone. */
  open() {
    this.set({ view: this.state.cells === "attribution" ? "attributions" : "maps" });
  }

  enlarge(rank) {
    const { tiles } = this.state;
    if (tiles > 1) this.many = tiles;
    this.set({ rank, tiles: 1 });
  }

  pin({ u, v }) {
    this.set({ pixel: [u, v] });
  }

  hover(spot) {
    this.spot = spot;
    this.repaint("marks");
  }

  /** Read new data, once for all traits of a message. */
  reload() {
    if (this.waiting) return;
    this.waiting = true;
    queueMicrotask(() => {
      this.waiting = false;
      this.load();
    });
  }

  load() {
    const scene = new Scene(this.model);
    this.palettes = {};
    if (!scene.ready) return;
    const before = this.scene;
    this.scene = scene;
    if (before?.meta !== scene.meta) this.build(scene);
    this.repaint("all");
  }

  build(scene) {
    this.toolbar.build(scene);
    this.strip.build(scene);
    this.comparison.build(scene);
    this.panels = scene.models.map((model, n) => new Panel(this, model, n));
    this.panelRow.replaceChildren(...this.panels.map((panel) => panel.root));
    const names = scene.models.map((model) => model.name).join(", ");
    this.main.setAttribute("aria-label", `Stages of ${names} for ${scene.meta.image}`);
  }

  tell() {
    const text = this.model.get("message");
    this.message.textContent = text;
    this.message.hidden = !text;
    this.status.textContent = this.model.get("busy");
    this.root.classList.toggle("vk-busy", Boolean(this.model.get("busy")));
  }

  /** Draw "marks", the "stage" or "all" before the next frame. */
  repaint(what) {
    this.due.add(what);
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    if (!this.scene?.ready) return;
    this.unguard ??= guarded(this.root);
    const { scene, state, due } = this;
    this.due = new Set();
    const [u, v] = state.pixel;
    const spot = this.spot ?? (state.pixel.length ? { u, v } : null);
    const compared = state.view === "comparison";
    if (due.has("all") || due.has("stage")) {
      this.strip.root.hidden = this.panelRow.hidden = compared;
      this.comparison.box.hidden = !compared;
      this.help.textContent = compared ? COMPARING : HELP;
      this.toolbar.update(state, scene);
      this.caption.textContent = captionOf(scene, state);
      if (compared) this.paintAll(scene, state, due);
      else this.paintStage(scene, state, due);
    }
    if (compared) this.comparison.point(scene, state, spot);
    else for (const panel of this.panels) panel.mark(scene, state, spot);
    this.speak(scene, state, spot);
  }

  paintStage(scene, state, due) {
    if (due.has("all")) this.strip.paint(scene, state);
    this.strip.mark(state.place);
    for (const panel of this.panels) panel.paint(scene, state);
  }

  paintAll(scene, state, due) {
    this.comparison.paint(scene, state, due.has("all"));
    this.comparison.mark(state.place, state.row);
  }

  /** Say what is shown, when nothing has moved for a moment. */
  speak(scene, state, spot) {
    clearTimeout(this.calm);
    this.calm = setTimeout(() => {
      const words = this.panels.map((panel) => panel.spoken(scene, state, spot)).join(" ");
      const stage = `${scene.meta.places[state.place]}. ${words}`;
      this.live.textContent = state.view === "comparison" ? this.comparison.spoken : stage;
    }, CALM);
  }

  palette(which) {
    this.palettes[which] ??= paletteOf(bytesOf(this.model.get("palettes")), which);
    return this.palettes[which];
  }

  diverging() {
    return isDark(this.root) ? DIVERGING_DARK : DIVERGING_LIGHT;
  }

  /** Draw an attribution over the grey photo, and return its colours. */
  paintHeat(scene, state, canvas, n, place) {
    const heat = scene.heatAt(n, place);
    const { photo } = scene.models[n];
    const palette = this.palette(scene.heat.signed ? this.diverging() : HEAT);
    if (!heat) {
      canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
      return { scale: [0, 1], palette };
    }
    const [, high] = scene.summaryScale(scene.heat.scale, state.scale, n, place, heat.cell);
    const scale = [scene.heat.signed ? -high : 0, high];
    drawHeat(canvas, photo, heat, { scale, palette, overlay: state.overlay });
    return { scale, palette };
  }

  /**
   * Draw one map that stands for a place.
   * @returns {{maps: ?Maps, rank: number, scale: number[], palette: Uint32Array, shown: string}}
   */
  paintMap(scene, state, canvas, { n, place, shown }) {
    if (shown === "attribution") {
      const maps = scene.heatAt(n, place);
      return { maps, rank: 0, shown, ...this.paintHeat(scene, state, canvas, n, place) };
    }
    const single = shown === "channel";
    const maps = single ? scene.models[n].maps[place] : scene.models[n].energies[place];
    const rank = single ? Math.min(state.rank, maps.cell.kept - 1) : 0;
    const facts = maps.facts(rank);
    const scale = single
      ? scene.mapScale(state.scale, n, place, facts)
      : scene.summaryScale(scene.meta.scales.energy, state.scale, n, place, maps.cell);
    const palette = this.palette(single && maps.cell.signed ? this.diverging() : SEQUENTIAL);
    const all = [0, 0, canvas.width, canvas.height];
    const colours = colourTable(facts, scale, palette);
    drawCodes(canvas.getContext("2d"), maps.at(rank), maps.cell, colours, all);
    return { maps, rank, scale, palette, shown };
  }

  key(event) {
    if (event.target !== this.main || event.ctrlKey || event.metaKey || event.altKey) return;
    if (!this.scene?.ready) return;
    const name = event.shiftKey && event.key.startsWith("Arrow") ? `Shift${event.key}` : event.key;
    const act = KEYS[name] ?? KEYS[name.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act(this, this.state);
  }

  /** Move the pixel by places of the first network that has the stage. */
  nudge(across, down) {
    const { place, pixel } = this.state;
    const heats = shownIn(this.state) === "attribution" ? this.scene.heats : [];
    const maps = this.scene.models.map((model) => model.maps[place]);
    const cell = [...heats.map((_, n) => this.scene.heatAt(n, place)), ...maps].find(Boolean)?.cell;
    if (!cell) return;
    const [u, v] = pixel.length ? pixel : [0.5, 0.5];
    const moved = (at, by, size) => (clamp(Math.floor(at * size) + by, 0, size - 1) + 0.5) / size;
    this.spot = null;
    this.set({ pixel: [moved(u, across, cell.width), moved(v, down, cell.height)] });
  }

  /** Show more channels, smaller, or fewer. */
  zoom(by) {
    const { tiles } = this.state;
    const at = TILES.findIndex((count) => count >= tiles);
    this.set({ tiles: TILES[clamp((at < 0 ? TILES.length - 1 : at) + by, 0, TILES.length - 1)] });
  }

  toggle() {
    const { view, tiles, rank } = this.state;
    if (view === "comparison") this.open();
    else if (tiles === 1) this.set({ tiles: this.many });
    else this.enlarge(rank);
  }

  /** Go a page of channels up or down; a comparison shows one. */
  page(by) {
    const { view, rank, tiles } = this.state;
    this.choose(rank + by * (view === "comparison" ? 1 : tiles));
  }

  turn(name, choices) {
    const at = choices.indexOf(this.state[name]);
    this.set({ [name]: choices[(at + 1) % choices.length] });
  }
}

const KEYS = {
  ArrowLeft: (view, state) => view.move(state.place - 1),
  ArrowRight: (view, state) => view.move(state.place + 1),
  Home: (view) => view.move(0),
  End: (view) => view.move(Infinity),
  ArrowUp: (view) => view.step(-1),
  ArrowDown: (view) => view.step(1),
  PageUp: (view) => view.page(-1),
  PageDown: (view) => view.page(1),
  ShiftArrowLeft: (view) => view.nudge(-1, 0),
  ShiftArrowRight: (view) => view.nudge(1, 0),
  ShiftArrowUp: (view) => view.nudge(0, -1),
  ShiftArrowDown: (view) => view.nudge(0, 1),
  "+": (view) => view.zoom(-1),
  "=": (view) => view.zoom(-1),
  "-": (view) => view.zoom(1),
  Enter: (view) => view.toggle(),
  " ": (view) => view.toggle(),
  Escape: (view) => view.set({ pixel: [] }),
  m: (view) => view.turn("view", Object.keys(VIEWS)),
  c: (view) => view.turn("cells", Object.keys(CELLS)),
  s: (view) => view.turn("scale", Object.keys(SCALES)),
};

/** What a reader must know to read the colours. */
function captionOf(scene, state) {
  const shown = shownIn(state);
  const single = shown === "channel" && state.scale === "panel";
  const scale = single ? ownScale(scene, state) : SCALES[state.scale];
  const beyond = single ? "" : "; values beyond the 99.5th percentile saturate";
  const rest = state.view === "comparison" ? allNotes(scene, shown) : stageNotes(scene, state);
  return [`Colours: ${scale}${beyond}.`, ...rest, ERROR_NOTE].join(" ");
}

/** How the colours of channels run that share them with no other. */
function ownScale(scene, state) {
  const every = state.view === "comparison";
  const seen = (model) => (every ? model.maps : [model.maps[state.place]]);
  const signed = scene.models.some((model) => seen(model).some((maps) => maps?.cell.signed));
  if (!signed) return "each channel from its own smallest to its own largest value";
  return "each channel about zero, up to its own largest size";
}

function stageNotes(scene, { view }) {
  if (view !== "maps") return heatNotes(scene.heat);
  return scene.patches.ready ? [MAPS_NOTE, scene.patches.words] : [MAPS_NOTE];
}

function allNotes(scene, shown) {
  const notes = { attribution: heatNotes(scene.heat), energy: [ENERGY_NOTE], channel: [RANK_NOTE] };
  return [...notes[shown], FIELD_NOTE];
}

/** The same of attributions. */
function heatNotes(heat) {
  const notes = [];
  if (heat.level === "input") notes.push(INPUT_NOTE);
  if (!heat.same) notes.push("The networks share no such class: each explains its own.");
  return notes;
}

function render({ model, el }) {
  const view = new StageView(model, el);
  return () => view.stop();
}

export default { render };
