"use strict";
(() => {
  const cards = JSON.parse(document.getElementById("pictures").textContent);
  const root = document.documentElement;
  const drawn = new Map(); // element of a chart: its view

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children);
    return made;
  }

  // ---------------------------------------------------------------- light and dark

  const system = window.matchMedia("(prefers-color-scheme: dark)");
  let chosen = null;
  const isDark = () => (chosen === null ? system.matches : chosen);
  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();

  function setTheme() {
    root.dataset.theme = isDark() ? "dark" : "light";
    for (const place of drawn.keys()) draw(place);
  }

  function look() {
    const ink = colour("ink"), soft = colour("soft"), line = colour("line");
    return {
      background: null,
      font: "system-ui, sans-serif",
      view: { stroke: line },
      axis: {
        labelColor: soft, titleColor: ink, gridColor: line, domainColor: line, tickColor: line,
        titleFontWeight: "normal", labelFontSize: 11, titleFontSize: 12,
      },
      legend: { labelColor: soft, titleColor: ink, titleFontWeight: "normal" },
    };
  }

  // ---------------------------------------------------------------- charts

  function cells(column) {
    return Array.isArray(column) ? column : column.codes.map((code) => column.names[code]);
  }

  function rowsOf(columns) {
    const names = Object.keys(columns), lists = names.map((name) => cells(columns[name]));
    return lists[0].map((_, row) => Object.fromEntries(names.map((name, i) => [name, lists[i][row]])));
  }

  // Names of colours in marks become those of the theme.
  function coloured(spec) {
    const layer = spec.layer.map((part) => {
      const mark = { ...part.mark };
      for (const key of ["color", "fill"]) {
        if (mark[key] === "accent" || mark[key] === "ink") mark[key] = colour(mark[key]);
      }
      return { ...part, mark };
    });
    return { ...spec, layer };
  }

  async function draw(place) {
    const chart = place.chart;
    const spec = {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      ...coloured(chart.spec),
      width: "container",
      autosize: { type: "fit-x", contains: "padding" },
      data: { values: rowsOf(chart.columns) },
      description: `${place.site}: ${chart.title}. ${chart.note}`,
    };
    const before = drawn.get(place);
    const result = await vegaEmbed(place, spec, {
      actions: false, ast: true, renderer: "canvas", defaultStyle: false, config: look(),
      tooltip: { disableDefaultStyle: true, theme: "custom" },
    });
    if (before) before.finalize();
    drawn.set(place, result);
    place.dataset.drawn = root.dataset.theme;
  }

  // The signals that hold what an axis shows, by axis.
  function shownOf(chart) {
    const layer = chart.spec.layer.find((part) => part.params);
    const axes = layer.params[0].select.encodings || ["x", "y"];
    return axes.map((axis) => [axis, `zoom_${layer.encoding[axis].field.replace(/\W/g, "_")}`]);
  }

  function zoom(place, factor) {
    const view = drawn.get(place)?.view;
    if (!view) return;
    for (const [axis, signal] of shownOf(place.chart)) {
      if (factor === null) { view.signal(signal, null); continue; }
      const [from, to] = view.scale(axis).domain();
      const centre = (from + to) / 2, half = ((to - from) / 2) * factor;
      view.signal(signal, [centre - half, centre + half]);
    }
    view.runAsync();
  }

  function save(name, url) {
    const link = element("a", { href: url, download: name });
    document.body.append(link);
    link.click();
    link.remove();
  }

  const fileName = (place, ending) =>
    `${place.site} ${place.chart.title}`.replace(/[^\p{L}\p{N}._-]+/gu, "_") + ending;

  // Text that a spreadsheet would take for a formula is quoted as text.
  function quoted(value) {
    if (value === null || value === undefined) return "";
    let text = String(value);
    if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = "'" + text;
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  function asCsv(columns) {
    const rows = rowsOf(columns), names = Object.keys(columns);
    const lines = rows.map((row) => names.map((name) => quoted(row[name])).join(","));
    return [names.map(quoted).join(","), ...lines].join("\r\n") + "\r\n";
  }

  async function saveImage(place) {
    const view = drawn.get(place)?.view;
    if (!view) return;
    view.background(colour("paper"));
    save(fileName(place, ".png"), await view.toImageURL("png", 2));
  }

  function saveTable(place) {
    const blob = new Blob([asCsv(place.chart.columns)], { type: "text/csv" });
    const url = URL.createObjectURL(blob);
    save(fileName(place, ".csv"), url);
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  }

  function button(text, title, action) {
    const made = element("button", { type: "button", title, "aria-label": title }, text);
    made.addEventListener("click", action);
    return made;
  }

  function addChart(home, title, chart) {
    const place = element("div", { class: "drawn", role: "img", "aria-label": `${title}: ${chart.title}` });
    place.chart = chart;
    place.site = title;
    const name = `${chart.title} of ${title}`;
    home.append(element("figure", { class: "chart" },
      element("div", { class: "bar" },
        element("h4", {}, chart.title),
        button("+", `Zoom into ${name}`, () => zoom(place, 0.6)),
        button("−", `Zoom out of ${name}`, () => zoom(place, 1 / 0.6)),
        button("Whole", `Show all of ${name}`, () => zoom(place, null)),
        button("PNG", `Save the picture ${name}`, () => saveImage(place)),
        button("CSV", `Save the numbers of ${name}`, () => saveTable(place))),
      place,
      element("p", { class: "note" }, chart.note)));
    watcher.observe(place);
  }

  // A chart is drawn when it comes near the window.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting && !drawn.has(entry.target)) {
        watcher.unobserve(entry.target);
        drawn.set(entry.target, null);
        draw(entry.target);
      }
    }
  }, { rootMargin: "600px" });

  // ---------------------------------------------------------------- search and sort

  const body = document.getElementById("sites").tBodies[0];
  const rows = Array.from(body.rows);
  const sections = Array.from(document.querySelectorAll(".card"));

  function search() {
    const wanted = document.getElementById("search").value.trim().toLowerCase();
    let found = 0;
    for (const row of rows) {
      const text = row.cells[0].textContent + " " + row.cells[2].textContent;
      const hit = text.toLowerCase().includes(wanted);
      row.hidden = !hit;
      sections[Number(row.dataset.site)].hidden = !hit;
      found += hit;
    }
    document.getElementById("count").textContent = `${found} of ${rows.length} sites`;
    document.getElementById("nothing").hidden = found > 0;
  }

  function sort(heading) {
    const column = heading.cellIndex, numeric = heading.classList.contains("number");
    const before = heading.getAttribute("aria-sort");
    const down = before === "none" ? numeric : before === "ascending";
    for (const other of heading.parentElement.cells) other.setAttribute("aria-sort", "none");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    const value = (row) => row.cells[column].dataset.value;
    const compare = (a, b) => {
      const [one, other] = [value(a), value(b)];
      if (one === "" || other === "") return (one === "") - (other === "");
      const order = numeric ? Number(one) - Number(other) : one.localeCompare(other);
      return down ? -order : order;
    };
    body.append(...[...rows].sort(compare));
  }

  document.getElementById("search").addEventListener("input", search);
  for (const heading of document.querySelectorAll("#sites thead th")) {
    heading.querySelector("button").addEventListener("click", () => sort(heading));
  }
  document.getElementById("theme").addEventListener("click", () => { chosen = !isDark(); setTheme(); });
  system.addEventListener("change", setTheme);

  root.dataset.theme = isDark() ? "dark" : "light";
  sections.forEach((section, number) => {
    const { name, charts } = cards[number];
    section.classList.toggle("wide", charts.length > 1);
    for (const chart of charts) addChart(section.querySelector(".charts"), name, chart);
  });
  search();
})();
