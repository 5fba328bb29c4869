// The heat map of a slot: the server's bins on a canvas, by rows with their gfn, read by pointer or by keyboard.

import { h, setText } from "./dom.js";
import { count, hex, many } from "./format.js";

export const STATES = ["writable_dirty", "writable_clean", "read_write", "read_only", "unmapped"];
const NAMES = {
  writable_dirty: "writable dirty",
  writable_clean: "writable clean",
  read_write: "read-write",
  read_only: "read-only",
  unmapped: "unmapped",
};
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const FADE_MS = 260;

const ROWS = 32;
const LABELLED_ROWS = 8;
const LEAST_PIXELS = 2; // a state that some pages have is seen, however few they are

/** Make a heat map; `update(heat, base_gfn)` shows another answer, `zoom(by, page)` is called on + - 0 and a double click. */
export function heatMap(zoom) {
  const canvas = h("canvas", { tabindex: "0", role: "img", "aria-label": "Pages of the slot", "aria-describedby": "heat-readout" });
  const readout = h("p", { class: "readout", id: "heat-readout", "aria-live": "polite" });
  const legend = h("div", { class: "legend" });
  const gfns = h("div", { class: "gfns", "aria-hidden": "true" });
  const map = new HeatCanvas(canvas, readout, legend, gfns, zoom);
  return { node: h("div", { class: "heat" }, h("div", { class: "grid-rows" }, gfns, canvas), h("div", { class: "below" }, readout, legend)), page: () => map.page(), update: (heat, base) => map.show(heat, base), view: (name) => map.setMode(name) };
}

/** How many bins stand in a row of a map of this width. */
const columnsFor = (width) => (width < 500 ? 32 : width < 800 ? 64 : 128);

/** How many bins a map of this width takes. */
export const binsFor = (width) => ROWS * columnsFor(width);

class HeatCanvas {
  constructor(canvas, readout, legend, gfns, zoom) {
    Object.assign(this, { canvas, readout, legend, gfns, zoom, heat: null, base: 0, mode: "dirty", at: null, place: null, shown: [], from: [], began: 0 });
    this.context = canvas.getContext("2d");
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerdown", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => this.read(document.activeElement === canvas ? this.at : null));
    canvas.addEventListener("focus", () => this.read(this.at ?? 0));
    canvas.addEventListener("blur", () => this.read(null));
    canvas.addEventListener("keydown", (event) => this.key(event));
    canvas.addEventListener("dblclick", () => this.zoom(1, this.page()));
    this.explain();
  }

  show(heat, base) {
    const place = this.page();
    const isSame = this.heat && ["slot", "bins", "first_page"].every((name) => heat[name] === this.heat[name]);
    this.heat = heat;
    this.base = base;
    this.from = isSame && !calm.matches ? this.shown : this.shares();
    this.began = performance.now();
    this.canvas.setAttribute("aria-label", this.summary());
    this.fade();
    this.read(this.at === null ? null : Math.max(0, Math.min(heat.bins - 1, Math.floor((place - heat.first_page) / heat.pages_per_bin))));
  }

  setMode(mode) {
    this.mode = mode;
    this.from = this.shares();
    this.explain();
    this.fade();
  }

  pagesOf(bin) {
    return Math.min(this.heat.pages_per_bin, this.heat.num_pages - bin * this.heat.pages_per_bin);
  }

  /** The first page of the bin that was read last; of the middle one if none was. */
  page() {
    const { heat, place } = this;
    if (!heat) return 0;
    const end = heat.first_page + heat.num_pages;
    if (place !== null && place >= heat.first_page && place < end) return place;
    return heat.first_page + Math.floor(heat.bins / 2) * heat.pages_per_bin;
  }

  shares() {
    const { heat } = this;
    if (!heat) return [];
    return Array.from({ length: heat.bins }, (_, bin) => (heat.dirty ? heat.dirty[bin] / this.pagesOf(bin) : 0));
  }

  summary() {
    const { heat } = this;
    const dirty = heat.dirty?.reduce((sum, pages) => sum + pages, 0);
    const summary = heat.dirty ? `${count(dirty)} of ${many(heat.num_pages, "page")} dirty` : `${many(heat.num_pages, "page")}, no dirty log`;
    return `Heat map of slot ${heat.slot}: ${summary}. Arrow keys read the bins, + and - zoom.`;
  }

  fade() {
    const target = this.shares();
    const step = () => {
      const part = Math.min(1, (performance.now() - this.began) / FADE_MS);
      this.shown = target.map((share, bin) => share + ((this.from[bin] ?? share) - share) * (1 - part));
      this.draw();
      if (part < 1 && target.length) this.frame = requestAnimationFrame(step);
    };
    cancelAnimationFrame(this.frame);
    step();
  }

  grid() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const bins = this.heat.bins;
    const columns = Math.min(bins, columnsFor(width));
    return { width, height, columns, rows: Math.ceil(bins / columns) };
  }

  draw() {
    const { canvas, context, heat } = this;
    if (!heat || !canvas.clientWidth) return;
    const scale = devicePixelRatio;
    const { width, height, columns, rows } = this.grid();
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    this.label(columns, rows);
    const colours = palette();
    const gap = width / columns >= 6 ? Math.max(1, Math.round(scale)) : 0;
    const edge = (index, of, size) => Math.round((index * size) / of);
    for (let bin = 0; bin < heat.bins; bin += 1) {
      const column = bin % columns;
      const row = (bin - column) / columns;
      const left = edge(column, columns, canvas.width);
      const top = edge(row, rows, canvas.height);
      const box = [left, top, edge(column + 1, columns, canvas.width) - left - gap, edge(row + 1, rows, canvas.height) - top - gap];
      if (this.mode === "dirty") {
        context.fillStyle = heat.dirty ? ramp(colours, this.shown[bin]) : colours.unmapped;
        context.fillRect(...box);
      } else this.stack(box, bin, colours);
      if (bin === this.at) {
        context.lineWidth = 2 * scale;
        context.strokeStyle = colours.text;
        context.strokeRect(box[0], box[1], box[2], box[3]);
      }
    }
  }

  /** Write the gfn of every few rows at their left. */
  label(columns, rows) {
    const { heat, base, gfns } = this;
    const key = [base, heat.first_page, heat.pages_per_bin, columns, rows].join();
    if (gfns.dataset.key === key) return;
    gfns.dataset.key = key;
    const step = Math.max(1, Math.ceil(rows / LABELLED_ROWS));
    const labels = [];
    for (let row = 0; row < rows; row += step) {
      const label = h("span", {}, hex(base + heat.first_page + row * columns * heat.pages_per_bin));
      label.style.top = `${(100 * row) / rows}%`;
      labels.push(label);
    }
    gfns.replaceChildren(...labels);
  }

  stack([left, top, width, height], bin, colours) {
    const pages = this.pagesOf(bin);
    const some = STATES.filter((state) => this.heat[state][bin]);
    const least = Math.min(LEAST_PIXELS * devicePixelRatio, height / some.length);
    const heights = some.map((state) => Math.max(least, (this.heat[state][bin] / pages) * height));
    const widest = heights.indexOf(Math.max(...heights));
    heights[widest] -= heights.reduce((sum, each) => sum + each, 0) - height;
    let y = top;
    some.forEach((state, index) => {
      const end = index === some.length - 1 ? top + height : Math.round(y + heights[index]);
      this.context.fillStyle = colours[state];
      this.context.fillRect(left, y, width, end - y);
      y = end;
    });
  }

  point(event) {
    if (!this.heat) return;
    const { width, height, columns, rows } = this.grid();
    const column = Math.min(columns - 1, Math.floor((event.offsetX / width) * columns));
    const bin = Math.min(rows - 1, Math.floor((event.offsetY / height) * rows)) * columns + column;
    this.read(bin >= 0 && bin < this.heat.bins ? bin : null);
  }

  key(event) {
    if (!this.heat) return;
    const { columns } = this.grid();
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
    const last = this.heat.bins - 1;
    const at = this.at ?? 0;
    if (event.key in steps) this.read(Math.max(0, Math.min(last, at + steps[event.key])));
    else if (event.key === "Home") this.read(0);
    else if (event.key === "End") this.read(last);
    else if (event.key === "+") this.zoom(1, this.page());
    else if (event.key === "-") this.zoom(-1, this.page());
    else if (event.key === "0") this.zoom(0, this.page());
    else return;
    event.preventDefault();
  }

  read(bin) {
    this.at = bin;
    const { heat } = this;
    if (!heat) return;
    if (bin === null) {
      setText(this.readout, `${many(heat.bins, "bin")} of ${many(heat.pages_per_bin, "page")}. Point at one, or use the arrow keys.`);
    } else {
      const first = heat.first_page + bin * heat.pages_per_bin;
      if (this.place === null || this.place < first || this.place >= first + heat.pages_per_bin) this.place = first;
      const pages = this.pagesOf(bin);
      const place = pages === 1 ? `Page ${count(first)}` : `Pages ${count(first)} to ${count(first + pages - 1)}`;
      const dirty = heat.dirty ? `${count(heat.dirty[bin])} of ${count(pages)} dirty` : "no dirty log";
      const states = STATES.filter((state) => heat[state][bin]).map((state) => `${count(heat[state][bin])} ${NAMES[state]}`);
      setText(this.readout, `${place} (gfn ${hex(this.base + first)}): ${dirty}; ${states.join(", ")}.`);
    }
    this.draw();
  }

  explain() {
    const swatch = (state) => h("span", {}, h("span", { class: `swatch ${state}` }), NAMES[state]);
    const ramped = h("span", {}, "clean ", h("span", { class: "ramp" }), " all pages dirty");
    this.legend.replaceChildren(...(this.mode === "dirty" ? [ramped] : STATES.map(swatch)));
  }
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(name).trim();
  return {
    text: of("--text"),
    heat: [of("--heat-0"), of("--heat-1"), of("--heat-2")].map(channels),
    unmapped: of("--heat-0"),
    read_only: of("--state-ro"),
    read_write: of("--state-rw"),
    writable_clean: of("--state-wc"),
    writable_dirty: of("--state-wd"),
  };
}

const channels = (text) => [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));

/** One dirty page must be seen among thousands, so the ramp begins with a step. */
function ramp(colours, share) {
  if (share <= 0) return colours.unmapped;
  const [, low, high] = colours.heat;
  const part = Math.sqrt(share);
  return `rgb(${low.map((value, i) => Math.round(value + (high[i] - value) * part)).join(" ")})`;
}
