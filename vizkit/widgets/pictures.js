/**
 * Pictures with marks on them, and what their colours mean: parts of panels and comparisons.
 *
 * `paint.js` and `scene.js` come before this file.
 */

const MARK = "#ff9e4a";

/** A picture, and a clear one over it for what is marked. */
function layered(name, words, { width, height }) {
  const root = element("div", `vk-frame ${name}`);
  const canvas = element("canvas", "vk-canvas");
  const marks = element("canvas", "vk-marks");
  root.style.aspectRatio = `${width} / ${height}`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", words);
  marks.setAttribute("aria-hidden", "true");
  root.append(canvas, marks);
  return { root, canvas, marks };
}

/** Where in a picture an event is, in [0, 1) x [0, 1). */
function pointIn(event) {
  const { left, top, width, height } = event.currentTarget.getBoundingClientRect();
  return {
    u: clamp((event.clientX - left) / width, 0, 0.999999),
    v: clamp((event.clientY - top) / height, 0, 0.999999),
  };
}

/** Where in a rectangle the place pointed at lies. */
function pixelRect(maps, [x, y, width, height], { u, v }) {
  const { row, column } = maps.place(u, v);
  const [across, down] = [width / maps.cell.width, height / maps.cell.height];
  return [x + column * across, y + row * down, Math.max(2, across), Math.max(2, down)];
}

/** Frame a receptive field on a photo, as far as it lies there. */
function markField(marks, photo, box) {
  const context = marks.getContext("2d");
  context.clearRect(0, 0, marks.width, marks.height);
  if (!box) return;
  const edge = 1.5 * (window.devicePixelRatio || 1);
  const along = (from, to, size, length) => {
    const start = clamp((from * size) / length, edge, size - edge);
    return [start, Math.max(1, clamp((to * size) / length, edge, size - edge) - start)];
  };
  const [x, width] = along(box.x0, box.x1, marks.width, photo.width);
  const [y, height] = along(box.y0, box.y1, marks.height, photo.height);
  frame(context, [x, y, width, height], MARK);
}

/** The colours of a scale between its two ends. */
class ColourBar {
  constructor() {
    this.low = element("span", "vk-low");
    this.high = element("span", "vk-high");
    this.ramp = element("canvas", "vk-ramp");
    this.root = element("div", "vk-colours");
    this.root.append(this.low, this.ramp, this.high);
  }

  paint([low, high], palette) {
    this.low.textContent = short(low);
    this.high.textContent = short(high);
    this.ramp.width = 256;
    this.ramp.height = 1;
    const picture = scratch(256, 1);
    picture.pixels.set(palette);
    this.ramp.getContext("2d").drawImage(picture.show(), 0, 0);
  }
}
