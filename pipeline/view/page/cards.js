// Samples: cards in a row, and one sample in full in a dialog.

const CUT = 280; // characters of a caption on a card; the dialog shows all of them
const TEXTS = "table.data.texts";

/** A card: a picture, its caption, its fate and the value that its rule judged. */
function card(sample, rule, ids, number) {
  const judged = sample.rules.find((verdict) => verdict.rule === rule);
  const open = () => show(ids, number);
  const caption = sample.captions.length ? beginning(sample.captions[0], CUT) : null;
  const said = caption ? `“${beginning(caption, 80)}”` : "Without caption";
  const name = `${said}, ${sample.fate}. Show the sample.`;
  return make(
    "figure.card",
    {},
    make(
      pictured ? "button.open" : "button.open.flat",
      { type: "button", "aria-haspopup": "dialog", "aria-label": name, onclick: open },
      thumbnail(sample),
    ),
    make(
      "figcaption",
      {},
      caption ? make("p.caption", { dir: "auto" }, caption) : make("p.caption.none", {}, "no caption"),
      make(
        "p.facts",
        {},
        fate(sample.fate),
        judged ? make("span.value", {}, short(judged.value)) : null,
        sample.captions.length > 1 ? make("span.more", {}, `${sample.captions.length} captions`) : null,
      ),
    ),
  );
}

/** Whether any card has a picture. A pool without pictures has flat cards. */
const pictured = Object.values(report.pictures?.cards || {}).some((sample) => sample.picture);

/** A sample's picture, or why there is none. */
function thumbnail(sample) {
  if (sample.picture) return picture(sample.picture, "");
  return make("span.absent", {}, beginning(sample.why_no_picture || "no picture", 120));
}

const fate = (text) => make(`span.fate.${text}`, {}, text);

/** Cards beside each other. `rule`: whose value they show. */
function cards(ids, rule) {
  const known = ids.filter((id) => report.pictures.cards[id]);
  const shown = known.map((id, index) =>
    make("li", {}, card(report.pictures.cards[id], rule, known, index)),
  );
  return make("ul.cards", {}, shown);
}

const dialog = document.getElementById("sample");
let opener = null;

/** Show a sample of some in the dialog. */
function show(ids, index) {
  const sample = report.pictures.cards[ids[index]];
  opener ??= document.activeElement;
  dialog.replaceChildren(top(ids, index), body(sample));
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
}

function top(ids, index) {
  const step = (by, label, sign) =>
    make(
      "button.quiet",
      {
        type: "button",
        "aria-label": label,
        disabled: !ids[index + by],
        onclick: () => step_to(ids, index + by, label),
      },
      sign,
    );
  return make(
    "div.top",
    {},
    make("h2", { id: "sample-title" }, ids.length > 1 ? `Sample ${index + 1} of ${ids.length}` : "Sample"),
    step(-1, "Previous sample", "←"),
    step(1, "Next sample", "→"),
    make("button.quiet", { type: "button", "aria-label": "Close", onclick: () => dialog.close() }, "✕"),
  );
}

function step_to(ids, index, label) {
  show(ids, index);
  const again = dialog.querySelector(`button[aria-label="${label}"]`);
  (again.disabled ? dialog.querySelector('button[aria-label="Close"]') : again).focus();
}

dialog.addEventListener("close", () => {
  dialog.replaceChildren();
  opener?.focus();
  opener = null;
});
dialog.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});
dialog.addEventListener("keydown", (event) => {
  const label = { ArrowLeft: "Previous sample", ArrowRight: "Next sample" }[event.key];
  if (label && !event.target.closest(".scroll"))
    dialog.querySelector(`button[aria-label="${label}"]:enabled`)?.click();
});

function body(sample) {
  return make(
    "div.sample",
    {},
    make(
      "div.views",
      {},
      view(sample, "as it is in the pool", sample.picture, sample.boxes),
      sample.masked ? view(sample, "with its text masked", sample.masked, []) : null,
    ),
    make("div.said", {}, captions(sample), facts(sample)),
    verdicts(sample),
    evidence(sample),
    neighbours(sample),
  );
}

/** A picture with the boxes of its text drawn over it. */
function view(sample, what, data, boxes) {
  if (!data) return make("p.absent", {}, sample.why_no_picture || "no picture");
  const image = picture(
    data,
    `The picture ${what}: ${beginning(sample.captions[0] || "without caption", 120)}`,
  );
  const frame = make("div.frame", {}, image);
  image.addEventListener("load", () => {
    const [width, height] = [image.naturalWidth, image.naturalHeight];
    frame.style.aspectRatio = `${width} / ${height}`;
    frame.style.maxWidth = `${Math.max(200, Math.min(480, 2 * width, (480 * width) / height))}px`;
    if (boxes.length) frame.append(overlay(boxes, width, height));
  });
  load(image);
  return make(
    "figure.view",
    {},
    frame,
    make("figcaption", {}, boxes.length ? `${what}, ${boxed(boxes)}` : what),
  );
}

const boxed = (boxes) => (boxes.length === 1 ? "one text box" : `${boxes.length} text boxes`);

function overlay(boxes, width, height) {
  const polygons = boxes.map(({ points, word }) =>
    draw(
      "polygon",
      {
        points: points.map((point) => point.join(",")).join(" "),
        "vector-effect": "non-scaling-stroke",
      },
      draw("title", {}, word || "text"),
    ),
  );
  return draw(
    "svg.overlay",
    { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    polygons,
  );
}

function captions(sample) {
  if (!sample.captions.length) return make("p.caption.none", {}, "no caption");
  const quote = (text) =>
    make("blockquote", { dir: "auto" }, text === "" ? make("span.none", {}, "an empty caption") : text);
  return make("div.captions", {}, sample.captions.map(quote));
}

function facts(sample) {
  const size = sample.width ? `${count(sample.width)} × ${count(sample.height)} pixels` : null;
  const words = (sample.boxes || [])
    .map((box) => box.word)
    .filter(Boolean)
    .join(" ");
  const rows = [
    ["fate", fate(sample.fate)],
    ["lacks", sample.lacks],
    ["words in the picture", words],
    ["size", size],
    ["url", sample.url],
    ["shard", sample.shard],
    ["key", sample.key],
    ["uid", sample.uid && uid(sample.uid)],
  ];
  const items = rows
    .filter(([, value]) => value)
    .map(([name, value]) => [make("dt", {}, name), make("dd", { dir: "auto" }, value)]);
  return make("dl.facts", {}, items);
}

const uid = (text) =>
  make(
    "span.uid",
    {},
    make("code", {}, text),
    copyButton(() => text),
  );

function verdicts(sample) {
  if (!sample.rules.length) return null;
  const rows = sample.rules.map((rule) => [
    rule.rule,
    short(rule.value),
    isolated(rule.bound),
    make(`span.verdict.${rule.verdict.split(/\W/)[0]}`, {}, rule.verdict),
    isolated(why(rule)),
  ]);
  const heads = ["rule", "value", "bound", "verdict", "why"];
  return make("section", {}, make("h3", {}, "Verdicts"), scrolling("Verdicts", table(heads, rows, TEXTS)));
}

/** Why a rule found no value, or what was drawn where it is a chance. */
const why = (rule) => rule.why || (typeof rule.draw === "number" ? `drew ${short(rule.draw)}` : "");

/** A value, in quotes if it is a text without letter and digit: `-` looks like a missing one. */
const unmistakable = (value) =>
  typeof value === "string" && !/[\p{L}\p{N}]/u.test(value) ? `"${value}"` : short(value);

/** What operators show for their values: a table each. */
function evidence(sample) {
  return Object.entries(sample.evidence || {}).map(([operator, rows]) => {
    const heads = Object.keys(rows[0] || {});
    if (!heads.length) return null;
    const cells = rows.map((row) => heads.map((head) => isolated(unmistakable(row[head]))));
    const names = heads.map((head) => head.replaceAll("_", " "));
    return make(
      "section",
      {},
      make("h3", {}, `What ${operator} saw`),
      scrolling(`What ${operator} saw`, table(names, cells, TEXTS)),
    );
  });
}

function neighbours(sample) {
  const ids = (sample.neighbours || []).filter((id) => report.pictures.cards[id]);
  return ids.length ? make("section", {}, make("h3", {}, "Nearest neighbours"), cards(ids)) : null;
}
