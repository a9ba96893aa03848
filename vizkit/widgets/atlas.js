/**
 * The atlas: how similar the maps of every two taps are, and the maps of the two that are chosen.
 *
 * `paint.js` comes before this file.
 */

const TILES = 16;
const NAMES = ["a row", "a column"];
const HELP =
  "Keys, once the picture has the focus: arrows move to another pair, Home and End to the first " +
  "and last tap of the row, Page Up and Down of the column. Mouse: point at a cell for its " +
  "value and the maps of its two taps, click it to keep them.";

/** The matrix and the maps, from the traits. */
class Atlas {
  constructor(model) {
    this.meta = model.get("atlas");
    this.labels = this.meta.labels ?? [];
    const count = this.labels.length;
    const bytes = bytesOf(model.get("matrix"));
    this.ready = count > 0 && bytes.length === 12 * count * count;
    if (!this.ready) return;
    const numbers = new Float32Array(bytes.slice().buffer);
    const part = (n) => numbers.subarray(n * count * count, (n + 1) * count * count);
    [this.values, this.low, this.high] = [part(0), part(1), part(2)];
    this.read(model.get("scene"), bytesOf(model.get("scene_data")));
  }

  read(scene, bytes) {
    const ready = scene.cells?.length === this.labels.length && bytes.length === scene.bytes;
    this.maps = ready ? scene.cells.map((cell) => cell && new Maps(bytes, cell)) : [];
    this.image = ready ? scene.image : "";
  }

  /** What is known of a pair, in words. */
  words(row, column) {
    const name = ({ model, tap }) => `${model} ${tap}`;
    const pair = `${name(this.labels[row])} and ${name(this.labels[column])}`;
    const at = row * this.labels.length + column;
    if (Number.isNaN(this.values[at])) return `${pair}: one of them is the same for all images`;
    const interval = `${this.low[at].toFixed(2)} to ${this.high[at].toFixed(2)}`;
    const known = !Number.isNaN(this.low[at]);
    const range = known ? `95 % interval ${interval}` : "one batch, so no interval";
    return `${pair}: ${this.values[at].toFixed(3)} (${range})`.replaceAll("-", "\u2212");
  }
}

/** The matrix as a picture, with the names of networks and taps at two sides. */
class Matrix {
  constructor(view) {
    this.view = view;
    this.root = element("div", "vk-matrix");
    this.canvas = element("canvas", "vk-canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.onpointermove = (event) => view.hover(this.cell(event));
    this.canvas.onpointerleave = () => view.hover(null);
    this.canvas.onclick = (event) => view.choose(this.cell(event));
    this.root.append(this.canvas);
  }

  /** The row and column that an event is in; null beside the cells. */
  cell(event) {
    if (!this.side) return null;
    const { left, top } = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio || 1;
    const place = (at) => Math.floor((at * ratio - this.margin) / this.side);
    const [column, row] = [place(event.clientX - left), place(event.clientY - top)];
    const count = this.view.atlas.labels.length;
    const inside = Math.min(row, column) >= 0 && Math.max(row, column) < count;
    return inside ? [row, column] : null;
  }

  paint(atlas, chosen, hovered) {
    if (!fit(this.canvas)) return;
    const ratio = window.devicePixelRatio || 1;
    const style = getComputedStyle(this.view.root);
    const context = this.canvas.getContext("2d");
    this.ink = style.color;
    this.font = (size) => `${size * ratio}px ${style.fontFamily}`;
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.margin = this.room(context, atlas, ratio);
    this.side = (this.canvas.width - this.margin) / atlas.labels.length;
    this.paintCells(context, atlas);
    this.paintNames(context, atlas, ratio);
    for (const [cell, colour] of [[hovered, "#ffffff"], [chosen, "#ff9e4a"]]) {
      if (cell) frame(context, this.rect(cell), colour);
    }
  }

  rect([row, column]) {
    const { margin, side } = this;
    return [margin + column * side, margin + row * side, side, side];
  }

  /** How much room the names take: a line for networks, and the longest name of a tap. */
  room(context, atlas, ratio) {
    context.font = this.font(11);
    const widths = atlas.labels.map((label) => context.measureText(label.short).width);
    return Math.min(this.canvas.width / 3, Math.max(...widths) + 24 * ratio);
  }

  paintCells(context, atlas) {
    const count = atlas.labels.length;
    const picture = scratch(count, count);
    const palette = this.view.palette();
    atlas.values.forEach((value, i) => {
      picture.pixels[i] = Number.isNaN(value) ? 0 : palette[shade(value, [0, 1])];
    });
    context.imageSmoothingEnabled = false;
    const side = this.canvas.width - this.margin;
    context.drawImage(picture.show(), this.margin, this.margin, side, side);
  }

  /** Write the names of taps and networks, left of the rows and above the columns. */
  paintNames(context, atlas, ratio) {
    context.fillStyle = this.ink;
    const size = Math.min(11, (0.95 * this.side) / ratio);
    context.font = this.font(size);
    const edge = this.margin - 4 * ratio;
    // smaller letters nobody can read
    const readable = size < 6 ? [] : atlas.labels;
    readable.forEach(({ short: name }, i) => {
      const at = this.margin + (i + 0.5) * this.side;
      write(context, name, edge, at, { align: "right" });
      write(context, name, at, edge, { align: "left", turned: true });
    });
    context.font = `bold ${this.font(11)}`;
    for (const { model, start, end } of atlas.meta.blocks) {
      const [first, room] = [this.margin + start * this.side, (end - start) * this.side];
      const options = { align: "center", room: room - 4 * ratio };
      write(context, model, 8 * ratio, first + room / 2, { ...options, turned: true });
      write(context, model, first + room / 2, 8 * ratio, options);
      if (!start) continue;
      context.fillRect(0, first - ratio / 2, this.margin, ratio);
      context.fillRect(first - ratio / 2, 0, ratio, this.margin);
    }
  }
}

/** Write a text about its middle height; turned, from below. */
function write(context, text, x, y, { align, turned = false, room }) {
  context.save();
  context.translate(x, y);
  if (turned) context.rotate(-Math.PI / 2);
  context.textAlign = align;
  context.textBaseline = "middle";
  context.fillText(text, 0, 0, room);
  context.restore();
}

/** The strongest channels of one tap. */
class Side {
  constructor(view, n) {
    this.view = view;
    this.root = element("figure", "vk-panel");
    this.title = element("figcaption", "vk-title");
    this.frame = element("div", "vk-frame");
    this.canvas = element("canvas", "vk-canvas");
    this.canvas.setAttribute("role", "img");
    this.canvas.setAttribute("aria-label", `Maps of the tap of ${NAMES[n]}`);
    this.frame.append(this.canvas);
    this.facts = element("div", "vk-facts");
    this.root.append(this.title, this.frame, this.facts);
  }

  paint(atlas, which) {
    const { model, tap } = atlas.labels[which];
    const maps = atlas.maps[which];
    this.title.textContent = `${model} \u00b7 ${tap}`;
    this.frame.hidden = !maps;
    this.facts.textContent = maps ? this.words(maps.cell) : "no maps: the network is not here";
    if (!maps) return;
    this.frame.style.aspectRatio = `${maps.cell.width} / ${maps.cell.height}`;
    if (!fit(this.canvas)) return;
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    const palette = this.view.palette(maps.cell.signed);
    for (const { rank, rect } of tilesOf(this.canvas, maps.cell, TILES, 0)) {
      const facts = maps.facts(rank);
      const top = Math.max(Math.abs(facts.low), Math.abs(facts.high)) || 1;
      const scale = maps.cell.signed ? [-top, top] : [facts.low, facts.high];
      drawCodes(context, maps.at(rank), maps.cell, colourTable(facts, scale, palette), rect);
    }
  }

  words({ channels, kept, width, height }) {
    const shown = Math.min(kept, TILES);
    return `${channels} channels of ${width} x ${height}, the ${shown} strongest, each by itself`;
  }
}

/** All of it: state, keys, and when to draw. */
class AtlasView {
  constructor(model, root) {
    this.model = model;
    this.root = root;
    this.hovered = null;
    this.matrix = new Matrix(this);
    this.sides = [new Side(this, 0), new Side(this, 1)];
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
    this.main = element("div", "vk-main vk-atlas");
    this.main.tabIndex = 0;
    this.main.setAttribute("role", "application");
    this.words = element("div", "vk-values");
    this.words.setAttribute("aria-live", "polite");
    this.pair = element("div", "vk-sides");
    this.pair.append(...this.sides.map((side) => side.root));
    const right = element("div", "vk-right");
    right.append(this.words, this.pair);
    this.main.append(this.matrix.root, right);
    this.caption = element("p", "vk-caption");
    this.help = element("p", "vk-help", HELP);
    this.help.id = `vk-help-${Math.random().toString(36).slice(2)}`;
    this.main.setAttribute("aria-describedby", this.help.id);
    this.root.append(this.message, this.status, this.main, this.caption, this.help);
  }

  listen() {
    this.main.addEventListener("keydown", (event) => this.key(event));
    const repaint = () => this.repaint();
    const observer = new ResizeObserver(repaint);
    observer.observe(this.main);
    this.off = [onTheme(repaint), () => observer.disconnect()];
    const on = (names, call) => {
      for (const name of names) {
        this.model.on(`change:${name}`, call);
        this.off.push(() => this.model.off(`change:${name}`, call));
      }
    };
    on(["atlas", "matrix", "scene", "scene_data"], () => queueMicrotask(() => this.load()));
    on(["row", "column"], repaint);
    on(["message", "busy"], () => this.tell());
  }

  stop() {
    for (const off of [...this.off, this.unguard]) off?.();
    cancelAnimationFrame(this.frame);
  }

  load() {
    const atlas = new Atlas(this.model);
    if (!atlas.ready) return;
    this.atlas = atlas;
    const { measure, images } = atlas.meta;
    const names = atlas.meta.blocks.map((block) => block.model).join(", ");
    this.main.setAttribute("aria-label", `Similarity of ${names}`);
    const photo = atlas.image ? ` Maps: of ${atlas.image}.` : "";
    this.caption.textContent =
      `Colours: ${measure} over ${images} images, from 0 and below (dark) to 1 (bright).${photo}`;
    this.repaint();
  }

  tell() {
    const text = this.model.get("message");
    this.message.textContent = text;
    this.message.hidden = !text;
    this.status.textContent = this.model.get("busy");
    this.root.classList.toggle("vk-busy", Boolean(this.model.get("busy")));
  }

  get chosen() {
    const last = this.atlas.labels.length - 1;
    return ["row", "column"].map((name) => clamp(this.model.get(name), 0, last));
  }

  hover(cell) {
    this.hovered = cell;
    this.repaint();
  }

  choose(cell) {
    if (!cell) return;
    const last = this.atlas.labels.length - 1;
    this.model.set("row", clamp(cell[0], 0, last));
    this.model.set("column", clamp(cell[1], 0, last));
    this.model.save_changes();
  }

  palette(signed = false) {
    const bytes = bytesOf(this.model.get("palettes"));
    const diverging = isDark(this.root) ? DIVERGING_DARK : DIVERGING_LIGHT;
    return paletteOf(bytes, signed ? diverging : SEQUENTIAL);
  }

  repaint() {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.paint();
    });
  }

  paint() {
    if (!this.atlas) return;
    this.unguard ??= guarded(this.root);
    const { atlas, chosen } = this;
    this.matrix.paint(atlas, chosen, this.hovered);
    const pair = this.hovered ?? chosen;
    this.words.textContent = atlas.words(...pair);
    this.sides.forEach((side, n) => side.paint(atlas, pair[n]));
  }

  key(event) {
    if (event.target !== this.main || event.ctrlKey || event.metaKey || event.altKey) return;
    const move = MOVES[event.key];
    if (!move || !this.atlas) return;
    event.preventDefault();
    this.hovered = null;
    this.choose(move(...this.chosen));
  }
}

const MOVES = {
  ArrowLeft: (row, column) => [row, column - 1],
  ArrowRight: (row, column) => [row, column + 1],
  ArrowUp: (row, column) => [row - 1, column],
  ArrowDown: (row, column) => [row + 1, column],
  Home: (row) => [row, 0],
  End: (row) => [row, Infinity],
  PageUp: (_, column) => [0, column],
  PageDown: (_, column) => [Infinity, column],
};

function render({ model, el }) {
  const view = new AtlasView(model, el);
  return () => view.stop();
}

export default { render };
