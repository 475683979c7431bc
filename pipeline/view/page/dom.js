// The report, elements, numbers and texts. Texts of the pool become text nodes: nothing here parses HTML.

const report = JSON.parse(document.getElementById("report").textContent);

/** An element: make("p.note", {title: "…"}, "text", child). What is null or false is left out. */
function make(what, attributes = {}, ...children) {
  const [name, ...classes] = what.split(".");
  return fill(document.createElement(name), classes, attributes, children);
}

/** An element of an SVG drawing, as `make` makes one of HTML. */
function draw(what, attributes = {}, ...children) {
  const [name, ...classes] = what.split(".");
  return fill(document.createElementNS("http://www.w3.org/2000/svg", name), classes, attributes, children);
}

function fill(node, classes, attributes, children) {
  if (classes.length) node.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) {
      node.setAttribute(key, value === true ? "" : value);
    }
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** Change a text, if it is another one: what stays as it is need not be laid out again. */
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const COUNT = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** 1,234,567 */
const count = (number) => COUNT.format(number);

/** A part in percent, or "-" of nothing. A tie (72.25) is rounded as Python does it, so that the page says the
 * same as the terminal. */
function share(part, whole) {
  if (!whole) return "-";
  const percent = (part / whole) * 100;
  return `${(percent % 1 === 0.25 ? percent - 0.05 : percent).toFixed(1)}%`;
}

/** +1,234, −12 or ±0 */
function difference(number) {
  if (!number) return "±0";
  return (number > 0 ? "+" : "−") + count(Math.abs(number));
}

/** A value in few digits: 0.2813, 12, 1.2e-7. Texts as they are. */
function short(value, digits = 4) {
  if (value === null || value === undefined) return "no value";
  if (typeof value === "object") return JSON.stringify(value);
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return Math.abs(value) < 1e15 ? count(value) : value.toExponential(2);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-4 || size >= 1e7)) return value.toExponential(2);
  return String(Number(value.toPrecision(Math.max(digits, Math.ceil(Math.log10(size || 1))))));
}

/** A command, which may be broken after its dots, and before `--set`, but not inside of words. */
function breakable(code, text) {
  if (code.textContent === text) return;
  const parts = text.split(/(?<=[:,/ ])|(?<=[.])(?=\D)/).flatMap((part) => [make("span", {}, part), make("wbr")]);
  code.replaceChildren(...parts);
}

/** The beginning of a text, cut between characters and not inside of one. */
function beginning(text, most) {
  const characters = Array.from(text.slice(0, 4 * most));
  return characters.length <= most ? characters.join("") : `${characters.slice(0, most).join("")}…`;
}

/** An argument of a command line, in quotes if the shell would read more than text. */
const quoted = (text) => (/^[\w.=+:,/@%-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

/** A text to copy, with a button that copies it. `text()` is asked when the button is pressed. */
function copyButton(text, label = "Copy") {
  return make("button.quiet", { type: "button", onclick: () => copy(text()) }, label);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea.hidden");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  say("Copied");
}

/** Tell those who listen, and show it for a moment. */
function say(text) {
  const said = document.getElementById("said");
  said.textContent = text;
  said.className = "toast";
  setTimeout(() => {
    said.className = "hidden";
  }, 1500);
}

/** A table; the first cell of a row is its header. Cells are texts, numbers or elements. */
function table(head, rows, name = "table.data") {
  const cell = (value) => (typeof value === "number" ? count(value) : value);
  return make(
    name,
    {},
    make(
      "thead",
      {},
      make(
        "tr",
        {},
        head.map((title) => make("th", { scope: "col" }, title)),
      ),
    ),
    make(
      "tbody",
      {},
      rows.map(([first, ...rest]) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, isolated(cell(first))),
          rest.map((value) => make("td", {}, cell(value))),
        ),
      ),
    ),
  );
}

/** A text of the pool inside our own: its direction does not leak out. */
const isolated = (value) => (typeof value === "string" ? make("bdi", {}, value) : value);

/** What is wider than the page scrolls in a box of its own, which the keyboard reaches. */
const scrolling = (label, ...children) =>
  make("div.scroll", { tabindex: 0, role: "region", "aria-label": label }, ...children);

/** A part that is built when it is opened. */
function folded(summary, build, open = false) {
  const details = make("details", { open }, make("summary", {}, summary));
  const once = () => {
    if (details.open && details.children.length === 1) details.append(build());
  };
  details.addEventListener("toggle", once);
  once();
  return details;
}

// A picture gets its bytes when it comes near the window, so that a page of many pictures opens at once.
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) if (isIntersecting) load(target);
  },
  { rootMargin: "400px" },
);
const waiting = new Map();

function load(image) {
  near.unobserve(image);
  if (waiting.has(image)) image.src = waiting.get(image);
  waiting.delete(image);
}

/** A picture out of the page itself. */
function picture(data, alt, name = "img") {
  const image = make(name, { alt, decoding: "async" });
  if (!/^data:image\/(jpeg|png|webp);/.test(data)) return image;
  waiting.set(image, data);
  near.observe(image);
  return image;
}
