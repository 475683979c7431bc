// One panel per rule: its histogram, its slider, the numbers that follow, and the pictures at its cut.

class Panel {
  constructor(rule, index, whatif, changed) {
    this.rule = rule;
    this.whatif = whatif;
    this.changed = changed;
    this.slider = rule.slider;
    this.figures = {};
    this.id = `rule-${index}`;
    this.highIsGood = ["min", "top"].includes(rule.kind); // who passes lies right of the cut
    this.node = make(
      "article.panel",
      { id: this.id, "aria-labelledby": `${this.id}-title` },
      make(
        "h3",
        { id: `${this.id}-title` },
        rule.name,
        " ",
        make("span.bound", {}, rule.column === rule.name ? rule.bound : `${rule.column} ${rule.bound}`),
      ),
      make(
        "div.columns",
        {},
        make("div.left", {}, this.chart(), this.control(), this.command()),
        make("div.right", {}, this.tiles(), this.others()),
      ),
      this.pictures(),
    );
    this.update();
  }

  // The chart

  chart() {
    const shape = this.rule.histogram;
    if (!shape) return make("p.note", {}, "No sample has a value for this rule, so there is no chart.");
    if (shape.labels) return bars(shape, `${this.rule.column}: all samples, and kept ones`);
    this.drawing = make("div.histogram-box");
    this.paint(false);
    const logarithmic = make("input", {
      type: "checkbox",
      onchange: (event) => this.paint(event.target.checked),
    });
    const tails = [
      [shape.below, "below"],
      [shape.above, "above"],
    ].filter(([number]) => number);
    return make(
      "div",
      {},
      this.drawing,
      make(
        "p.under",
        {},
        make("span.legend-item", {}, make("i.swatch.all"), "all"),
        make("span.legend-item", {}, make("i.swatch.kept"), "kept"),
        make("label", {}, logarithmic, " logarithmic"),
        tails.length
          ? make(
              "span",
              {},
              `beyond the axis: ${tails.map(([number, side]) => `${count(number)} ${side}`).join(", ")}`,
            )
          : null,
      ),
    );
  }

  paint(logarithmic) {
    const shape = this.rule.histogram;
    const range = `${short(shape.edges[0])} to ${short(shape.edges.at(-1))}`;
    const label = `Distribution of ${this.rule.column} from ${range}, all samples and kept ones`;
    const { box, x, axis: labels } = histogram(shape, label, logarithmic);
    this.x = x;
    this.gone = make("div.gone");
    this.cut = make("div.cut");
    const first = this.slider ? this.slider.value[this.slider.current] : this.rule.cut;
    if (first !== null && first !== undefined) {
      const mark = make("div.cut.recipe", { title: "the recipe's cut" });
      mark.style.left = `${this.place(first)}%`;
      box.append(this.gone, mark, this.cut);
    }
    if (this.slider) this.follow(box);
    this.drawing.replaceChildren(box, labels);
    this.mark();
  }

  /** The cut follows a finger or a mouse on the chart. */
  follow(box) {
    const move = (event) => {
      const { left, width } = box.getBoundingClientRect();
      this.set(this.nearest(this.x.value((100 * (event.clientX - left)) / width)));
    };
    box.classList.add("draggable");
    box.addEventListener("pointerdown", (event) => {
      box.setPointerCapture(event.pointerId);
      move(event);
    });
    box.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) move(event);
    });
  }

  /** Where a bound lies on the chart: between two bars of whole numbers, on the side where samples go. */
  place(value) {
    const whole = this.rule.histogram.edges.every((edge) => Math.abs(edge % 1) === 0.5);
    const half = whole && Number.isInteger(value) ? 0.5 : 0;
    return this.x.at(this.highIsGood ? value - half : value + half);
  }

  nearest(value) {
    const distances = this.slider.value.map((stop) => Math.abs((stop ?? Infinity) - value));
    return distances.indexOf(Math.min(...distances));
  }

  mark() {
    if (!this.x || !this.cut.parentNode) return;
    const value = this.slider ? this.slider.value[this.whatif.at(this.rule.name)] : this.rule.cut;
    const percent = value === null ? 0 : this.place(value);
    this.cut.style.left = `${percent}%`;
    this.gone.style.left = this.highIsGood ? "0" : `${percent}%`;
    this.gone.style.width = `${this.highIsGood ? percent : 100 - percent}%`;
  }

  // The slider: to the right are higher values, whichever way is looser.

  control() {
    if (!this.slider) {
      return make(
        "p.note",
        {},
        "This rule has no slider: ",
        this.rule.kind === "chance" ? "each sample is drawn, by its uid and the seed." : "its bound is a list.",
      );
    }
    const last = this.slider.set.length - 1;
    this.input = make("input", {
      type: "range",
      id: `${this.id}-cut`,
      min: 0,
      max: last,
      step: 1,
      "data-rule": this.rule.name,
      oninput: () => this.set(this.turned(Number(this.input.value))),
    });
    this.bound = make("output", { for: `${this.id}-cut` });
    return make(
      "div.control",
      {},
      make("label", { for: `${this.id}-cut` }, `Cut of ${this.rule.name}`),
      this.bound,
      this.input,
    );
  }

  /** Index of a stop <-> position of the slider. Stops are loosest first. */
  turned(index) {
    return this.highIsGood ? index : this.slider.set.length - 1 - index;
  }

  set(index) {
    this.whatif.move(this.rule.name, index);
    this.changed();
  }

  command() {
    if (!this.slider) return null;
    this.code = make("code", {});
    this.reset = make(
      "button.quiet",
      { type: "button", onclick: () => this.set(this.slider.current) },
      "Reset",
    );
    return make(
      "div.command",
      {},
      this.code,
      copyButton(() => this.code.textContent),
      this.reset,
    );
  }

  // The numbers

  tiles() {
    const tile = (key, name) => {
      this.figures[key] = { number: make("span.number"), change: make("span.change") };
      return make(
        "div",
        {},
        make("dt", {}, name),
        make("dd", {}, this.figures[key].number, this.figures[key].change),
      );
    };
    return make(
      "dl.tiles",
      { "data-rule": this.rule.name },
      tile("passes", "Pass this rule"),
      tile("failsOnly", "Dropped by it alone"),
      tile("kept", "Kept in all"),
      tile("share", "Share kept"),
    );
  }

  others() {
    const names = [...this.whatif.panels.keys()].filter((name) => name !== this.rule.name);
    if (!names.length) return null;
    this.rows = names.map((name) => ({ name, pass: make("td"), fail: make("td") }));
    const heads = ["With", "pass both", "fail both"].map((title) => make("th", { scope: "col" }, title));
    const lines = this.rows.map(({ name, pass, fail }) =>
      make("tr", { "data-other": name }, make("th", { scope: "row" }, name), pass, fail),
    );
    return scrolling(
      `Overlap of ${this.rule.name} with every other rule`,
      make("table.others", {}, make("thead", {}, make("tr", {}, heads)), make("tbody", {}, lines)),
    );
  }

  /** Show the numbers as the cuts stand now. */
  update(numbers = this.whatif.numbers()) {
    const { books } = this.whatif;
    const own = numbers.of(this.rule.name);
    const about = numbers.exact ? "" : "about ";
    this.tell("passes", own.passes, this.rule.passes);
    this.tell("failsOnly", own.failsOnly, this.rule.fails_only, about);
    this.tell("kept", numbers.kept, books.kept, about);
    const part = numbers.kept === null ? "not known" : about + share(numbers.kept, books.samples);
    write(this.figures.share.number, part);
    this.overlap(own);
    if (this.slider) this.stand();
  }

  tell(key, number, before, about = "") {
    const { number: shown, change } = this.figures[key];
    write(shown, number === null ? "not known" : about + count(number));
    write(change, number === null || number === before ? "" : difference(number - before));
  }

  overlap(own) {
    for (const { name, pass, fail } of this.rows || []) {
      const both = own.both(name);
      const neither = this.whatif.books.samples - own.passes - this.whatif.passes(name) + both;
      write(pass, both === null ? "–" : count(both));
      write(fail, both === null ? "–" : count(neither));
    }
  }

  stand() {
    const index = this.whatif.at(this.rule.name);
    const label = this.slider.label[index];
    this.input.value = this.turned(index);
    this.input.setAttribute("aria-valuetext", label);
    this.bound.textContent = label;
    breakable(this.code, `--set ${quoted(this.slider.set[index])}`);
    this.reset.disabled = index === this.slider.current;
    this.node.classList.toggle("moved", index !== this.slider.current);
    this.mark();
  }

  // The pictures

  pictures() {
    const groups = (report.pictures?.groups || []).filter(
      (group) => group.rule === this.rule.name && group.ids.length,
    );
    return groups.length ? tabs(this.rule.name, groups, this.highIsGood) : null;
  }
}
