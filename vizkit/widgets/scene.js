/**
 * What is shown, read from the traits `scene`, `heat` and `patches`, and their bytes.
 *
 * `paint.js` comes before this file.
 */

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
    this.patches = new Patches(model.get("patches"), bytesOf(model.get("patches_data")));
  }

  /** Whether the attribution is one of stages, and there. */
  get staged() {
    return this.heat.level === "stage" && this.heats.length > 0;
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

  /** How many ranks there are to choose from: those of a stage, or of all that are compared. */
  ranks({ view, place }) {
    const places = view === "comparison" ? this.meta.places.map((_, i) => i) : [place];
    return Math.max(...places.map((each) => this.channels(each)));
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


/** What excites each channel most: what `vizkit.widgets.patches.search` wrote. */
class Patches {
  constructor(meta, bytes) {
    this.meta = meta ?? {};
    this.ready = Boolean(this.meta.models) && bytes.length === this.meta.bytes;
    this.bytes = bytes;
  }

  /** The best patches of one channel of a model at a place, best first. */
  of(n, place, channel, channels) {
    const start = this.ready ? this.meta.models[n]?.cells[place] : null;
    if (start === null || start === undefined) return [];
    const { k } = this.meta;
    // a copy of each, because numbers of four bytes must begin where four divides the address
    const part = (which) => {
      const at = start + 4 * k * (which * channels + channel);
      return this.bytes.slice(at, at + 4 * k).buffer;
    };
    const [photos, rows, columns] = [0, 1, 2].map((which) => new Int32Array(part(which)));
    const values = new Float32Array(part(3));
    return Array.from(photos.filter((photo) => photo >= 0), (photo, i) => ({
      name: this.meta.photos[photo],
      picture: this.picture(n, photo),
      row: rows[i],
      column: columns[i],
      value: values[i],
    }));
  }

  /** What a model saw of a photo. */
  picture(n, photo) {
    const found = this.meta.pictures[this.meta.models[n].pictures[photo]];
    const end = found.offset + 3 * found.width * found.height;
    return { ...found, bytes: this.bytes.subarray(found.offset, end) };
  }

  /** Where they were searched, in words. */
  get words() {
    const { searched, listed, failed } = this.meta;
    const all = searched < listed ? `the first ${searched} of ${listed}` : String(searched);
    const bad = failed ? `, ${failed} of which could not be read` : "";
    return `Top patches: from ${all} photos${bad}, at most one of each.`;
  }
}
