// Charts: bars in SVG that stretch to any width, with labels in HTML that do not.

/** Where values lie on an axis, in percent of its length. */
function axis(low, high) {
  const span = high - low || 1;
  return {
    low,
    high,
    at: (value) => Math.max(0, Math.min(100, (100 * (value - low)) / span)),
    value: (percent) => low + (span * percent) / 100,
  };
}

/** About five round values between two. */
function ticks(low, high, most = 5) {
  const rough = (high - low) / most;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) =>
    Number(((first + index) * step).toPrecision(12)),
  );
}

/** Labels below a chart. `values` maps the label to its place in percent. */
const scale = (places) =>
  make(
    "div.axis",
    { "aria-hidden": "true" },
    places.map(([label, percent]) => {
      const tick = make("span", {}, label);
      tick.style.left = `${percent}%`;
      if (percent < 6) tick.classList.add("first");
      if (percent > 94) tick.classList.add("last");
      return tick;
    }),
  );

/** A drawing of 100 by 100 units that takes the size of its box. */
const canvas = (name, label, ...children) =>
  draw(
    name,
    { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": label },
    ...children,
  );

/** A histogram: all samples, and in front of them those that are kept. Returns the box and its axis. Bars of
 * bins that are wider than others are as much lower. */
function histogram({ edges, all, kept }, label, logarithmic = false) {
  const x = axis(edges[0], edges[edges.length - 1]);
  const width = edges[1] - edges[0] || 1;
  const dense = (number, bin) => (number * width) / (edges[bin + 1] - edges[bin] || width);
  const most = Math.max(...all.map(dense));
  const heights = (numbers) => numbers.map((number, bin) => height(dense(number, bin), most, logarithmic));
  const box = make("div.chart", {}, twoRows({ edges, all, kept }, edges.map(x.at), heights, label));
  return { box, x, axis: scale(ticks(x.low, x.high).map((value) => [short(value), x.at(value)])) };
}

/** The same for bins of uneven widths: bars of one width, with the edges of the bins between them. */
function columns({ edges, all, kept }, label) {
  const x = axis(0, all.length);
  const heights = (numbers) => numbers.map((number) => height(number, Math.max(...all), false));
  const box = make(
    "div.chart",
    {},
    twoRows(
      { edges, all, kept },
      edges.map((_, index) => x.at(index)),
      heights,
      label,
    ),
  );
  const step = Math.ceil(all.length / 6);
  const marked = edges
    .map((edge, index) => [short(edge), x.at(index)])
    .filter((_, index) => index % step === 0);
  return { box, axis: scale(marked) };
}

/** Whether all bins have the same width. */
function even(edges) {
  const width = edges[1] - edges[0];
  return edges.every(
    (edge, index) => !index || Math.abs(edge - edges[index - 1] - width) < 1e-6 * Math.abs(width),
  );
}

/** Bars for all samples, and bars for kept ones in front of them. `places`: of the edges, in percent. */
function twoRows({ edges, all, kept }, places, heights, label) {
  const row = (numbers, name) =>
    heights(numbers).map((size, bin) => {
      const wide = places[bin + 1] - places[bin];
      const gap = Math.min(0.25, wide / 8);
      const between = `${short(edges[bin])} to ${short(edges[bin + 1])}`;
      const told = `${between}: ${count(all[bin])}, kept ${count(kept[bin])}`;
      const bar = { x: places[bin] + gap, y: 100 - size, width: Math.max(0, wide - 2 * gap), height: size };
      return draw(`rect.${name}`, bar, draw("title", {}, told));
    });
  return canvas("svg.histogram", label, row(all, "all"), row(kept, "kept"));
}

/** The height of a bar in percent; on a logarithmic scale 1 is a stub. */
function height(number, most, logarithmic) {
  if (!number || !most) return 0;
  return logarithmic ? (100 * Math.log1p(number)) / Math.log1p(most) : (100 * number) / most;
}

/** Bars with a label each, for texts: languages, domains. */
function bars({ labels, all, kept }, label) {
  const most = Math.max(1, ...all);
  const samples = all.reduce((sum, number) => sum + number, 0);
  return make(
    "ul.bars",
    { "aria-label": label },
    labels.map((name, index) =>
      make(
        "li",
        { title: `${share(all[index], samples)} of all` },
        make("bdi.name", {}, String(name)),
        draw(
          "svg.bar",
          { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" },
          draw("rect.all", { width: (100 * all[index]) / most, height: 10 }),
          draw("rect.kept", { width: (100 * kept[index]) / most, height: 10 }),
        ),
        make("span.number", {}, `${count(kept[index])} of ${count(all[index])}`),
      ),
    ),
  );
}

/** Two lines over logarithmic axes: frequencies by rank. */
function loglog({ ranks, all, kept }, label) {
  const log = (number) => Math.log10(Math.max(1, number));
  const x = axis(0, log(Math.max(10, ...ranks)));
  const y = axis(0, log(Math.max(10, ...all)));
  const line = (numbers, name) =>
    draw(`polyline.${name}`, {
      points: ranks
        .map((rank, index) => [rank, numbers[index]])
        .filter(([, number]) => number > 0)
        .map(([rank, number]) => `${x.at(log(rank))},${100 - y.at(log(number))}`)
        .join(" "),
      "vector-effect": "non-scaling-stroke",
    });
  const powers = (to) => Array.from({ length: Math.floor(to.high) + 1 }, (_, power) => power);
  const rules = powers(y).map((power) =>
    draw("line.grid", {
      x1: 0,
      x2: 100,
      y1: 100 - y.at(power),
      y2: 100 - y.at(power),
      "vector-effect": "non-scaling-stroke",
    }),
  );
  const level = (power) => {
    const tick = make("span.level", { "aria-hidden": "true" }, count(10 ** power));
    tick.style.bottom = `${y.at(power)}%`;
    return tick;
  };
  return [
    make(
      "div.chart",
      {},
      canvas("svg.lines", label, rules, line(all, "all"), line(kept, "kept")),
      powers(y).map(level),
    ),
    scale(powers(x).map((power) => [count(10 ** power), x.at(power)])),
    make("p.axis-name", {}, "rank (across) and how often (up), both logarithmic"),
  ];
}
