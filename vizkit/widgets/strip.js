/**
 * A row of small pictures for each network, one for each stage.
 *
 * `paint.js` and `scene.js` come before this file.
 */

// stages, not layers
const FEW = 8;
// letters of a name that three lines of a narrow column have room for
const ROOM = 27;

/**
 * What tells names apart: module paths without the parts that all of one branch share.
 *
 * "stages.1.blocks.0.conv_mid.2.conv_pw" becomes "\u20261.conv_mid.2.conv_pw": the beginning, where
 * most paths are alike, is all that narrow columns and menus would show of it.
 */
function endsOf(names) {
  const paths = names.map((name) => name.split("."));
  const ends = names.map((name, n) => {
    if (name.length <= ROOM) return name;
    const parts = paths[n];
    const branch = paths.filter(([first]) => first === parts[0]);
    const own = parts.filter((part, i) => branch.some((other) => other[i] !== part)).join(".");
    if (!own) return name;
    return own.length > ROOM ? `\u2026${own.slice(-ROOM)}` : `\u2026${own}`;
  });
  // parts of two branches may be alike
  return names.map((name, i) => (ends.indexOf(ends[i]) === ends.lastIndexOf(ends[i]) ? ends[i] : name));
}

/** Write a module path that may be broken after its dots. */
function breakable(node, path) {
  const parts = path.split(/(?<=\.)/);
  node.append(...parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])));
  return node;
}

/** A small picture of every stage of every network, in columns by stride. */
class Strip {
  constructor(view, name = "vk-strip") {
    this.view = view;
    this.root = element("div", name);
    this.cells = [];
  }

  build(scene) {
    const { places } = scene.meta;
    this.shown = -1;
    this.root.style.setProperty("--vk-places", places.length);
    this.root.classList.toggle("vk-many", places.length > FEW);
    this.cells = [];
    this.heads = endsOf(places).map((end, i) =>
      this.clickable(breakable(element("div", "vk-head"), end), i),
    );
    this.heads.forEach((head, i) => head.setAttribute("title", places[i]));
    this.root.replaceChildren(element("div", "vk-corner"), ...this.heads);
    scene.models.forEach((model, n) => {
      this.root.append(...this.row(model, n));
      places.forEach((name, i) => this.root.append(this.cell(model, n, i, name)));
    });
  }

  clickable(node, place) {
    node.onclick = () => this.view.move(place);
    return node;
  }

  /** What stands before the cells of a network: its name and what it predicts. */
  row(model) {
    const label = element("div", "vk-model");
    label.append(element("strong", "vk-name", model.name));
    for (const { class: name, probability } of model.predictions) {
      const line = element("span", "vk-prediction");
      line.append(element("span", "vk-class", name));
      line.append(element("span", "vk-share", percent(probability)));
      label.append(line);
    }
    label.append(element("span", "vk-input", model.input));
    return [label];
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
    // what stands before the first, there is no other key for
    if (!place) this.root.scrollLeft = 0;
    else if (left - names < scrollLeft) this.root.scrollLeft = left - names;
    if (left + width > scrollLeft + clientWidth) this.root.scrollLeft = left + width - clientWidth;
  }

  paint(scene, state) {
    for (const cell of this.cells) {
      if (cell.canvas && fit(cell.canvas)) this.paintCell(scene, state, cell);
    }
  }

  paintCell(scene, state, { canvas, n, place }) {
    const shown = state.view === "attributions" && scene.staged ? "attribution" : "energy";
    this.view.paintMap(scene, state, canvas, { n, place, shown });
  }
}
