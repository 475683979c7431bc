// Pictures of a rule: a tab per kind; what was just dropped and just kept stands side by side.

const NAMES = {
  only: "This rule alone",
  lowest: "Lowest",
  highest: "Highest",
  random: "Random",
  failed: "Failed",
};

/** Groups of cards behind tabs. What lies at the cut stands as on the chart: low values on the left. */
function tabs(rule, groups, highIsGood) {
  const sides = highIsGood ? ["just_dropped", "just_kept"] : ["just_kept", "just_dropped"];
  const edge = sides.flatMap((side) => groups.filter(({ kind }) => kind === side));
  const sets = groups
    .filter((group) => !edge.includes(group))
    .map((group) => [NAMES[group.kind] || group.title, [group]]);
  if (edge.length) sets.unshift(["At the recipe's cut", edge]);
  const place = make("div.groups");
  const buttons = sets.map(([name, chosen]) =>
    make(
      "button",
      {
        type: "button",
        "aria-pressed": "false",
        onclick: (event) => choose(event.currentTarget, chosen),
      },
      name,
      " ",
      make("span.size", {}, count(chosen.reduce((sum, group) => sum + group.ids.length, 0))),
    ),
  );
  const title = ({ kind, title: own }) =>
    ({ just_dropped: "Just dropped", just_kept: "Just kept" })[kind] || own;
  const choose = (pressed, chosen) => {
    for (const button of buttons) button.setAttribute("aria-pressed", String(button === pressed));
    place.replaceChildren(
      ...chosen.map((group) => make("div.group", {}, make("h4", {}, title(group)), cards(group.ids, rule))),
    );
  };
  choose(buttons[0], sets[0][1]);
  return make(
    "div.pictures",
    {},
    make("div.tabs", { role: "group", "aria-label": `Pictures of ${rule}` }, buttons),
    place,
  );
}
