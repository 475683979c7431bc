// The sections below the rules: pictures of no rule, the overlap, the corpus, placeholders.

function overlapSection() {
  const place = document.getElementById("upset");
  place?.append(
    overlapWords(report.overlap, report.rules),
    upset(report.overlap, report.rules),
    folded("As a table", () => overlapTable(report.overlap, report.books.samples)),
  );
}

function pictureSection() {
  const groups = report.pictures ? report.pictures.groups.filter(({ rule }) => !rule) : [];
  document
    .getElementById("groups")
    ?.append(
      ...groups.map((group) =>
        make(
          "div.group",
          {},
          make("h3", {}, group.title),
          group.ids.length ? cards(group.ids) : make("p.note", {}, "None."),
        ),
      ),
    );
}

function corpusSection() {
  document.getElementById("charts")?.append(...report.corpus.map(corpusChart));
}

function corpusChart(chart) {
  const label = `${chart.title}: all samples, and kept ones`;
  return make(
    "figure.corpus",
    {},
    make("figcaption", {}, chart.title),
    drawn(chart, label),
    chart.note ? make("p.note", {}, chart.note) : null,
    chart.kind === "bars" ? null : folded("As a table", () => corpusTable(chart)),
  );
}

function drawn(chart, label) {
  if (!chart.all.length) return make("p.note", {}, "Nothing to show.");
  if (chart.kind === "bars") return bars(chart, label);
  if (chart.kind === "loglog") return make("div.loglog", {}, loglog(chart, label));
  const { box, axis: labels } = even(chart.edges) ? histogram(chart, label) : columns(chart, label);
  return make("div", {}, box, labels);
}

function corpusTable({ title, edges, ranks, all, kept }) {
  const name = (index) =>
    ranks ? `rank ${count(ranks[index])}` : `${short(edges[index])} to ${short(edges[index + 1])}`;
  return scrolling(
    title,
    table(
      ["place", "all", "kept"],
      all.map((number, index) => [name(index), number, kept[index]]),
    ),
  );
}

function placeholderSection() {
  const { pictures = [], captions: texts = [], told_by: by } = report.placeholders || {};
  const place = document.getElementById("repeats");
  place?.append(
    make("h3", {}, "The same picture under many captions"),
    by ? make("p.note", {}, toldBy(by)) : null,
    pictures.length
      ? make("ul.repeats", {}, pictures.map(samePicture))
      : make("p.note", {}, "None was found."),
    make("h3", {}, "The same caption under many pictures"),
    texts.length ? make("ul.repeats", {}, texts.map(sameCaption)) : make("p.note", {}, "None was found."),
  );
}

/** Which pictures are looked for: this is no comparison of their bytes. */
function toldBy(by) {
  const missed = by === "URL" ? "from another URL" : "that was encoded anew";
  return `Pictures of equal ${by} count as the same, since the pool has no digest of their bytes. A copy ${missed} is not found.`;
}

function samePicture({ count: number, captions: different, shown, checked, identical }) {
  const words = [`${count(number)} samples`, `${count(different)} captions`];
  if (checked) words.push(`${count(identical)} of ${count(checked)} that were compared look the same`);
  return make("li", {}, make("p.facts", {}, words.join(" · ")), repeated(shown));
}

function sameCaption({ count: number, caption, pictures: different, shown }) {
  return make(
    "li",
    {},
    make("blockquote", { dir: "auto" }, caption === "" ? "an empty caption" : beginning(caption, CUT)),
    make(
      "p.facts",
      {},
      [`${count(number)} samples`, different ? `${count(different)} different pictures, told apart by ${report.placeholders.told_by}` : null]
        .filter(Boolean)
        .join(" · "),
    ),
    repeated(shown),
  );
}

const repeated = (ids) => (report.pictures && ids?.length ? cards(ids) : null);
