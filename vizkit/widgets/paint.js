/**
 * Painting maps: from bytes and ranges to pixels, through lookup tables.
 *
 * This file has no exports: Python puts it before each widget's own file, because a widget is one
 * module.
 */

const LEVELS = 255;
const COLUMNS = 5;
const SEQUENTIAL = 0;
const DIVERGING_LIGHT = 1;
const DIVERGING_DARK = 2;
const HEAT = 3;
const GAP = 2;

/**
 * Make an element.
 * @param {string} tag its name
 * @param {string} name its CSS class
 * @param {string} [text] its text, never read as HTML
 * @returns {HTMLElement}
 */
function element(tag, name, text = "") {
  const made = document.createElement(tag);
  made.className = name;
  made.textContent = text;
  return made;
}

/** A view on the bytes of a trait, however the front end hands them over. */
function bytesOf(value) {
  if (!value) return new Uint8Array(0);
  if (value instanceof ArrayBuffer) return new Uint8Array(value);
  return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
}

/** A number for readers: three digits that count. */
function short(value) {
  const size = Math.abs(value);
  if (!Number.isFinite(value)) return String(value);
  if (size >= 1000) return String(Math.round(value)).replace("-", "\u2212");
  const text = size > 0 && size < 1e-3 ? value.toExponential(2) : String(+value.toPrecision(3));
  return text.replaceAll("-", "\u2212");
}

const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)} %`;
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The maps of one place: what `packing.packed` wrote. */
class Maps {
  /**
   * @param {Uint8Array} bytes all of the scene's
   * @param {object} cell where this place's begin, and how large they are
   */
  constructor(bytes, cell) {
    this.cell = cell;
    this.size = cell.height * cell.width;
    this.codes = bytes.subarray(cell.codes, cell.codes + cell.kept * this.size);
    const end = cell.table + 4 * COLUMNS * cell.kept;
    // a copy, because numbers of four bytes must begin where four divides the address
    this.table = new Float32Array(bytes.slice(cell.table, end).buffer);
  }

  /** Channel, range, mean and share of zeros of the map at a rank. */
  facts(rank) {
    const [channel, low, high, mean, zeros] = this.table.subarray(rank * COLUMNS);
    return { channel, low, high, mean, zeros };
  }

  /** The map at a rank, as codes. */
  at(rank) {
    return this.codes.subarray(rank * this.size, (rank + 1) * this.size);
  }

  /** The row and column that hold a point in [0, 1) x [0, 1). */
  place(u, v) {
    const { width, height } = this.cell;
    return {
      column: clamp(Math.floor(u * width), 0, width - 1),
      row: clamp(Math.floor(v * height), 0, height - 1),
    };
  }

  /** What a place sees of the input, in pixels, also beyond it; null if it is not known. */
  field({ row, column }) {
    if (!this.cell.field) return null;
    const [xStart, xStep, width] = this.cell.field.x;
    const [yStart, yStep, height] = this.cell.field.y;
    const x0 = xStart + column * xStep;
    const y0 = yStart + row * yStep;
    return { x0, y0, x1: x0 + width, y1: y0 + height };
  }

  /** The value at a place, to within the error of its code. */
  value(rank, { row, column }) {
    const { low, high } = this.facts(rank);
    return low + (this.at(rank)[row * this.cell.width + column] * (high - low)) / LEVELS;
  }
}

/** The colours of a palette as pixels: 256 numbers of four bytes. */
function paletteOf(bytes, which) {
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i += 1) {
    const at = 3 * (256 * which + i);
    colours[i] = pixel(bytes[at], bytes[at + 1], bytes[at + 2]);
  }
  return colours;
}

/** Red, green and blue as one number, as canvases keep them. */
function pixel(red, green, blue) {
  return (255 << 24) | (blue << 16) | (green << 8) | red;
}

/** Which of 256 colours a value has. */
function shade(value, [low, high]) {
  const share = high > low ? (value - low) / (high - low) : 0;
  return clamp(Math.floor(256 * share), 0, 255);
}

/** The colour of each code of a map with a range, on a scale. */
function colourTable({ low, high }, scale, palette) {
  const table = new Uint32Array(256);
  for (let code = 0; code < 256; code += 1) {
    table[code] = palette[shade(low + (code * (high - low)) / LEVELS, scale)];
  }
  return table;
}

/** A picture of some size outside the page, to be drawn enlarged. */
function bitmap(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  const show = () => {
    context.putImageData(image, 0, 0);
    return canvas;
  };
  return { canvas, pixels, show };
}

/** Scratch pictures by size, because most maps of a stage share one. */
const scratches = new Map();
function scratch(width, height) {
  const key = `${width} ${height}`;
  if (!scratches.has(key)) scratches.set(key, bitmap(width, height));
  return scratches.get(key);
}

/** Draw codes into a rectangle: enlarged in squares, or reduced to means. */
function drawCodes(context, codes, cell, colours, [x, y, width, height]) {
  const by = reduction(cell, width);
  const small = by > 1 ? means(codes, cell, by) : codes;
  const picture = scratch(cell.width / by, cell.height / by);
  for (let i = 0; i < small.length; i += 1) picture.pixels[i] = colours[small[i]];
  context.imageSmoothingEnabled = width < cell.width;
  context.imageSmoothingQuality = "medium";
  context.drawImage(picture.show(), x, y, width, height);
}

/** By how much a map can be reduced, in whole places, and still have one for each pixel. */
function reduction(cell, width) {
  let by = Math.max(1, Math.floor(cell.width / Math.max(1, width)));
  while (cell.width % by || cell.height % by) by -= 1;
  return by;
}

/** The mean code of each square of `by` times `by` places. */
function means(codes, cell, by) {
  const [across, down] = [cell.width / by, cell.height / by];
  const found = new Uint8Array(across * down);
  const sums = new Uint32Array(across);
  for (let row = 0; row < down; row += 1) {
    sums.fill(by * by * 0.5);
    for (let line = row * by; line < (row + 1) * by; line += 1) {
      let at = line * cell.width;
      for (let column = 0; column < across; column += 1) {
        let sum = 0;
        for (const end = at + by; at < end; at += 1) sum += codes[at];
        sums[column] += sum;
      }
    }
    for (let i = 0; i < across; i += 1) found[row * across + i] = sums[i] / (by * by);
  }
  return found;
}

/** Draw a photo over a whole canvas. */
function drawPhoto(canvas, photo) {
  const picture = scratch(photo.width, photo.height);
  for (let i = 0, at = 0; i < picture.pixels.length; i += 1, at += 3) {
    picture.pixels[i] = pixel(photo.bytes[at], photo.bytes[at + 1], photo.bytes[at + 2]);
  }
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.show(), 0, 0, canvas.width, canvas.height);
}

/** How bright a pixel of a photo is. */
function grey(photo, x, y) {
  const at = 3 * (y * photo.width + x);
  return 0.299 * photo.bytes[at] + 0.587 * photo.bytes[at + 1] + 0.114 * photo.bytes[at + 2];
}

/** Neighbours and weight of each of `count` points along a side of `length` places. */
function between(count, length) {
  return Array.from({ length: count }, (_, i) => {
    const at = clamp(((i + 0.5) * length) / count - 0.5, 0, length - 1);
    const first = Math.floor(at);
    return { first, second: Math.min(first + 1, length - 1), weight: at - first };
  });
}

/**
 * Draw an attribution over the grey photo: bilinear, clear where it is weak.
 * @param {HTMLCanvasElement} canvas where
 * @param {object} photo its pixels
 * @param {Maps} maps with one map
 * @param {{scale: number[], palette: Uint32Array, overlay: number}} look colours and strength
 */
function drawHeat(canvas, photo, maps, { scale, palette, overlay }) {
  const width = Math.min(canvas.width, photo.width);
  const height = Math.min(canvas.height, photo.height);
  const picture = scratch(width, height);
  const { low, high } = maps.facts(0);
  const codes = maps.at(0);
  const across = between(width, maps.cell.width);
  const top = Math.max(Math.abs(scale[0]), Math.abs(scale[1])) || 1;
  between(height, maps.cell.height).forEach((down, y) => {
    const upper = down.first * maps.cell.width;
    const lower = down.second * maps.cell.width;
    const row = Math.floor(((y + 0.5) * photo.height) / height);
    for (let x = 0; x < width; x += 1) {
      const { first, second, weight } = across[x];
      const above = codes[upper + first] * (1 - weight) + codes[upper + second] * weight;
      const below = codes[lower + first] * (1 - weight) + codes[lower + second] * weight;
      const code = above * (1 - down.weight) + below * down.weight;
      const value = low + (code * (high - low)) / LEVELS;
      const alpha = overlay * Math.sqrt(Math.min(1, Math.abs(value) / top));
      const base = grey(photo, Math.floor(((x + 0.5) * photo.width) / width), row);
      picture.pixels[y * width + x] = blend(base, palette[shade(value, scale)], alpha);
    }
  });
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "medium";
  context.drawImage(picture.show(), 0, 0, canvas.width, canvas.height);
}

/** Lay a colour over grey. */
function blend(base, colour, alpha) {
  const part = (shift) => Math.round(base * (1 - alpha) + ((colour >> shift) & 255) * alpha);
  return pixel(part(0), part(8), part(16));
}

/** Give a canvas as many pixels as it has on the screen; false, and nothing, if it has none. */
function fit(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * ratio);
  const height = Math.round(canvas.clientHeight * ratio);
  if (!width || !height) return false;
  // setting a size clears the picture, even if it is the same
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  return true;
}

/** Draw a frame that is seen on any ground. */
function frame(context, [x, y, width, height], colour = "#ffffff") {
  const ratio = window.devicePixelRatio || 1;
  context.lineJoin = "miter";
  context.strokeStyle = "#000000";
  context.lineWidth = 3 * ratio;
  context.strokeRect(x, y, width, height);
  context.strokeStyle = colour;
  context.lineWidth = 1.5 * ratio;
  context.strokeRect(x, y, width, height);
}

/** Whether the page around an element is dark. */
function isDark(node) {
  const told = document.body.getAttribute("data-jp-theme-light");
  if (told !== null) return told === "false";
  const numbers = getComputedStyle(node).backgroundColor.match(/[\d.]+/g) ?? [255, 255, 255];
  const [red, green, blue] = numbers.map(Number);
  return 0.299 * red + 0.587 * green + 0.114 * blue < 128;
}

/**
 * Call a function when the page's theme changes.
 * @returns {function(): void} to stop it
 */
function onTheme(changed) {
  const media = window.matchMedia("(prefers-color-scheme: dark)");
  const observer = new MutationObserver(changed);
  observer.observe(document.body, { attributes: true, attributeFilter: ["data-jp-theme-light"] });
  media.addEventListener("change", changed);
  return () => {
    observer.disconnect();
    media.removeEventListener("change", changed);
  };
}

/** The rectangles of one page of channels, the one with a rank among them. */
function tilesOf(canvas, cell, count, rank) {
  const first = Math.floor(rank / count) * count;
  const shown = Math.min(count, cell.kept - first);
  const side = Math.ceil(Math.sqrt(Math.min(count, cell.kept)));
  const gap = side > 1 ? GAP * (window.devicePixelRatio || 1) : 0;
  const along = (i, length) => Math.round((i * (length + gap)) / side);
  return Array.from({ length: shown }, (_, i) => {
    const [column, row] = [i % side, Math.floor(i / side)];
    const [x, y] = [along(column, canvas.width), along(row, canvas.height)];
    const width = along(column + 1, canvas.width) - gap - x;
    const height = along(row + 1, canvas.height) - gap - y;
    return { rank: first + i, rect: [x, y, width, height] };
  });
}

/** What is known of a channel, in words. */
function factsOf(facts, rank, cell) {
  const here = cell.kept < cell.channels ? `, of which ${cell.kept} are here,` : "";
  const range = cell.signed ? `, min ${short(facts.low)}` : "";
  return (
    `channel ${facts.channel}, rank ${rank + 1} of ${cell.channels}${here} by energy: ` +
    `mean ${short(facts.mean)}, max ${short(facts.high)}${range}, zeros ${percent(facts.zeros)}`
  );
}

/** Let only those keys pass on that are commands everywhere. */
function withheld(event) {
  const command = event.ctrlKey || event.metaKey || event.altKey;
  if (!command && !(event.shiftKey && event.key === "Enter")) event.stopPropagation();
}

/**
 * Keep keys from JupyterLab, which would move between cells: in the fields around a picture, too.
 * @returns {(function(): void)|undefined} to stop it; nothing while it is not on the page yet
 */
function guarded(root) {
  if (!root.isConnected) return undefined;
  const around = root.closest(".vizkit-explorer") ?? root;
  around.addEventListener("keydown", withheld);
  return () => around.removeEventListener("keydown", withheld);
}
