// Elements, and lists that keep theirs: what has the focus stays in place while figures change.

/** Make an element; children other than nodes become text, so nothing is ever read as markup. */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  set(node, attributes);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";

/** Make an element of a drawing. */
export function s(tag, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
}

/** Say something else in a node, if it is something else. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/**
 * Make a list's children follow its items. A child is made once for each key, by
 * make(item) -> {node, update(item)}, and kept.
 */
export function keyed(parent, make, keyOf) {
  const known = new Map();
  return (items) => {
    const keys = new Set();
    let previous = null;
    for (const item of items) {
      const key = keyOf(item);
      keys.add(key);
      if (!known.has(key)) known.set(key, make(item));
      const child = known.get(key);
      child.update?.(item);
      const place = previous ? previous.nextSibling : parent.firstChild;
      if (place !== child.node) parent.insertBefore(child.node, place);
      previous = child.node;
    }
    for (const [key, child] of known) {
      if (keys.has(key)) continue;
      child.node.remove();
      known.delete(key);
    }
  };
}

/** Make a table; gives the node and a function that shows rows, each known by its key. */
export function table(label, columns, keyOf, nothing) {
  const body = h("tbody");
  const heads = columns.map(({ name, number }) => h("th", { scope: "col", class: number && "number" }, name));
  const empty = h("p", { class: "empty" }, nothing);
  const scroll = h("div", { class: "scroll" }, h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, heads)), body));
  const show = keyed(body, (item) => row(columns, item), keyOf);
  return {
    node: h("div", { class: "list" }, scroll, empty),
    update(items) {
      empty.hidden = items.length > 0;
      scroll.hidden = items.length === 0;
      show(items);
    },
  };
}

function row(columns, first) {
  const cells = columns.map(({ number, node, mono }) => {
    const cell = h("td", { class: [number && "number", mono && "mono"].filter(Boolean).join(" ") });
    if (node) cell.append(node(first));
    return cell;
  });
  return {
    node: h("tr", {}, cells),
    update(item) {
      columns.forEach(({ text, change }, index) => {
        if (text) setText(cells[index], text(item));
        if (change) change(cells[index].firstChild, item);
      });
    },
  };
}

/** Make a card with a heading; tools stand at its right. */
export function card(title, size, tools, ...children) {
  const id = `card-${title.toLowerCase().replace(/[^a-z]+/g, "-")}`;
  return h("section", { class: `card ${size}`, "aria-labelledby": id },
    h("header", {}, h("h2", { id }, title), ...tools), ...children);
}

/** Make a labelled field. */
export function field(label, input) {
  return h("label", {}, label, input);
}

/** Make a choice of one among named values. */
export function choice(name, values, chosen) {
  return h("select", { name }, values.map(([value, text]) =>
    h("option", { value, selected: value === chosen }, text)));
}

/** Make buttons of which one is pressed; chosen(value) is called when another is. */
export function segments(label, values, chosen) {
  const group = h("div", { class: "segments", role: "group", "aria-label": label }, values.map(([value, text], index) =>
    h("button", { type: "button", "aria-pressed": String(index === 0), onclick: (event) => {
      for (const each of group.children) each.setAttribute("aria-pressed", String(each === event.currentTarget));
      chosen(value);
    } }, text)));
  return group;
}

/** Tell the user something that goes away by itself; a refusal stays longer. */
export function notify(text, tone = "good") {
  const node = h("div", { class: "notice", "data-tone": tone, role: tone === "bad" ? "alert" : null }, text);
  document.getElementById("notices").append(node);
  setTimeout(() => node.remove(), tone === "bad" ? 9000 : 3500);
}

/** Run a button's action: the button is disabled meanwhile, and a refusal is shown. */
export async function act(button, work) {
  if (button) button.disabled = true;
  try {
    return await work();
  } catch (error) {
    notify(error.message, "bad");
    return undefined;
  } finally {
    if (button) button.disabled = false;
  }
}

/** Have a form do some work when it is sent. */
export function submits(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const button = form.querySelector("button:not([type=button])");
    act(button, () => work(Object.fromEntries(new FormData(form))));
  });
  return form;
}

/** Ask whether to do what cannot be undone; the answer is true or false. */
export function confirmed(question, consequence, verb) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { "aria-labelledby": "confirm-title" },
      h("form", { method: "dialog" },
        h("h2", { id: "confirm-title" }, question),
        h("p", { class: "quiet" }, consequence),
        h("div", { class: "actions" },
          h("button", { value: "no", autofocus: true }, "Keep"),
          h("button", { class: "danger", value: "yes" }, verb))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
