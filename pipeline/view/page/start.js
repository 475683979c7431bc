// The page: its panels, and the bar that says what all moved cuts do together.

const whatif = new WhatIf(report);
const panels = [];

function changed() {
  const numbers = whatif.numbers();
  for (const panel of panels) panel.update(numbers);
  bar.update(numbers);
}

/** The bar at the foot of the window, while a cut is moved. */
const bar = {
  node: document.getElementById("whatif"),
  text: make("p", { "aria-live": "polite" }),
  code: make("code", {}),

  build() {
    const reset = () => {
      whatif.moved.clear();
      changed();
    };
    this.node.append(
      this.text,
      make(
        "div.command",
        {},
        this.code,
        copyButton(() => this.code.textContent),
        make("button.quiet", { type: "button", onclick: reset }, "Reset all"),
      ),
    );
  },

  update({ kept, dropped, exact, known }) {
    const { books, moved } = whatif;
    this.node.hidden = !moved.size;
    if (!moved.size) return;
    const cuts = moved.size === 1 ? "With this cut" : `With these ${moved.size} cuts`;
    const about = exact ? "" : "about ";
    this.text.replaceChildren(
      ...(known
        ? [
            `${cuts} `,
            make("strong", { id: "whatif-kept" }, about + count(kept)),
            ` of ${count(books.samples)} are kept (`,
            make("span", { id: "whatif-share" }, share(kept, books.samples)),
            `, ${difference(kept - books.kept)}), `,
            make("span", { id: "whatif-dropped" }, about + count(dropped)),
            " dropped.",
          ]
        : [`What these ${moved.size} cuts keep together is not known: the page has no sample to estimate it from.`]),
    );
    breakable(this.code, whatif.options());
  },
};

function start() {
  for (const [index, rule] of report.rules.entries()) panels.push(new Panel(rule, index, whatif, changed));
  document.getElementById("panels")?.append(...panels.map(({ node }) => node));
  for (const panel of panels) if (panel.x) panel.mark();
  bar.build();
  pictureSection();
  overlapSection();
  corpusSection();
  placeholderSection();
  setTimeout(() => whatif.decode(), 300);
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

// On paper nothing can be opened or scrolled to.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
  for (const image of [...waiting.keys()]) load(image);
});

start();
