/**
 * All stages of all networks beside each other: a row for each network, a column for each stage.
 *
 * `paint.js`, `scene.js`, `pictures.js` and `strip.js` come before this file.
 */

/** The strip, enlarged: cells that can be pointed at, linked by their place in the photo. */
class Comparison extends Strip {
  constructor(view) {
    super(view, "vk-table");
    this.box = element("div", "vk-comparison");
    this.title = element("div", "vk-title");
    this.bar = new ColourBar();
    this.values = element("div", "vk-said");
    this.box.append(this.root, this.title, this.bar.root, this.values);
  }

  build(scene) {
    this.photos = [];
    this.painted = "";
    super.build(scene);
    this.root.firstChild.after(element("div", "vk-head vk-head-photo", "photo"));
  }

  /** The name of a network, and what it sees. */
  row(model, n) {
    const photo = layered("vk-seen", `Photo as ${model.name} sees it`, model.photo);
    photo.marks.onpointermove = (event) => this.view.hover(pointIn(event));
    photo.marks.onpointerleave = () => this.view.hover(null);
    photo.marks.onclick = (event) => this.view.pin(pointIn(event));
    this.photos.push(photo);
    return [...super.row(model, n), photo.root];
  }

  cell(model, n, place, name) {
    const choose = (more) => this.view.set({ row: n, place, ...more });
    if (!model.maps[place]) {
      const gap = super.cell(model, n, place, name);
      gap.onclick = () => choose();
      return gap;
    }
    const node = element("div", "vk-cell");
    const picture = layered("", `${model.name}, ${name}`, model.photo);
    const value = element("div", "vk-value");
    const { marks } = picture;
    marks.onpointermove = (event) => this.view.hover({ ...pointIn(event), place, row: n });
    marks.onpointerleave = () => this.view.hover(null);
    marks.onclick = (event) => choose({ pixel: Object.values(pointIn(event)) });
    marks.ondblclick = () => this.view.open();
    node.append(picture.root, value);
    this.cells.push({ node, canvas: picture.canvas, marks, value, n, place });
    return node;
  }

  /** Mark the chosen cell. */
  mark(place, row) {
    super.mark(place);
    for (const cell of this.cells) {
      cell.node.classList.toggle("vk-chosen", cell.place === place && cell.n === row);
    }
  }

  /** Draw what is not drawn yet. */
  paint(scene, state, anew) {
    const { cells, scale, overlay } = state;
    const key = [cells, scale, overlay, cells === "channel" ? state.rank : 0].join();
    if (!anew && key === this.painted) return;
    this.painted = key;
    this.photos.forEach(({ canvas }, n) => fit(canvas) && drawPhoto(canvas, scene.models[n].photo));
    super.paint(scene, state);
  }

  paintCell(scene, state, cell) {
    const { canvas, n, place } = cell;
    const shown = state.cells === "attribution" && !scene.staged ? "energy" : state.cells;
    Object.assign(cell, this.view.paintMap(scene, state, canvas, { n, place, shown }));
  }

  /** Draw the place in the photo that is pointed at, in all cells, and what they see of it. */
  point(scene, state, spot) {
    const at = { place: spot?.place ?? state.place, row: spot?.row ?? state.row };
    for (const cell of this.cells) {
      if (cell.marks && fit(cell.marks)) this.pointCell(cell, spot);
    }
    this.photos.forEach(({ marks }, n) => {
      const model = scene.models[n];
      const maps = model.maps[at.place];
      if (fit(marks)) markField(marks, model.photo, spot && maps?.field(maps.place(spot.u, spot.v)));
    });
    this.tell(scene, at, spot);
  }

  pointCell({ marks, maps, rank, value, scale }, spot) {
    const context = marks.getContext("2d");
    context.clearRect(0, 0, marks.width, marks.height);
    value.classList.toggle("vk-read", Boolean(spot && maps));
    if (!maps) value.textContent = "none";
    else if (!spot) value.textContent = scale.map(short).join(" to ");
    else {
      frame(context, pixelRect(maps, [0, 0, marks.width, marks.height], spot), MARK);
      value.textContent = short(maps.value(rank, maps.place(spot.u, spot.v)));
    }
  }

  /** Say what is known of one cell. */
  tell(scene, { place, row }, spot) {
    const model = scene.models[row];
    const name = scene.meta.places[place];
    const cell = this.cells.find((each) => each.n === row && each.place === place);
    this.bar.root.hidden = !cell?.maps;
    if (!model.maps[place]) {
      this.title.textContent = `${model.name} \u00b7 no ${name} in this network`;
      this.values.textContent = "";
      return;
    }
    const tap = model.maps[place];
    const { channels, height, width, module } = tap.cell;
    const size = `${channels} x ${height} x ${width}`;
    this.title.textContent = `${model.name} \u00b7 ${name} \u00b7 ${module}, ${size}`;
    if (cell.maps) this.bar.paint(cell.scale, cell.palette);
    this.values.textContent = cell.maps ? this.words(scene, cell, tap, spot) : "";
  }

  words(scene, { maps, rank, shown, n }, tap, spot) {
    const { high, low, channel } = maps.facts(rank);
    const names = {
      attribution: () => `${scene.heat.method} of ${scene.heat.targets[n].class}`,
      energy: () => "energy of all channels",
      channel: () => `channel ${channel}, rank ${rank + 1} of ${tap.cell.channels} by energy`,
    };
    const range = `${names[shown]()}: ${short(low)} to ${short(high)}`;
    if (!spot) return range;
    const { row, column } = maps.place(spot.u, spot.v);
    const field = tap.field(tap.place(spot.u, spot.v));
    const sees = field ? `sees ${field.x1 - field.x0} x ${field.y1 - field.y0} px` : "";
    const value = short(maps.value(rank, { row, column }));
    return [range, `x ${column}, y ${row}: ${value}`, sees].filter(Boolean).join("; ");
  }

  /** The same for those who hear it. */
  get spoken() {
    return `${[this.title.textContent, this.values.textContent].filter(Boolean).join(": ")}.`;
  }
}
