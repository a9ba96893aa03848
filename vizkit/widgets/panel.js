/**
 * One network's part of the chosen stage: its photo, its maps, its numbers, its patches.
 *
 * `paint.js`, `scene.js`, `pictures.js` and `patches.js` come before this file.
 */

/** One network's part of the chosen stage: its photo, its maps, its numbers. */
class Panel {
  constructor(view, model, n) {
    this.view = view;
    this.n = n;
    this.root = element("figure", "vk-panel");
    this.title = element("figcaption", "vk-title");
    this.photo = layered("vk-photo", `Photo as ${model.name} sees it`, model.photo);
    this.map = layered("vk-map", `Maps of ${model.name}`, model.photo);
    this.pair = element("div", "vk-pair");
    this.pair.append(this.photo.root, this.map.root);
    this.empty = element("div", "vk-none");
    this.bar = new ColourBar();
    this.facts = element("div", "vk-facts");
    this.values = element("div", "vk-values");
    this.patches = new PatchRow();
    const { title, pair, empty, bar, facts, values, patches } = this;
    this.root.append(title, pair, empty, bar.root, facts, values, patches.root);
    this.listen();
  }

  listen() {
    const { photo, map } = this;
    photo.marks.onpointermove = (event) => this.view.hover(pointIn(event));
    map.marks.onpointermove = (event) => this.view.hover(this.pointed(event));
    photo.marks.onpointerleave = map.marks.onpointerleave = () => this.view.hover(null);
    photo.marks.onclick = (event) => this.view.pin(pointIn(event));
    map.marks.onclick = (event) => this.click(event);
  }

  /** Which point of which channel is pointed at; null between and beside them. */
  pointed(event) {
    const { u, v } = pointIn(event);
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
    this.map.root.hidden = this.bar.root.hidden = !shown;
    this.empty.hidden = shown;
    this.empty.textContent = shown ? "" : this.missing(scene, state, maps);
    if (fit(this.photo.canvas)) drawPhoto(this.photo.canvas, model.photo);
    if (!shown) this.facts.textContent = "";
    else if (state.view === "attributions") this.paintHeat(scene, state, heat);
    else this.paintMaps(scene, state, maps);
    this.paintPatches(scene, state, state.view === "maps" ? maps : null);
  }

  paintPatches(scene, state, maps) {
    if (!maps) {
      this.patches.paint([]);
      return;
    }
    const { channel } = maps.facts(this.rank(state));
    const found = scene.patches.of(this.n, state.place, channel, maps.cell.channels);
    this.patches.paint(found, maps, `channel ${channel} of ${scene.models[this.n].name}`);
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
    this.bar.paint(scaleOf(facts), palette);
    this.facts.textContent = factsOf(facts, rank, maps.cell);
  }

  paintHeat(scene, state, heat) {
    const place = scene.heat.level === "input" ? 0 : state.place;
    if (!fit(this.map.canvas)) return;
    const { scale, palette } = this.view.paintHeat(scene, state, this.map.canvas, this.n, place);
    this.bar.paint(scale, palette);
    const { high, low } = heat.facts(0);
    const target = scene.heat.targets[this.n];
    const range = low === 0 && high === 0 ? "zero everywhere" : `${short(low)} to ${short(high)}`;
    const name = `${target.class} (${percent(target.probability)})`;
    const words = scene.heat.by_class ? ` of ${name}` : "";
    const error = short(Math.abs(target.error));
    const off = target.error === null ? "" : `; its sum is off by ${error} logits`;
    this.facts.textContent = `${scene.heat.method}${words}: ${range}${off}`;
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
      if (chosen && spot) frame(context, pixelRect(this.maps, tile.rect, spot), MARK);
    }
  }

  markPhoto(scene, state, spot) {
    const { marks } = this.photo;
    if (!fit(marks)) return;
    const box = spot && this.field(scene, state, spot);
    markField(marks, scene.models[this.n].photo, box);
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
    return maps?.field(maps.place(spot.u, spot.v)) ?? null;
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
    return `${name}: ${this.facts.textContent}${words}${this.patches.spoken}.`;
  }
}
