// How rules overlap: an UpSet plot (Lex et al., 2014), the same as a table, and what it says in words.

const CELL = 22; // pixels from one dot to the next
const COMPACT = new Intl.NumberFormat("en-US", { notation: "compact", maximumSignificantDigits: 2 });
const ROOM = 120; // pixels for the bars above the dots

/** The plot: a column per set of rules that samples fail, and a row per rule. */
function upset(overlap, rules) {
  const columns = overlap.filter(({ fails }) => fails && fails.length);
  const order = [...rules]
    .sort((one, two) => two.fails - one.fails)
    .filter(({ name }) => columns.some(({ fails }) => fails.includes(name)));
  const most = Math.max(1, ...columns.map(({ count: number }) => number));
  const label = `${columns.length} sets of rules that samples fail together, as in the table below`;
  const wide = columns.length * CELL;
  const drawing = draw(
    "svg.upset",
    { width: wide, height: ROOM + order.length * CELL, role: "img", "aria-label": label },
    order.map((_, row) =>
      row % 2 ? null : draw("rect.stripe", { y: ROOM + row * CELL, width: wide, height: CELL }),
    ),
    columns.map(({ fails, count: number }, index) => column(order, fails, number / most, number, index)),
  );
  const names = make(
    "ul.upset-names",
    { "aria-hidden": "true" },
    order.map((rule) =>
      make("li", {}, make("span", {}, rule.name), " ", make("span.number", {}, count(rule.fails))),
    ),
  );
  return make("div.upset-box", {}, names, scrolling("Sets of rules that samples fail together", drawing));
}

function column(order, fails, part, number, index) {
  const x = index * CELL + CELL / 2;
  const rows = order
    .map(({ name }, row) => (fails.includes(name) ? row : null))
    .filter((row) => row !== null);
  const y = (row) => ROOM + row * CELL + CELL / 2;
  const tall = part * (ROOM - 20);
  return draw(
    "g",
    {},
    draw("title", {}, `${count(number)} fail ${fails.join(" and ")}`),
    draw("rect.hit", { x: x - CELL / 2, width: CELL, height: ROOM + order.length * CELL }),
    draw("rect.dropped", { x: x - 7, y: ROOM - 4 - tall, width: 14, height: Math.max(1, tall) }),
    draw("text.tally", { x, y: ROOM - 8 - tall, "text-anchor": "middle" }, compact(number)),
    order.map((_, row) =>
      draw(rows.includes(row) ? "circle.on" : "circle.off", { cx: x, cy: y(row), r: 5 }),
    ),
    rows.length > 1 ? draw("line.link", { x1: x, x2: x, y1: y(rows[0]), y2: y(rows.at(-1)) }) : null,
  );
}

/** 123, 4.2K, 13M: short enough to stand above a bar. */
const compact = (number) => (number < 1000 ? count(number) : COMPACT.format(number));

/** The same as a table. */
function overlapTable(overlap, samples) {
  const rows = overlap.map(({ fails, count: number }) => [
    fails === null ? "all other sets" : fails.join(" and ") || "no rule",
    number,
    share(number, samples),
  ]);
  return scrolling("Sets of rules as a table", table(["Samples that fail", "samples", "share"], rows));
}

/** Which rules do work that no other does, and which two fail together most. */
function overlapWords(overlap, rules) {
  const idle = rules.filter(({ fails }) => !fails).map(({ name }) => name);
  const covered = rules.filter((rule) => rule.fails && !rule.fails_only).map(({ name }) => name);
  const alone = [...rules].sort((one, two) => two.fails_only - one.fails_only)[0];
  const pair = overlap.find(({ fails }) => fails && fails.length === 2);
  const list = (names) => names.join(", ");
  return make(
    "ul.findings",
    {},
    alone?.fails_only
      ? make(
          "li",
          {},
          `${alone.name} drops the most samples that no other rule drops: ${count(alone.fails_only)}.`,
        )
      : null,
    pair
      ? make(
          "li",
          {},
          `Of samples that fail two rules and no other, most fail `,
          `${pair.fails.join(" and ")}: ${count(pair.count)}.`,
        )
      : null,
    covered.length
      ? make("li", {}, `Without any one of these, nothing more would be kept, since other rules fail all that it fails: ${list(covered)}.`)
      : null,
    idle.length ? make("li", {}, `No sample fails: ${list(idle)}.`) : null,
  );
}
