/**
 * The linked canvas: the stages of several networks in rows, the chosen one enlarged.
 *
 * All that is drawn lies in the traits `scene`, `scene_data`, `heat` and `heat_data`; moving about
 * in it never asks Python. `paint.js` comes before this file.
 */

const TILES = [1, 4, 9, 16, 36, 64, 144];
const CALM = 250;
// stages, not layers
const FEW = 8;
const STATE = ["place", "rank", "tiles", "view", "scale", "overlay", "pixel"];
const DATA = ["scene", "scene_data", "heat", "heat_data", "palettes"];
const VIEWS = { maps: "feature maps", attributions: "attributions" };
const SCALES = {
  panel: "each map by itself",
  stage: "one for all models at a stage",
  model: "one for all stages of a model",
  all: "one for everything",
};
const HELP =
  "Keys, once the picture has the focus: \u2190 \u2192 stage, Home End first and last stage, " +
  "\u2191 \u2193 channel, Page Up and Down a page of channels, + \u2212 fewer or more channels, " +
  "Enter one channel or many, Shift with arrows moves the pixel, Esc forgets it, " +
  "M maps or attributions, S scale. Mouse: point at a map or photo for values and receptive " +
  "fields, click a map to enlarge it.";

const MAPS_NOTE =
  "Small pictures: energy of all channels (root mean square). " +
  "Channels: strongest first, one rank in all models.";
const INPUT_NOTE =
  "This method explains the input itself, at no stage; small pictures: energy of all channels.";
const ERROR_NOTE = "Values have 8 bits: off by at most 1/510 of their map's range.";

/** What to show, from the traits: one object for all parts of the view. */
class Scene {
  constructor(model) {
    this.meta = model.get("scene");
    this.heat = model.get("heat");
    const bytes = bytesOf(model.get("scene_data"));
    const heatBytes = bytesOf(model.get("heat_data"));
    // the two halves of a message may arrive one after the other
    this.ready = Boolean(this.meta.models) && bytes.length === this.meta.bytes;
    if (!this.ready) return;
    this.photos = this.meta.photos.map((photo) => ({
      ...photo,
      bytes: bytes.subarray(photo.offset, photo.offset + 3 * photo.width * photo.height),
    }));
    const read = (source) => (cell) => cell && new Maps(source, cell);
    this.models = this.meta.models.map((each) => ({
      ...each,
      photo: this.photos[each.photo],
      maps: each.cells.map(read(bytes)),
      energies: each.energy.map(read(bytes)),
    }));
    const explained = Boolean(this.heat.cells) && heatBytes.length === this.heat.bytes;
    this.heats = explained ? this.heat.cells.map((row) => row.map(read(heatBytes))) : [];
    if (this.heats.length !== this.models.length) this.heats = [];
  }

  /** The attribution of a model at a place; of methods of the input, always the same. */
  heatAt(n, place) {
    const row = this.heats[n] || [];
    return row[this.heat.level === "input" ? 0 : place] || null;
  }

  /** How many channels the model with the most has at a place. */
  channels(place) {
    return Math.max(1, ...this.models.map((each) => each.maps[place]?.cell.kept ?? 0));
  }

  /** Low and high end of the colours of a cell that shares them, by how scales are tied. */
  tied(scales, scale, n, place) {
    if (scale === "stage") return scales.stage[Math.min(place, scales.stage.length - 1)];
    return scale === "model" ? scales.model[n] : scales.all;
  }

  /** Low and high end of the colours of one feature map. */
  mapScale(scale, n, place, facts) {
    if (scale !== "panel") return this.tied(this.meta.scales.maps, scale, n, place);
    if (!this.models[n].maps[place].cell.signed) return [facts.low, facts.high];
    const top = Math.max(Math.abs(facts.low), Math.abs(facts.high)) || 1;
    return [-top, top];
  }

  /** The same of one map that sums up a place. */
  summaryScale(scales, scale, n, place, cell) {
    return scale === "panel" ? [0, cell.top] : this.tied(scales, scale, n, place);
  }
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
    const { view, place, tiles, rank, scale, overlay } = this.fields;
    view.onchange = () => this.view.set({ view: view.value });
    place.onchange = () => this.view.move(Number(place.value));
    tiles.onchange = () => this.view.set({ tiles: Number(tiles.value) });
    rank.oninput = () => rank.value && this.view.choose(Number(rank.value) - 1);
    scale.onchange = () => this.view.set({ scale: scale.value });
    overlay.oninput = () => this.view.set({ overlay: Number(overlay.value) });
  }

  /** List the stages of a new scene. */
  build({ meta }) {
    this.fields.place.replaceChildren(...meta.places.map((name, i) => new Option(name, i)));
  }

  /** Show what is chosen. */
  update(state, scene) {
    for (const name of ["view", "place", "tiles", "scale", "overlay"]) {
      this.fields[name].value = String(state[name]);
    }
    const { rank } = this.fields;
    rank.max = scene.channels(state.place);
    // not while somebody types
    if (Number(rank.value) !== state.rank + 1) rank.value = String(state.rank + 1);
    const maps = state.view === "maps";
    rank.disabled = this.fields.tiles.disabled = !maps;
    this.fields.overlay.disabled = maps;
  }
}

/** A small picture of every stage of every network, in columns by stride. */
class Strip {
  constructor(view) {
    this.view = view;
    this.root = element("div", "vk-strip");
    this.cells = [];
  }

  build(scene) {
    const { places } = scene.meta;
    this.shown = -1;
    this.root.style.setProperty("--vk-places", places.length);
    this.root.classList.toggle("vk-many", places.length > FEW);
    this.cells = [];
    this.heads = places.map((name, i) => this.clickable(element("div", "vk-head", name), i));
    this.heads.forEach((head, i) => head.setAttribute("title", places[i]));
    this.root.replaceChildren(element("div", "vk-corner"), ...this.heads);
    scene.models.forEach((model, n) => {
      this.root.append(this.label(model));
      places.forEach((name, i) => this.root.append(this.cell(model, n, i, name)));
    });
  }

  clickable(node, place) {
    node.onclick = () => this.view.move(place);
    return node;
  }

  label(model) {
    const label = element("div", "vk-model");
    label.append(element("strong", "vk-name", model.name));
    for (const { class: name, probability } of model.predictions) {
      const line = element("span", "vk-prediction");
      line.append(element("span", "vk-class", name));
      line.append(element("span", "vk-share", percent(probability)));
      label.append(line);
    }
    label.append(element("span", "vk-input", model.input));
    return label;
  }

  cell(model, n, place, name) {
    if (!model.maps[place]) {
      const words = this.heads.length > FEW ? "none" : `no ${name}`;
      const empty = this.clickable(element("div", "vk-cell vk-empty", words), place);
      empty.title = `${model.name} has no ${name}`;
      empty.style.aspectRatio = `${model.photo.width} / ${model.photo.height}`;
      this.cells.push({ node: empty, n, place });
      return empty;
    }
    const node = this.clickable(element("div", "vk-cell"), place);
    const canvas = element("canvas", "vk-canvas");
    canvas.style.aspectRatio = `${model.photo.width} / ${model.photo.height}`;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `${model.name}, ${name}`);
    node.append(canvas);
    this.cells.push({ node, canvas, n, place });
    return node;
  }

  /** Mark the chosen stage. */
  mark(place) {
    this.heads.forEach((head, i) => head.classList.toggle("vk-chosen", i === place));
    for (const cell of this.cells) cell.node.classList.toggle("vk-chosen", cell.place === place);
    if (this.shown !== place) this.reveal(place);
    this.shown = place;
  }

  /** Scroll a stage into sight, sideways only. */
  reveal(place) {
    const { offsetLeft: left, offsetWidth: width } = this.heads[place];
    const names = this.root.firstChild.offsetWidth;
    const { scrollLeft, clientWidth } = this.root;
    if (left - names < scrollLeft) this.root.scrollLeft = left - names;
    if (left + width > scrollLeft + clientWidth) this.root.scrollLeft = left + width - clientWidth;
  }

  paint(scene, state) {
    for (const { canvas, n, place } of this.cells) {
      if (canvas && fit(canvas)) this.paintCell(scene, state, canvas, n, place);
    }
  }

  paintCell(scene, state, canvas, n, place) {
    const staged = scene.heat.level === "stage" && scene.heats.length > 0;
    if (state.view === "attributions" && staged) {
      this.view.paintHeat(scene, state, canvas, n, place);
      return;
    }
    const maps = scene.models[n].energies[place];
    const scales = scene.meta.scales.energy;
    const scale = scene.summaryScale(scales, state.scale, n, place, maps.cell);
    const colours = colourTable(maps.facts(0), scale, this.view.palette(SEQUENTIAL));
    const all = [0, 0, canvas.width, canvas.height];
    drawCodes(canvas.getContext("2d"), maps.at(0), maps.cell, colours, all);
  }
}

/** One network's part of the chosen stage: its photo, its maps, its numbers. */
class Panel {
  constructor(view, model, n) {
    this.view = view;
    this.n = n;
    this.root = element("figure", "vk-panel");
    this.title = element("figcaption", "vk-title");
    const ratio = `${model.photo.width} / ${model.photo.height}`;
    this.photo = this.picture("vk-photo", `Photo as ${model.name} sees it`, ratio);
    this.map = this.picture("vk-map", `Maps of ${model.name}`, ratio);
    this.pair = element("div", "vk-pair");
    this.pair.append(this.photo.root, this.map.root);
    this.empty = element("div", "vk-none");
    this.low = element("span", "vk-low");
    this.high = element("span", "vk-high");
    this.ramp = element("canvas", "vk-ramp");
    this.bar = element("div", "vk-colours");
    this.bar.append(this.low, this.ramp, this.high);
    this.facts = element("div", "vk-facts");
    this.values = element("div", "vk-values");
    this.root.append(this.title, this.pair, this.empty, this.bar, this.facts, this.values);
    this.listen();
  }

  picture(name, words, ratio) {
    const root = element("div", `vk-frame ${name}`);
    const canvas = element("canvas", "vk-canvas");
    const marks = element("canvas", "vk-marks");
    root.style.aspectRatio = ratio;
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", words);
    marks.setAttribute("aria-hidden", "true");
    root.append(canvas, marks);
    return { root, canvas, marks };
  }

  listen() {
    const { photo, map } = this;
    photo.marks.onpointermove = (event) => this.view.hover({ ...this.point(event) });
    map.marks.onpointermove = (event) => this.view.hover(this.pointed(event));
    photo.marks.onpointerleave = map.marks.onpointerleave = () => this.view.hover(null);
    photo.marks.onclick = (event) => this.view.pin(this.point(event));
    map.marks.onclick = (event) => this.click(event);
  }

  /** Where in a picture an event is, in [0, 1) x [0, 1). */
  point(event) {
    const { left, top, width, height } = event.currentTarget.getBoundingClientRect();
    return {
      u: clamp((event.clientX - left) / width, 0, 0.999999),
      v: clamp((event.clientY - top) / height, 0, 0.999999),
    };
  }

  /** Which point of which channel is pointed at; null between and beside them. */
  pointed(event) {
    const { u, v } = this.point(event);
    if (!this.tiles) return { u, v };
    const { width, height } = this.map.marks;
    for (const { rank, rect } of this.tiles) {
      const x = (u * width - rect[0]) / rect[2];
      const y = (v * height - rect[1]) / rect[3];
      if (x >= 0 && x < 1 && y >= 0 && y < 1) return { u: x, v: y, rank };
    }
    return null;
  }

  click(event) {
    const found = this.pointed(event);
    if (!found) return;
    const { state } = this.view;
    if (state.view === "attributions" || state.tiles === 1) this.view.pin(found);
    else this.view.enlarge(found.rank);
  }

  /** Draw photo, maps and numbers of the chosen stage. */
  paint(scene, state) {
    const model = scene.models[this.n];
    const maps = model.maps[state.place];
    const heat = state.view === "attributions" ? scene.heatAt(this.n, state.place) : null;
    this.tiles = null;
    this.maps = state.view === "attributions" ? heat : maps;
    this.title.textContent = this.titled(scene, state, model);
    const shown = Boolean(this.maps);
    this.map.root.hidden = this.bar.hidden = !shown;
    this.empty.hidden = shown;
    this.empty.textContent = shown ? "" : this.missing(scene, state, maps);
    if (fit(this.photo.canvas)) drawPhoto(this.photo.canvas, model.photo);
    if (!shown) this.facts.textContent = "";
    else if (state.view === "attributions") this.paintHeat(scene, state, heat);
    else this.paintMaps(scene, state, maps);
  }

  titled(scene, state, model) {
    const cell = model.maps[state.place]?.cell;
    const input = state.view === "attributions" && scene.heat.level === "input";
    const where = input ? "input" : scene.meta.places[state.place];
    if (!cell || input) return `${model.name} \u00b7 ${where}`;
    const size = `${cell.channels} x ${cell.height} x ${cell.width}`;
    return `${model.name} \u00b7 ${where} \u00b7 ${cell.module}, ${size}`;
  }

  missing(scene, state, maps) {
    if (!maps) return `no ${scene.meta.places[state.place]} in this network`;
    return `no ${scene.heat.method ?? "attribution"} here`;
  }

  paintMaps(scene, state, maps) {
    const { canvas } = this.map;
    const rank = Math.min(state.rank, maps.cell.kept - 1);
    if (!fit(canvas)) return;
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    this.tiles = tilesOf(canvas, maps.cell, state.tiles, rank);
    const palette = this.view.palette(maps.cell.signed ? this.view.diverging() : SEQUENTIAL);
    const scaleOf = (facts) => scene.mapScale(state.scale, this.n, state.place, facts);
    for (const tile of this.tiles) {
      const own = maps.facts(tile.rank);
      const colours = colourTable(own, scaleOf(own), palette);
      drawCodes(context, maps.at(tile.rank), maps.cell, colours, tile.rect);
    }
    const facts = maps.facts(rank);
    this.paintBar(scaleOf(facts), palette);
    this.facts.textContent = factsOf(facts, rank, maps.cell);
  }

  paintHeat(scene, state, heat) {
    const place = scene.heat.level === "input" ? 0 : state.place;
    if (!fit(this.map.canvas)) return;
    const { scale, palette } = this.view.paintHeat(scene, state, this.map.canvas, this.n, place);
    this.paintBar(scale, palette);
    const { high, low } = heat.facts(0);
    const target = scene.heat.targets[this.n];
    const range = low === 0 && high === 0 ? "zero everywhere" : `${short(low)} to ${short(high)}`;
    const name = `${target.class} (${percent(target.probability)})`;
    const words = scene.heat.by_class ? ` of ${name}` : "";
    const error = short(Math.abs(target.error));
    const off = target.error === null ? "" : `; its sum is off by ${error} logits`;
    this.facts.textContent = `${scene.heat.method}${words}: ${range}${off}`;
  }

  paintBar([low, high], palette) {
    this.low.textContent = short(low);
    this.high.textContent = short(high);
    this.ramp.width = 256;
    this.ramp.height = 1;
    const picture = scratch(256, 1);
    picture.pixels.set(palette);
    this.ramp.getContext("2d").drawImage(picture.show(), 0, 0);
  }

  /** Draw what is pointed at: the pixel in the map, and what it sees of the photo. */
  mark(scene, state, spot) {
    this.markMap(state, spot);
    this.markPhoto(scene, state, spot);
    this.values.textContent = spot ? this.words(scene, state, spot) : "";
  }

  markMap(state, spot) {
    const { marks } = this.map;
    if (this.map.root.hidden || !fit(marks)) return;
    const context = marks.getContext("2d");
    context.clearRect(0, 0, marks.width, marks.height);
    const whole = { rank: 0, rect: [0, 0, marks.width, marks.height] };
    const rank = this.rank(state, spot);
    for (const tile of this.tiles ?? [whole]) {
      const chosen = !this.tiles || tile.rank === rank;
      if (chosen && this.tiles?.length > 1) frame(context, tile.rect);
      if (chosen && spot) frame(context, pixelRect(this.maps, tile.rect, spot), "#ff9e4a");
    }
  }

  markPhoto(scene, state, spot) {
    const { marks } = this.photo;
    if (!fit(marks)) return;
    const context = marks.getContext("2d");
    context.clearRect(0, 0, marks.width, marks.height);
    const box = spot && this.field(scene, state, spot);
    if (!box) return;
    const { photo } = scene.models[this.n];
    const edge = 1.5 * (window.devicePixelRatio || 1);
    const along = (from, to, size, length) => {
      const start = clamp((from * size) / length, edge, size - edge);
      return [start, Math.max(1, clamp((to * size) / length, edge, size - edge) - start)];
    };
    const [x, width] = along(box.x0, box.x1, marks.width, photo.width);
    const [y, height] = along(box.y0, box.y1, marks.height, photo.height);
    frame(context, [x, y, width, height], "#ff9e4a");
  }

  /** The receptive field of what is pointed at, in pixels of the input; null if it is not known. */
  field(scene, state, spot) {
    const model = scene.models[this.n];
    const maps = model.maps[state.place];
    if (state.view === "attributions" && scene.heat.level === "input") {
      const x0 = Math.floor(spot.u * model.photo.width);
      const y0 = Math.floor(spot.v * model.photo.height);
      return { x0, y0, x1: x0 + 1, y1: y0 + 1 };
    }
    if (!maps?.cell.field) return null;
    const { row, column } = maps.place(spot.u, spot.v);
    const [xStart, xStep, width] = maps.cell.field.x;
    const [yStart, yStep, height] = maps.cell.field.y;
    const x0 = xStart + column * xStep;
    const y0 = yStart + row * yStep;
    return { x0, y0, x1: x0 + width, y1: y0 + height };
  }

  /** The rank whose map is pointed at, as far as this network has as many. */
  rank(state, spot) {
    if (!this.maps || state.view === "attributions") return 0;
    return Math.min(spot?.rank ?? state.rank, this.maps.cell.kept - 1);
  }

  words(scene, state, spot) {
    if (!this.maps) return "";
    const rank = this.rank(state, spot);
    const place = this.maps.place(spot.u, spot.v);
    const value = short(this.maps.value(rank, place));
    const channel = state.view === "maps" ? `channel ${this.maps.facts(rank).channel}, ` : "";
    const box = this.field(scene, state, spot);
    const size = box && `${box.x1 - box.x0} x ${box.y1 - box.y0} px`;
    const seen = box ? `sees ${size}` : "receptive field not known";
    return `${channel}x ${place.column}, y ${place.row}: ${value}; ${seen}`;
  }

  /** The same for those who hear it. */
  spoken(scene, state, spot) {
    const { name } = scene.models[this.n];
    if (!this.maps) return `${name}: ${this.empty.textContent}.`;
    const words = spot ? `; ${this.words(scene, state, spot)}` : "";
    return `${name}: ${this.facts.textContent}${words}.`;
  }
}

/** Where in a rectangle the place pointed at lies. */
function pixelRect(maps, [x, y, width, height], { u, v }) {
  const { row, column } = maps.place(u, v);
  const [across, down] = [width / maps.cell.width, height / maps.cell.height];
  return [x + column * across, y + row * down, Math.max(2, across), Math.max(2, down)];
}

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
    this.main.append(this.strip.root, this.panelRow, this.status);
    this.main.tabIndex = 0;
    this.main.setAttribute("role", "application");
    this.caption = element("p", "vk-caption");
    this.help = element("p", "vk-help", HELP);
    this.help.id = `vk-help-${Math.random().toString(36).slice(2)}`;
    this.main.setAttribute("aria-describedby", this.help.id);
    this.live = element("div", "vk-live");
    this.live.setAttribute("aria-live", "polite");
    const { message, toolbar, main, caption, help, live } = this;
    this.root.append(message, toolbar.root, main, caption, help, live);
  }

  listen() {
    this.main.addEventListener("keydown", (event) => this.key(event));
    this.off = [onTheme(() => this.repaint("all"))];
    const observer = new ResizeObserver(() => this.repaint("all"));
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
    on(["view", "scale", "overlay"], () => this.repaint("all"));
    on(["message", "busy"], () => this.tell());
  }

  stop() {
    for (const off of [...this.off, this.unguard]) off?.();
    clearTimeout(this.calm);
    cancelAnimationFrame(this.frame);
  }

  /** What is chosen. */
  get state() {
    const state = Object.fromEntries(STATE.map((name) => [name, this.model.get(name)]));
    const last = (this.scene?.ready ? this.scene.meta.places.length : 1) - 1;
    return { ...state, place: clamp(state.place, 0, last) };
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

  choose(rank) {
    this.set({ rank: clamp(rank, 0, this.scene.channels(this.state.place) - 1) });
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
    if (due.has("all")) this.strip.paint(scene, state);
    if (due.has("all") || due.has("stage")) {
      this.strip.mark(state.place);
      this.toolbar.update(state, scene);
      for (const panel of this.panels) panel.paint(scene, state);
      this.caption.textContent = captionOf(scene, state);
    }
    const [u, v] = state.pixel;
    const spot = this.spot ?? (state.pixel.length ? { u, v } : null);
    for (const panel of this.panels) panel.mark(scene, state, spot);
    this.speak(scene, state, spot);
  }

  /** Say what is shown, when nothing has moved for a moment. */
  speak(scene, state, spot) {
    clearTimeout(this.calm);
    this.calm = setTimeout(() => {
      const words = this.panels.map((panel) => panel.spoken(scene, state, spot)).join(" ");
      this.live.textContent = `${scene.meta.places[state.place]}. ${words}`;
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
    const heats = this.state.view === "attributions" ? this.scene.heats : [];
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
    const { tiles, rank } = this.state;
    if (tiles === 1) this.set({ tiles: this.many });
    else this.enlarge(rank);
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
  ArrowUp: (view, state) => view.choose(state.rank - 1),
  ArrowDown: (view, state) => view.choose(state.rank + 1),
  PageUp: (view, state) => view.choose(state.rank - state.tiles),
  PageDown: (view, state) => view.choose(state.rank + state.tiles),
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
  s: (view) => view.turn("scale", Object.keys(SCALES)),
};

/** What a reader must know to read the colours. */
function captionOf(scene, state) {
  const maps = state.view === "maps";
  const single = maps && state.scale === "panel";
  const signed = scene.models.some((model) => model.maps[state.place]?.cell.signed);
  const about = "each channel about zero, up to its own largest size";
  const own = signed ? about : "each channel from its own smallest to its own largest value";
  const scale = single ? own : SCALES[state.scale];
  const beyond = single ? "" : "; values beyond the 99.5th percentile saturate";
  const rest = maps ? [MAPS_NOTE] : heatNotes(scene.heat);
  return [`Colours: ${scale}${beyond}.`, ...rest, ERROR_NOTE].join(" ");
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
