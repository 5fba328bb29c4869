// The entry of the page: which part is shown, and the stream of events.

import { follow, get } from "./api.js";
import { showComparison, showComparisons } from "./comparisons.js";
import { h, setText } from "./dom.js";
import { keep, showEvents } from "./events.js";
import { showMachine } from "./machine.js";
import { showMachines } from "./machines.js";
import { showMigration, showMigrations } from "./migrations.js";
import { showScenario, showScenarios } from "./scenarios.js";

const main = document.getElementById("main");
const link = document.getElementById("link");
const listeners = new Set();
let leave = () => {};

const PLACES = [
  [/^#\/$/, "machines", showMachines],
  [/^#\/vms\/([^/]+)$/, "machines", showMachine],
  [/^#\/migrations$/, "migrations", showMigrations],
  [/^#\/migrations\/([^/]+)$/, "migrations", showMigration],
  [/^#\/comparisons$/, "comparisons", showComparisons],
  [/^#\/comparisons\/([^/]+)$/, "comparisons", showComparison],
  [/^#\/scenarios$/, "scenarios", showScenarios],
  [/^#\/scenarios\/([^/]+)$/, "scenarios", showScenario],
  [/^#\/events$/, "events", showEvents],
];

/** What a part of the page receives: where to draw, and how it is notified and ended. */
class Part {
  constructor(root) {
    this.root = root;
    this.end = new AbortController();
    this.signal = this.end.signal;
  }

  /** Call back on each event, while this part is shown. */
  hear(listener) {
    listeners.add(listener);
    this.signal.addEventListener("abort", () => listeners.delete(listener));
  }

  /**
   * Do something now, after each event that concerns it, and every so often, but one after the other,
   * and not while the page is hidden. It ends when it returns false.
   */
  repeat(work, everyMs, concerns = () => false) {
    let wake = () => {};
    let isAsked = false;
    this.hear((event) => {
      if (!concerns(event)) return;
      isAsked = true;
      wake();
    });
    const rest = () => new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, everyMs);
      if (isAsked) resolve();
    });
    const go = async () => {
      while (!this.signal.aborted) {
        isAsked = false;
        if (!document.hidden && (await this.attempt(work)) === false) return;
        await rest();
      }
    };
    go();
    return () => {
      isAsked = true;
      wake();
    };
  }

  async attempt(work) {
    try {
      return await work();
    } catch (error) {
      if (this.signal.aborted) return false;
      if (error.status === 404) {
        this.root.replaceChildren(h("p", { class: "empty" }, error.message), h("a", { href: "#/" }, "All VMs"));
        return false;
      }
      return true;
    }
  }
}

function go() {
  const hash = location.hash || "#/";
  const [pattern, section, show] = PLACES.find(([each]) => each.test(hash)) ?? PLACES[0];
  leave();
  const part = new Part(h("div"));
  leave = () => part.end.abort();
  for (const anchor of document.querySelectorAll("nav a")) {
    if (anchor.dataset.section === section) anchor.setAttribute("aria-current", "page");
    else anchor.removeAttribute("aria-current");
  }
  main.replaceChildren(part.root);
  const [, name] = pattern.exec(hash) ?? [];
  document.title = name ? `${decodeURIComponent(name)} · hacdbs-sim` : "hacdbs-sim";
  show(part, name && decodeURIComponent(name));
  scrollTo(0, 0);
}

addEventListener("hashchange", go);
go();

follow(
  (event) => {
    keep(event);
    for (const listener of [...listeners]) listener(event);
  },
  (state) => {
    link.dataset.state = state;
    setText(link, state);
  },
  new AbortController().signal,
);

get("/version").then(({ version, api }) => setText(document.getElementById("version"), `${version}, API ${api}`)).catch(() => {});
