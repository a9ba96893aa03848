/**
 * What excites a channel most: parts of photos, cut from what the network saw.
 *
 * `paint.js` and `scene.js` come before this file.
 */

/** The best patches of the chosen channel of one network. */
class PatchRow {
  constructor() {
    this.root = element("div", "vk-patches");
    this.root.setAttribute("role", "list");
    this.tiles = [];
  }

  /**
   * Show them, best first; or nothing, if there are none.
   * @param {object[]} patches from `Patches.of`
   * @param {Maps} [maps] those of the tap
   * @param {string} whose channel and model, for those who hear it
   */
  paint(patches, maps, whose) {
    this.root.hidden = !patches.length;
    this.patches = patches;
    while (this.tiles.length < patches.length) this.add();
    this.tiles.forEach((tile, i) => {
      tile.root.hidden = i >= patches.length;
    });
    // all words before all pictures: whoever asks for a size after a change waits for a layout
    const boxes = patches.map((patch, i) => {
      describe(this.tiles[i], patch, `patch ${i + 1} of ${whose}`);
      return frameOf(this.tiles[i], patch, maps);
    });
    patches.forEach(({ picture, value }, i) => {
      const { canvas } = this.tiles[i];
      if (fit(canvas)) drawPart(canvas, picture, boxes[i], value === 0);
    });
  }

  add() {
    const tile = {
      root: element("figure", "vk-patch"),
      canvas: element("canvas", "vk-canvas"),
      name: element("span", "vk-patch-name"),
      value: element("span", "vk-patch-value"),
    };
    const words = element("figcaption", "vk-patch-words");
    words.append(tile.name, tile.value);
    tile.root.setAttribute("role", "listitem");
    tile.canvas.setAttribute("role", "img");
    tile.root.append(tile.canvas, words);
    this.tiles.push(tile);
    this.root.append(tile.root);
  }

  /** The first few in words. */
  get spoken() {
    const best = (this.patches ?? []).slice(0, 3);
    if (!best.length) return "";
    return `; top patches: ${best.map(({ name, value }) => `${name} ${short(value)}`).join(", ")}`;
  }
}

/** Say which photo a patch is of, and how strong it is. */
function describe(tile, { name, value, row, column }, which) {
  // a channel that is zero everywhere has no place of its own
  const strength = value === 0 ? "silent" : short(value);
  const words = `${which}: ${name}, ${strength}, at x ${column}, y ${row}`;
  tile.name.textContent = name;
  tile.value.textContent = strength;
  tile.canvas.setAttribute("aria-label", words);
  tile.root.title = words;
}

/** The part of the input to show, also beyond it; give the picture its shape. */
function frameOf(tile, { row, column, picture }, maps) {
  const whole = { x0: 0, y0: 0, x1: picture.width, y1: picture.height };
  const seen = maps.field({ row, column }) ?? whole;
  const [width, height] = [seen.x1 - seen.x0, seen.y1 - seen.y0];
  // a field larger than the input is shown in the input's own place
  const larger = width > picture.width && height > picture.height;
  const ratio = larger ? `${picture.width} / ${picture.height}` : `${width} / ${height}`;
  if (tile.ratio !== ratio) tile.canvas.style.aspectRatio = ratio;
  tile.ratio = ratio;
  return larger ? whole : seen;
}

/** Draw the part of a photo that lies in a box, at its place in the box. */
function drawPart(canvas, photo, { x0, y0, x1, y1 }, empty) {
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const [left, top] = [Math.max(0, x0), Math.max(0, y0)];
  const width = Math.min(photo.width, x1) - left;
  const height = Math.min(photo.height, y1) - top;
  if (empty || width <= 0 || height <= 0) return;
  const part = scratch(width, height);
  for (let row = 0; row < height; row += 1) {
    let at = 3 * ((top + row) * photo.width + left);
    for (let i = row * width; i < (row + 1) * width; i += 1, at += 3) {
      part.pixels[i] = pixel(photo.bytes[at], photo.bytes[at + 1], photo.bytes[at + 2]);
    }
  }
  const [across, down] = [canvas.width / (x1 - x0), canvas.height / (y1 - y0)];
  // few pixels stay squares, many become a picture
  context.imageSmoothingEnabled = width > canvas.width / 4;
  context.imageSmoothingQuality = "high";
  const at = [(left - x0) * across, (top - y0) * down, width * across, height * down];
  context.drawImage(part.show(), ...at);
}
