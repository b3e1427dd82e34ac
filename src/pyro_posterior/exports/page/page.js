"use strict";
(() => {
  const pictures = JSON.parse(document.getElementById("pictures").textContent);
  const table = document.getElementById("sites");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const SVG = "http://www.w3.org/2000/svg";

  // ---------------------------------------------------------------- small helpers

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  function shape(tag, attributes = {}, text = "") {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text) made.textContent = text;
    return made;
  }

  function number(value) {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    if (size !== 0 && (size >= 1e6 || size < 1e-4)) return value.toExponential(3).replace("-", "−");
    return String(Number(value.toPrecision(4))).replace("-", "−");
  }

  const finite = (values) => values.filter((value) => value !== null);

  // Round tick positions that cover [low, high].
  function ticks(low, high, wanted) {
    if (!(high > low)) return [low];
    const raw = (high - low) / Math.max(1, wanted);
    const power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
    const found = [];
    for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-9; at++) {
      found.push(Number((at * step).toPrecision(12)));
    }
    return found;
  }

  function scale(values, from, to) {
    let low = Math.min(...values), high = Math.max(...values);
    if (!(high > low)) { const pad = Math.abs(low) * 0.1 || 1; low -= pad; high += pad; }
    const pad = (high - low) * 0.03;
    low -= pad; high += pad;
    const at = (value) => from + ((value - low) / (high - low)) * (to - from);
    return Object.assign(at, { low, high });
  }

  const middleText = (picture) =>
    picture.middle_name + (picture.interval_name ? ", " + picture.interval_name : "");

  // ---------------------------------------------------------------- drawings

  function frame(width, height, label) {
    return shape("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  }

  function axisBelow(svg, x, left, right, top, bottom) {
    for (const value of ticks(x.low, x.high, Math.max(2, (right - left) / 75))) {
      svg.append(shape("line", { class: "grid", x1: x(value), x2: x(value), y1: top, y2: bottom }));
      svg.append(shape("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, number(value)));
    }
  }

  // Room for the numbers of an axis on the left.
  function margin(values, top, bottom) {
    const y = scale(values, bottom, top);
    const texts = ticks(y.low, y.high, Math.max(2, (bottom - top) / 45)).map(number);
    return 14 + 7.5 * Math.max(...texts.map((text) => text.length));
  }

  function axisLeft(svg, y, left, right, top, bottom) {
    for (const value of ticks(y.low, y.high, Math.max(2, (bottom - top) / 45))) {
      svg.append(shape("line", { class: "grid", x1: left, x2: right, y1: y(value), y2: y(value) }));
      svg.append(shape("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, number(value)));
    }
  }

  function histogram(picture, name, width) {
    const height = 260, right = width - 12, top = 8, bottom = height - 26;
    const counts = [0, Math.max(...picture.counts)], left = margin(counts, top, bottom);
    const ends = [picture.middle, picture.low || [], picture.high || []].flat();
    const svg = frame(width, height, `Histogram of the draws of ${name}: ` +
      `${picture.middle_name} ${number(picture.middle[0])}` +
      (picture.low ? `, ${picture.interval_name} ${number(picture.low[0])} to ${number(picture.high[0])}` : ""));
    const x = scale(picture.edges.concat(finite(ends)), left, right);
    const y = scale(counts, bottom, top);
    axisBelow(svg, x, left, right, top, bottom);
    axisLeft(svg, y, left, right, top, bottom);
    picture.counts.forEach((count, i) => {
      const from = x(picture.edges[i]), to = x(picture.edges[i + 1]);
      const bar = shape("rect", { class: "bar", x: from, y: y(count), width: Math.max(0.5, to - from - 0.5), height: y(0) - y(count) });
      bar.append(shape("title", {}, `${number(picture.edges[i])} to ${number(picture.edges[i + 1])}: ${count} draws`));
      svg.append(bar);
    });
    const rule = (value, css) => value === null ||
      svg.append(shape("line", { class: css, x1: x(value), x2: x(value), y1: top, y2: bottom }));
    rule(picture.middle[0], "rule");
    if (picture.low) { rule(picture.low[0], "rule dashed"); rule(picture.high[0], "rule dashed"); }
    return svg;
  }

  function forest(picture, name, width) {
    const labels = picture.labels, step = 22;
    const longest = Math.max(...labels.map((label) => label.length));
    const left = Math.min(12 + longest * 7, width * 0.4), right = width - 12;
    const top = 4, bottom = top + labels.length * step;
    const most = Math.max(3, Math.floor((left - 12) / 7));
    const svg = frame(width, bottom + 26, `${middleText(picture)} of ${labels.length} ` +
      `value${labels.length === 1 ? "" : "s"} of ${name}; the numbers follow`);
    const all = finite([picture.middle, picture.low || [], picture.high || []].flat());
    const x = scale(all.length ? all : [0, 1], left, right);
    axisBelow(svg, x, left, right, top, bottom);
    labels.forEach((label, i) => {
      const y = top + (i + 0.5) * step, group = shape("g", { class: "row" });
      const [middle, low, high] = [picture.middle[i], picture.low?.[i] ?? null, picture.high?.[i] ?? null];
      const short = label.length > most ? label.slice(0, most - 1) + "…" : label;
      group.append(shape("text", { x: left - 8, y: y + 4, "text-anchor": "end" }, short));
      group.append(shape("rect", { x: left, y: y - step / 2, width: right - left, height: step, fill: "transparent" }));
      if (low !== null && high !== null) group.append(shape("line", { class: "rod", x1: x(low), x2: x(high), y1: y, y2: y }));
      if (middle !== null) group.append(shape("circle", { class: "mark", cx: x(middle), cy: y, r: 4 }));
      group.append(shape("title", {}, `${label}: ${number(middle)}` + (low === null ? "" : ` (${number(low)} to ${number(high)})`)));
      svg.append(group);
    });
    return svg;
  }

  function profile(picture, name, width, say) {
    const height = 280, right = width - 12, top = 8, bottom = height - 42;
    const edges = picture.row_edges, total = edges[edges.length - 1];
    const svg = frame(width, height, `${middleText(picture)} of ${name} along ${picture.row_title}`);
    const all = finite([picture.middle, picture.low || [], picture.high || []].flat());
    const left = margin(all, top, bottom), y = scale(all, bottom, top);
    const x = scale([0, Math.max(1, total - 1)], left, right);
    axisLeft(svg, y, left, right, top, bottom);
    for (const value of ticks(0, total - 1, Math.max(2, (right - left) / 75))) {
      svg.append(shape("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, number(value)));
    }
    svg.append(shape("text", { x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle" }, picture.row_title));
    const at = picture.middle.map((_, i) => x((edges[i] + edges[i + 1] - 1) / 2));
    // Runs without gaps, so that missing values leave a hole.
    const runs = [];
    picture.middle.forEach((value, i) => {
      if (value === null) return;
      if (i && picture.middle[i - 1] !== null) runs[runs.length - 1].push(i); else runs.push([i]);
    });
    for (const run of runs) {
      if (picture.low) {
        const whole = run.filter((i) => picture.low[i] !== null && picture.high[i] !== null);
        const points = whole.map((i) => `${at[i]},${y(picture.low[i])}`)
          .concat(whole.slice().reverse().map((i) => `${at[i]},${y(picture.high[i])}`));
        svg.append(shape("polygon", { class: "band", points: points.join(" ") }));
      }
      svg.append(shape("polyline", { class: "rod", points: run.map((i) => `${at[i]},${y(picture.middle[i])}`).join(" ") }));
    }
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      const share = ((event.clientX - box.left) * (width / box.width) - at[0]) / Math.max(1, at[at.length - 1] - at[0]);
      const i = Math.min(at.length - 1, Math.max(0, Math.round(share * (at.length - 1))));
      say(`${span(edges, i)}: ${number(picture.middle[i])}` +
        (picture.low ? ` (${number(picture.low[i])} to ${number(picture.high[i])})` : ""));
    });
    return svg;
  }

  const span = (edges, i, labels) => labels ? labels[i]
    : edges[i + 1] - edges[i] > 1 ? `${edges[i]}–${edges[i + 1] - 1}` : String(edges[i]);

  const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
  const BLUE_RED = [[5, 48, 97], [33, 102, 172], [103, 169, 207], [209, 229, 240], [247, 247, 247], [253, 219, 199], [239, 138, 98], [178, 24, 43], [103, 0, 31]];

  function colour(stops, share) {
    const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
    const i = Math.min(stops.length - 2, Math.floor(place)), part = place - i;
    return stops[i].map((from, c) => Math.round(from + (stops[i + 1][c] - from) * part));
  }

  function paint(canvas, values, columns, [low, high, aroundZero]) {
    const count = values.length / columns;
    canvas.width = columns;
    canvas.height = count;
    const context = canvas.getContext("2d"), image = context.createImageData(columns, count);
    const stops = aroundZero ? BLUE_RED : VIRIDIS;
    values.forEach((value, i) => {
      if (value === null) return; // stays transparent
      image.data.set([...colour(stops, (value - low) / (high - low)), 255], 4 * i);
    });
    context.putImageData(image, 0, 0);
  }

  function heatMap(picture, name, say) {
    const [count, columns] = picture.shape;
    const canvas = element("canvas", { role: "img", tabindex: "0" });
    const lowest = element("span"), highest = element("span"), strip = element("canvas", { "aria-hidden": "true" });
    const holder = element("div");
    let shown = "middle", row = 0, column = 0;
    const buttons = [["middle", picture.middle_name], ["width", "interval width"]].map(([what, text]) => {
      const button = element("button", { type: "button", "aria-pressed": String(what === shown) }, text);
      button.addEventListener("click", () => {
        shown = what;
        buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
        show();
      });
      return button;
    });
    const describe = () => say(
      `row ${span(picture.row_edges, row, picture.row_labels)}, ` +
      `column ${span(picture.column_edges, column, picture.column_labels)}: ` +
      `${picture.middle_name} ${number(picture.middle[row * columns + column])}` +
      (picture.width ? `, interval width ${number(picture.width[row * columns + column])}` : ""));
    function show() {
      const range = picture[shown + "_range"];
      paint(canvas, picture[shown], columns, range);
      paint(strip, Array.from({ length: 64 }, (_, i) => range[0] + (range[1] - range[0]) * (i + 0.5) / 64), 64, range);
      lowest.textContent = "≤ " + number(range[0]);
      highest.textContent = "≥ " + number(range[1]);
      canvas.setAttribute("aria-label", `Heat map of ${name}, ${shown === "middle" ? picture.middle_name : "interval width"}, ` +
        `${count} rows by ${columns} columns; arrow keys read single cells`);
    }
    canvas.style.height = Math.min(480, Math.max(120, count * 10)) + "px";
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      const inside = (share, n) => Math.min(n - 1, Math.max(0, Math.floor(share * n)));
      row = inside((event.clientY - box.top) / box.height, count);
      column = inside((event.clientX - box.left) / box.width, columns);
      describe();
    });
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!move) return;
      event.preventDefault();
      row = Math.min(count - 1, Math.max(0, row + move[0]));
      column = Math.min(columns - 1, Math.max(0, column + move[1]));
      describe();
    });
    if (picture.width) holder.append(element("div", { class: "choice", role: "group", "aria-label": "What is shown" }, ...buttons));
    holder.append(
      element("div", { class: "map" }, element("span", { class: "up" }, picture.row_title || ""), canvas,
        element("span", { class: "across" }, picture.column_title || "")),
      element("div", { class: "key" }, lowest, strip, highest));
    show();
    return holder;
  }

  function numbers(picture) {
    const labels = picture.labels || [picture.middle_name];
    const heads = ["", picture.middle_name].concat(picture.low ? ["from", "to"] : []);
    const lines = labels.map((label, i) => {
      const cells = [picture.middle[i]].concat(picture.low ? [picture.low[i], picture.high[i]] : []);
      return element("tr", {}, element("th", { scope: "row" }, label), ...cells.map((value) => element("td", {}, number(value))));
    });
    return element("details", {}, element("summary", {}, "Numbers"),
      element("table", {}, element("thead", {}, element("tr", {}, ...heads.map((head) => element("th", { scope: "col" }, head)))),
        element("tbody", {}, ...lines)));
  }

  // ---------------------------------------------------------------- one picture under its row

  const explain = {
    histogram: (p) => `Draws; line: ${p.middle_name}` + (p.interval_name ? `, dashed: ${p.interval_name}` : ""),
    forest: (p) => `Dot: ${p.middle_name}` + (p.interval_name && p.low ? `, line: ${p.interval_name}` : ""),
    profile: (p) => `Line: ${p.middle_name}` + (p.low ? `, band: ${p.interval_name}` : ""),
    "heat map": (p) => p.width ? `Interval: ${p.interval_name}` : "",
    empty: () => "",
  };

  function figure(picture) {
    const readout = element("p", { class: "readout", "aria-live": "polite" });
    const say = (text) => { readout.textContent = text; };
    const words = [explain[picture.kind](picture), picture.note].filter(Boolean).join(". ").replace("..", ".");
    const made = element("figure", {}, element("figcaption", {}, picture.name, element("span", {}, words)));
    const place = element("div");
    made.append(place);
    if (picture.kind === "heat map") {
      place.append(heatMap(picture, picture.name, say));
    } else if (picture.kind !== "empty") {
      const draw = { histogram, forest, profile }[picture.kind];
      let width = 0;
      new ResizeObserver(() => {
        const now = Math.floor(place.clientWidth);
        if (now > 0 && now !== width) {
          width = now;
          place.replaceChildren(draw(picture, picture.name, width, say));
        }
      }).observe(place);
    }
    if (picture.kind === "forest" || picture.kind === "histogram") made.append(numbers(picture));
    if (picture.kind === "profile" || picture.kind === "heat map") made.append(readout);
    return made;
  }

  const opened = new Map(); // table row -> picture row

  function toggle(row) {
    const button = row.querySelector("button.site");
    const open = button.getAttribute("aria-expanded") !== "true";
    button.setAttribute("aria-expanded", String(open));
    if (!opened.has(row)) {
      const id = "picture-" + row.dataset.site;
      const cell = element("td", { role: "cell", colspan: String(row.cells.length) });
      const below = element("tr", { role: "row", class: "picture", id });
      below.append(cell);
      row.after(below);
      cell.append(figure(pictures[Number(row.dataset.site)]));
      button.setAttribute("aria-controls", id);
      opened.set(row, below);
    }
    opened.get(row).hidden = !open || row.hidden;
  }

  for (const row of rows) row.querySelector("button.site").addEventListener("click", () => toggle(row));

  // ---------------------------------------------------------------- search and sort

  const search = document.getElementById("search"), count = document.getElementById("count");

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of rows) {
      const text = [0, 2, 3].map((i) => row.cells[i].dataset.value).join(" ").toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      left += !row.hidden;
      const below = opened.get(row);
      if (below) below.hidden = row.hidden || row.querySelector("button.site").getAttribute("aria-expanded") !== "true";
    }
    count.textContent = left === rows.length ? `${left} sites` : `${left} of ${rows.length} sites`;
    document.getElementById("nothing").hidden = left > 0;
  }

  const heads = Array.from(table.tHead.rows[0].cells);
  const select = document.getElementById("sort");

  function sort(column, descending) {
    const numeric = column >= 0 && heads[column].classList.contains("number");
    const value = (row) => row.cells[column].dataset.value;
    const sorted = rows.slice();
    if (column >= 0) sorted.sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === "" || right === "") return (left === "") - (right === ""); // unknown ones last
      const order = numeric ? Number(left) - Number(right) : left.localeCompare(right, "en", { numeric: true });
      return descending ? -order : order;
    });
    heads.forEach((head, i) => head.setAttribute("aria-sort", i !== column ? "none" : descending ? "descending" : "ascending"));
    body.append(...sorted.flatMap((row) => opened.has(row) ? [row, opened.get(row)] : [row]));
    select.value = column >= 0 ? String(column) : "";
  }

  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const was = head.getAttribute("aria-sort"), first = head.classList.contains("number") ? "descending" : "ascending";
    sort(column, was === "none" ? first === "descending" : was === "ascending");
  }));
  select.addEventListener("change", () => {
    const column = select.value === "" ? -1 : Number(select.value);
    sort(column, column >= 0 && heads[column].classList.contains("number"));
  });
  search.addEventListener("input", filter);
  filter();
})();
