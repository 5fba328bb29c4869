// A heat map that is zoomed, and scrubbed through what it showed before.

import { h, setText } from "./dom.js";
import { count, nanoseconds } from "./format.js";
import { heatMap, STATES } from "./heat.js";

const ZOOM = 8;
const LEAST_PAGES = 64;
const KEPT = 60;
const FIGURES = ["dirty", ...STATES];

/** Make the map and its controls; `changed()` is called when another part of the slot is wanted. */
export function heatView(changed) {
  let part = null; // the pages that are shown: {first, pages}; null: all
  let npages = 0;
  let samples = [];
  let of = "";
  const map = heatMap(zoom);
  const button = (label, name, work) => h("button", { class: "small", type: "button", "aria-label": name, onclick: work }, label);
  const wider = button("\u2212", "Zoom out", () => zoom(-1, map.page()));
  const closer = button("+", "Zoom in", () => zoom(1, map.page()));
  const whole = button("Whole slot", "Show the whole slot", () => zoom(0, 0));
  const back = button("\u25c2", "Earlier pages", () => move(-1));
  const on = button("\u25b8", "Later pages", () => move(1));
  const shownPart = h("span", { class: "quiet", id: "heat-part" });
  const scrub = h("input", { type: "range", min: "0", max: "0", value: "0", "aria-label": "History" });
  const when = h("span", { class: "quiet", id: "heat-when" }, "now");
  scrub.addEventListener("input", draw);

  function show(next) {
    part = next;
    changed();
  }

  function zoom(by, page) {
    const pages = part?.pages ?? npages;
    if (by === 0) return show(null);
    const wanted = by > 0 ? Math.max(LEAST_PAGES, Math.ceil(pages / ZOOM / LEAST_PAGES) * LEAST_PAGES) : pages * ZOOM;
    if (wanted >= npages) return show(null);
    return show({ pages: wanted, first: within(page - wanted / 2, wanted) });
  }

  function move(by) {
    if (part) show({ pages: part.pages, first: within(part.first + (by * part.pages) / 2, part.pages) });
  }

  /** The nearest first page of a word from which so many pages can be shown. */
  function within(first, pages) {
    const last = Math.max(0, npages - pages);
    return Math.floor(Math.min(Math.max(0, first), last) / LEAST_PAGES) * LEAST_PAGES;
  }

  function isLive() {
    return Number(scrub.value) >= samples.length - 1;
  }

  function draw() {
    const sample = samples[Math.min(Number(scrub.value), samples.length - 1)];
    if (!sample) return;
    map.update(sample.heat, sample.base);
    setText(when, isLive() ? "now" : `at ${nanoseconds(sample.now_ns)} of virtual time`);
  }

  return {
    node: h("div", {}, map.node,
      h("div", { class: "tools" },
        h("div", { class: "tools", role: "group", "aria-label": "Zoom" }, wider, closer, whole, back, on, shownPart),
        h("label", { class: "inline scrub" }, "History", scrub, when))),
    reset: () => zoom(0, 0),
    view: (mode) => map.view(mode),
    width: () => map.node.querySelector("canvas").clientWidth,
    query: () => (part ? `&first_page=${part.first}&num_pages=${part.pages}` : ""),
    update(heat, base, now_ns) {
      npages = heat.npages;
      const what = [heat.slot, heat.first_page, heat.num_pages, heat.bins].join();
      if (what !== of) samples = [];
      of = what;
      const wasLive = isLive() || samples.length < 2;
      const last = samples.at(-1);
      if (last && FIGURES.every((name) => String(last.heat[name]) === String(heat[name]))) last.now_ns = now_ns;
      else samples.push({ heat, base, now_ns });
      if (samples.length > KEPT) {
        samples.shift();
        if (!wasLive) scrub.value = String(Math.max(0, Number(scrub.value) - 1)); // the sample that is shown stays
      }
      scrub.max = String(samples.length - 1);
      if (wasLive) scrub.value = scrub.max;
      scrub.disabled = samples.length < 2;
      whole.disabled = wider.disabled = back.disabled = on.disabled = part === null;
      closer.disabled = (part?.pages ?? npages) <= LEAST_PAGES;
      setText(shownPart, part ? `pages ${count(heat.first_page)} to ${count(heat.first_page + heat.num_pages - 1)} of ${count(npages)}` : "");
      if (wasLive) draw();
    },
  };
}
