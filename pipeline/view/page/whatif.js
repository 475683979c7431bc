// What other cuts would do. One cut that is moved is looked up in its rule's arrays, which were counted over
// the whole pool. Several are counted over the sample, which holds for each row the first stop that it fails.

const NO_VALUE = 65535;
const BLOCKED = 2; // as many failed rules as it takes to be dropped by none of them alone

class WhatIf {
  constructor(report) {
    this.books = report.books;
    this.panels = new Map(report.rules.map((panel) => [panel.name, panel]));
    this.sliders = report.rules.filter((panel) => panel.slider);
    this.sample = report.sample && report.sample.rows ? report.sample : null;
    this.moved = new Map();
    this.decoded = null;
  }

  /** Where a rule's slider stands. */
  at(name) {
    return this.moved.get(name) ?? this.panels.get(name).slider.current;
  }

  move(name, index) {
    if (index === this.panels.get(name).slider.current) this.moved.delete(name);
    else this.moved.set(name, index);
  }

  /** The options that make it so. */
  options(names = [...this.moved.keys()]) {
    return names.map((name) => `--set ${quoted(this.panels.get(name).slider.set[this.at(name)])}`).join(" ");
  }

  /** {kept, dropped, exact, known, of(name) -> {passes, failsOnly, both(other)}}; null stands for not known. */
  numbers() {
    if (this.moved.size < 2) return this.counted();
    return this.sample ? this.estimated() : this.unknown();
  }

  /** Nothing or one cut is moved: all numbers are exact. */
  counted() {
    const [moved] = this.moved.keys();
    const slider = moved && this.panels.get(moved).slider;
    const index = moved && this.at(moved);
    return {
      known: true,
      exact: true,
      kept: moved ? slider.kept[index] : this.books.kept,
      dropped: moved ? slider.dropped[index] : this.books.dropped,
      of: (name) => ({
        passes: this.passes(name),
        failsOnly: this.failsOnly(name, moved, index),
        both: (other) => this.both(name, other),
      }),
    };
  }

  failsOnly(name, moved, index) {
    const own = this.panels.get(name);
    if (!moved) return own.fails_only;
    if (moved === name) return own.slider.fails_only[index];
    return this.panels.get(moved).slider.other_fails_only[name]?.[index] ?? null;
  }

  /** Samples that pass a rule, which no other rule changes. */
  passes(name) {
    const panel = this.panels.get(name);
    return panel.slider ? panel.slider.passes[this.at(name)] : panel.passes;
  }

  /** Samples that pass two rules, if at most one of the two is moved. */
  both(name, other) {
    const [one, two] = this.moved.has(other) ? [other, name] : [name, other];
    const slider = this.panels.get(one).slider;
    if (slider) return slider.passes_with[two]?.[this.at(one)] ?? null;
    const known = this.panels.get(two).slider;
    if (known) return known.passes_with[one]?.[this.at(two)] ?? null;
    return this.books.rules?.[one]?.passes_with?.[two] ?? null;
  }

  /** Several cuts are moved: counted in the sample, and multiplied. */
  estimated() {
    this.decoded ??= this.decode();
    const { rows, exact } = this.sample;
    const { kept, alone, passing } = this.tally(rows);
    const times = (number) => Math.round((number * this.books.samples) / rows);
    return {
      known: true,
      exact,
      kept: times(kept),
      dropped: this.books.samples - this.books.failed - times(kept),
      of: (name) => ({
        passes: this.passes(name),
        failsOnly: passing.has(name) ? times(alone.get(name)) : null,
        both: (other) => (this.moved.has(name) && this.moved.has(other)
          ? times(together(passing.get(name), passing.get(other))) : this.both(name, other)),
      }),
    };
  }

  unknown() {
    const none = { passes: null, failsOnly: null, both: () => null };
    const of = (name) => ({ ...none, passes: this.passes(name) });
    return { known: false, exact: false, kept: null, dropped: null, of };
  }

  decode() {
    const stops = new Map(this.sliders.map(({ name }) => [name, words(this.sample.stop[name])]));
    return { stops, fixed: bytes(this.sample.fixed) };
  }

  /** Of the sample's rows: how many pass all rules, and how many fail one rule alone; who passes what. */
  tally(rows) {
    const failed = this.decoded.fixed.map((passes) => (passes ? 0 : BLOCKED));
    const passing = new Map();
    for (const { name, missing } of this.sliders) {
      const [stops, index, ok] = [this.decoded.stops.get(name), this.at(name), new Uint8Array(rows)];
      for (let row = 0; row < rows; row++) {
        const lacks = stops[row] === NO_VALUE;
        ok[row] = !lacks && index < stops[row] ? 1 : 0;
        if (lacks ? missing !== "keep" : !ok[row]) failed[row] = Math.min(failed[row] + (lacks ? BLOCKED : 1), BLOCKED);
      }
      passing.set(name, ok);
    }
    let kept = 0;
    const alone = new Map(this.sliders.map(({ name }) => [name, 0]));
    for (let row = 0; row < rows; row++) {
      if (failed[row] === 0) kept += 1;
      else if (failed[row] === 1) {
        const name = this.culprit(row, passing);
        alone.set(name, alone.get(name) + 1);
      }
    }
    return { kept, alone, passing };
  }

  /** The one rule that a row fails. */
  culprit(row, passing) {
    const fails = ({ name }) => !passing.get(name)[row] && this.decoded.stops.get(name)[row] !== NO_VALUE;
    return this.sliders.find(fails).name;
  }
}

function together(one, two) {
  let rows = 0;
  for (let row = 0; row < one.length; row++) rows += one[row] & two[row];
  return rows;
}

const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

/** Numbers of 16 bits, little endian. */
function words(text) {
  const view = new DataView(bytes(text).buffer);
  return Uint16Array.from({ length: view.byteLength / 2 }, (_, index) => view.getUint16(2 * index, true));
}
