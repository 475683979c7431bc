// What other cuts would do. One cut that is moved is looked up in its rule's arrays, which were counted over
// the whole pool. Several are counted over the sample, which holds for each row the first stop that it fails.

const NO_VALUE = 65535;
const MOST_PAIRS = 20_000; // counts of two rules that are remembered
const BLOCKED = 2; // as many failed rules as it takes to be dropped by none of them alone

class WhatIf {
  constructor(report) {
    this.books = report.books;
    this.panels = new Map(report.rules.map((panel) => [panel.name, panel]));
    this.sliders = report.rules.filter((panel) => panel.slider);
    this.sample = report.sample && report.sample.rows ? report.sample : null;
    this.moved = new Map();
    this.decoded = null;
    this.passing = new Map(); // rule -> who passes it in the sample, where its slider stands
    this.pairs = new Map(); // two rules -> how many pass both in the sample
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
    return names
      .map((name) => `--set ${quoted(this.panels.get(name).slider.set[this.at(name)])}`)
      .join(" ");
  }

  /** {kept, dropped, exact, known, of(name) -> {passes, failsOnly, both(other)}}; null if not known. */
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
    this.decode();
    const { rows, exact } = this.sample;
    const { kept, alone } = this.tally(rows);
    const times = (number) => Math.round((number * this.books.samples) / rows);
    return {
      known: true,
      exact,
      kept: times(kept),
      dropped: this.books.samples - this.books.failed - times(kept),
      of: (name) => ({
        passes: this.passes(name),
        failsOnly: alone.has(name) ? times(alone.get(name)) : null,
        both: (other) =>
          this.moved.has(name) && this.moved.has(other)
            ? times(this.together(name, other))
            : this.both(name, other),
      }),
    };
  }

  unknown() {
    const none = { passes: null, failsOnly: null, both: () => null };
    const of = (name) => ({ ...none, passes: this.passes(name) });
    return { known: false, exact: false, kept: null, dropped: null, of };
  }

  /** Read the sample, once: the page does so when it has nothing else to do. */
  decode() {
    if (this.decoded || !this.sample) return;
    const stops = new Map(this.sliders.map(({ name }) => [name, words(this.sample.stop[name])]));
    this.decoded = { stops, fixed: bytes(this.sample.fixed) };
  }

  /** Of the sample's rows: how many pass all rules, and how many fail one rule alone. */
  tally(rows) {
    const failed = Uint16Array.from(this.decoded.fixed, (passes) => (passes ? 0 : BLOCKED));
    const culprit = new Uint16Array(rows); // the last rule that a row fails
    for (const [place, { name, missing }] of this.sliders.entries()) {
      const stops = this.decoded.stops.get(name);
      const passes = this.passed(name);
      for (let row = 0; row < rows; row++) {
        if (passes[row]) continue;
        if (stops[row] !== NO_VALUE) {
          failed[row] += 1;
          culprit[row] = place;
        } else if (missing !== "keep") failed[row] += BLOCKED;
      }
    }
    let kept = 0;
    const alone = new Array(this.sliders.length).fill(0);
    for (let row = 0; row < rows; row++) {
      if (failed[row] === 0) kept += 1;
      else if (failed[row] === 1) alone[culprit[row]] += 1;
    }
    return { kept, alone: new Map(this.sliders.map(({ name }, place) => [name, alone[place]])) };
  }

  /** 1 for each row of the sample that passes a rule, where its slider stands. */
  passed(name) {
    const index = this.at(name);
    const known = this.passing.get(name);
    if (known?.index === index) return known.passes;
    const passes = this.decoded.stops.get(name).map((stop) => (stop !== NO_VALUE && index < stop ? 1 : 0));
    this.passing.set(name, { index, passes });
    return passes;
  }

  /** How many rows of the sample pass two rules. */
  together(one, two) {
    const [first, second] = one < two ? [one, two] : [two, one];
    const key = JSON.stringify([first, second, this.at(first), this.at(second)]);
    if (this.pairs.size > MOST_PAIRS) this.pairs.clear();
    if (!this.pairs.has(key)) this.pairs.set(key, both(this.passed(first), this.passed(second)));
    return this.pairs.get(key);
  }
}

function both(one, two) {
  let rows = 0;
  for (let row = 0; row < one.length; row++) rows += one[row] & two[row];
  return rows;
}

/** The bytes of a base64 text. */
function bytes(text) {
  const characters = atob(text);
  const numbers = new Uint8Array(characters.length);
  for (let index = 0; index < numbers.length; index++) numbers[index] = characters.charCodeAt(index);
  return numbers;
}

/** Numbers of 16 bits, little endian, of a base64 text. */
function words(text) {
  const halves = bytes(text);
  const numbers = new Uint16Array(halves.length / 2);
  for (let index = 0; index < numbers.length; index++)
    numbers[index] = halves[2 * index] | (halves[2 * index + 1] << 8);
  return numbers;
}
