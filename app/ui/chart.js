// Charts of migrations: what was left after each pass, and when the switch-over was allowed.

import { h, s } from "./dom.js";
import { bytes, count, nanoseconds } from "./format.js";

const WIDE = 760;
const NARROW = 380; // of a phone: a chart is drawn as wide as it is shown, so that its figures can be read
const PHONE = matchMedia("(max-width: 640px)");
const HEIGHT = 310;
const LEFT = 64;
const RIGHT = 12;
const TOP = 30;
const BOTTOM = 40;
const INNER_HEIGHT = HEIGHT - TOP - BOTTOM;

/** The largest of some values, as a round figure of bytes. */
function ceiling(values) {
  const most = Math.max(1, ...values);
  const unit = 2 ** Math.floor(Math.log2(most));
  return [1, 1.25, 1.5, 1.75, 2].map((factor) => factor * unit).find((value) => value >= most);
}

/** A scale from nothing to the top: its ticks, and the place of a value between 0 and 1. */
const linear = (top) => ({ ticks: [0, 0.25, 0.5, 0.75, 1].map((part) => top * part), part: (value) => value / top });

/** The same by powers: each pass that halves what is left goes down by as much. It begins at a page. */
function logarithmic(top, floor) {
  const span = Math.max(1, Math.log2(top / floor));
  const ticks = Array.from({ length: Math.floor(span / 4) + 1 }, (_, step) => floor * 16 ** step);
  return { ticks, part: (value) => (value > floor ? Math.log2(value / floor) / span : 0) };
}

const widthNow = () => (PHONE.matches ? NARROW : WIDE);

const yOf = (value, scale) => TOP + INNER_HEIGHT * (1 - scale.part(value));

function frame(label, scale, width, text, axis) {
  const chart = s("svg", { class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": label });
  for (const tick of scale.ticks) {
    const y = yOf(tick, scale);
    chart.append(
      s("line", { class: tick === scale.ticks[0] ? "axis" : "grid-line", x1: LEFT, x2: width - RIGHT, y1: y, y2: y }),
      s("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, text(tick)),
    );
  }
  chart.append(
    s("text", { class: "title", x: 4, y: 14 }, axis),
    s("text", { class: "title", x: width / 2, y: HEIGHT - 4, "text-anchor": "middle" }, "pass"),
  );
  return chart;
}

function numbered(chart, passes, xOf, width) {
  const step = Math.ceil((passes * 48) / width);
  for (let pass = 0; pass < passes; pass += step) {
    chart.append(s("text", { x: xOf(pass), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle" }, String(pass)));
  }
}

/** What was changed in each pass, as one line of text by pass. */
function changesByPass(changes) {
  const texts = new Map();
  for (const { iteration, command, settings } of changes) {
    const given = Object.entries(settings).filter(([, value]) => value !== null).map(([name, value]) => `${name} ${typeof value === "object" ? "changed" : count(value)}`);
    const text = [command, ...given].filter(Boolean).join(", ");
    texts.set(iteration, texts.has(iteration) ? `${texts.get(iteration)}; ${text}` : text);
  }
  return texts;
}

/** Draw one migration: for each pass what was sent and what was dirty again, against the limit. */
export function convergence({ iterations, spec, qmp, changes, origin }, isLogarithmic) {
  if (!qmp.ram) return h("p", { class: "quiet" }, "No figures in this state.");
  const size = origin.vm.page_size;
  const rows = iterations.map((row) => ({ ...row, left: row.remaining_pages * size }));
  const limit = ((spec.switchover_bandwidth_bytes_per_second ?? spec.bandwidth_bytes_per_second) * spec.downtime_limit_ns) / 1e9;
  const top = ceiling([qmp.ram.total / 8, ...rows.flatMap((row) => [row.sent_bytes, row.left])]);
  const scale = isLogarithmic ? logarithmic(top, size) : linear(top);
  const last = rows.at(-1);
  const state = last ? `after pass ${last.iteration} ${bytes(last.left)} are left, and ${bytes(limit)} may be` : "no pass has ended";
  const width = widthNow();
  const chart = frame(`Convergence: ${state}.`, scale, width, bytes, isLogarithmic ? "bytes, log scale" : "bytes");
  const slots = Math.max(rows.length, 6);
  const pitch = (width - LEFT - RIGHT) / slots;
  const xOf = (index) => LEFT + pitch * (index + 0.5);
  const wide = Math.min(22, pitch * 0.36);
  rows.forEach((row, index) => {
    const column = (value, shift, name) => s("rect", {
      class: name, x: xOf(index) + shift, y: yOf(value, scale), width: wide, height: Math.max(value ? 1.5 : 0, TOP + INNER_HEIGHT - yOf(value, scale)), rx: 2,
    }, s("title", {}, `Pass ${row.iteration}: ${bytes(row.sent_bytes)} sent, ${count(row.dirty_pages)} pages dirty, ${bytes(row.left)} left`));
    chart.append(column(row.sent_bytes, -wide - 1, "bar-sent"), column(row.left, 1, "bar-left"));
  });
  for (const [pass, text] of changesByPass(changes)) {
    const x = xOf(Math.min(pass, slots - 1)) - pitch / 2;
    chart.append(s("path", { class: "change", d: `M${x} ${TOP}V${TOP + INNER_HEIGHT}` }, s("title", {}, `Pass ${pass}: ${text}`)));
  }
  rows.forEach((row, index) => {
    if (row.phase !== "active" && (index === 0 || rows[index - 1].phase !== row.phase)) {
      chart.append(s("text", { class: "phase", x: xOf(index), y: TOP - 4, "text-anchor": "middle" }, row.phase));
    }
  });
  const y = yOf(Math.min(limit, top), scale);
  chart.append(s("path", { class: "limit", d: `M${LEFT} ${y}H${width - RIGHT}` }));
  numbered(chart, rows.length, xOf, width);
  return chart;
}

/** A logarithmic scale of times, from a power of ten below the least. */
function times(values) {
  const some = values.filter((value) => value > 0);
  const floor = some.length ? 10 ** Math.floor(Math.log10(Math.min(...some))) : 1;
  const span = Math.max(1, Math.log10(Math.max(floor * 10, ...some) / floor));
  const ticks = Array.from({ length: Math.floor(span + 1e-9) + 1 }, (_, step) => floor * 10 ** step);
  return { ticks, part: (value) => (value > floor ? Math.log10(value / floor) / span : 0) };
}

function lines(what, axis, reports, valueOf, scaleOf, text) {
  const drawn = reports.map((report) => ({ name: report.name, values: report.iterations.map((row) => valueOf(row, report)) }));
  const scale = scaleOf(drawn.flatMap((line) => line.values));
  const passes = Math.max(2, ...drawn.map((line) => line.values.length));
  const width = widthNow();
  const xOf = (pass) => LEFT + ((width - LEFT - RIGHT) * (pass + 0.5)) / passes;
  const chart = frame(`${what}, of ${drawn.map((line) => line.name).join(", ")}.`, scale, width, text, axis);
  drawn.forEach(({ values }, index) => {
    const d = values.map((value, pass) => `${pass ? "L" : "M"}${xOf(pass).toFixed(1)} ${yOf(value, scale).toFixed(1)}`).join("");
    if (d) chart.append(s("path", { class: `line s${index}`, d }));
  });
  numbered(chart, passes, xOf, width);
  return chart;
}

/** Draw several migrations: what each had left after each pass, as a line. */
export function comparison(reports, pageSize) {
  const scale = (values) => logarithmic(ceiling(values), pageSize);
  return lines("Bytes left after each pass", "bytes, log scale", reports, (row) => row.remaining_pages * pageSize, scale, bytes);
}

/** Draw what the gets and clears of each pass cost. */
export function costs(reports) {
  return lines("Time to get and clear in each pass", "virtual time, log scale", reports, (row) => row.get_ns + row.clear_ns, times, nanoseconds);
}

/** Say which line is whose. */
export function lineKey(names) {
  return h("div", { class: "legend" }, names.map((name, index) => h("span", {},
    s("svg", { class: "chart key", viewBox: "0 0 26 10" }, s("path", { class: `line s${index}`, d: "M0 5H26" })), name)));
}

/** Say which bar is what, and what the dashed line means. */
export function barKey() {
  const key = (mark, text) => h("span", {}, s("svg", { class: "chart key", viewBox: "0 0 26 10" }, mark), text);
  const bar = (name) => s("rect", { class: name, x: 7, width: 10, height: 10, rx: 2 });
  return h("div", { class: "legend" },
    key(bar("bar-sent"), "sent in the pass"),
    key(bar("bar-left"), "left after it"),
    key(s("path", { class: "limit", d: "M0 5H26" }), "may be left to switch over"),
    key(s("path", { class: "change", d: "M13 0V10" }), "settings changed"));
}

/** Draw an amount of each name as a bar with its figure. */
export function amounts(rows, text) {
  const most = Math.max(1, ...rows.map(([, value]) => value));
  return h("div", { class: "amounts" }, rows.flatMap(([name, value]) => [
    h("span", {}, name),
    s("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" },
      s("rect", { width: (100 * value) / most, height: 14 })),
    h("span", { class: "number" }, text(value)),
  ]));
}
