"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("chart-data").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 640px)");

  // "$up/0.3" → the palette's colour, as the style sheet has it now.
  function colour(token) {
    const [name, opacity] = token.slice(1).split("/");
    const hex = getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
    if (!opacity) return hex;
    const part = (i) => parseInt(hex.slice(i, i + 2), 16);
    return `rgba(${part(1)},${part(3)},${part(5)},${opacity})`;
  }

  function painted(value) {
    if (typeof value === "string") return /^\$[a-z]+\d?(\/[\d.]+)?$/.test(value) ? colour(value) : value;
    if (Array.isArray(value)) return value.some((v) => typeof v !== "number") ? value.map(painted) : value;
    if (value === null || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, painted(inner)]));
  }

  function layout(own) {
    const font = getComputedStyle(document.body).fontFamily;
    const axis = { gridcolor: "$line", linecolor: "$line", zerolinecolor: "$line", automargin: true, fixedrange: narrow.matches };
    const made = {
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: font, size: 12, color: "$muted" },
      margin: { l: 8, r: 8, t: 30, b: 8 },
      hoverlabel: { bgcolor: "$panel", bordercolor: "$line", font: { family: font, size: 12, color: "$ink" }, align: "left" },
      legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, xanchor: "left", font: { size: 12 } },
      modebar: { bgcolor: "rgba(0,0,0,0)", color: "$line", activecolor: "$muted" },
      dragmode: narrow.matches ? false : "zoom",
      ...own,
    };
    for (const key of new Set(["xaxis", "yaxis", ...Object.keys(own).filter((name) => /^[xy]axis\d?$/.test(name))]))
      made[key] = { ...axis, ...own[key] };
    return painted(made);
  }

  const options = {
    responsive: true,
    displaylogo: false,
    scrollZoom: false,
    displayModeBar: narrow.matches ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]],
  };

  function draw(place) {
    const figure = figures[place.dataset.figure];
    // What is hidden has no size; it is drawn when it is shown.
    if (!figure || !place.offsetWidth) return;
    Plotly.react(place, painted(figure.data), layout(figure.layout), options);
    if (place.dataset.fits || !figure.data.some((trace) => trace.type === "candlestick")) return;
    place.dataset.fits = "yes";
    place.on("plotly_relayout", (change) => fitPrices(place, change));
  }

  // A drag along the time axis leaves the prices as they were, and a quiet week becomes a flat line.
  function fitPrices(place, change) {
    if (!("xaxis.range[0]" in change) || "yaxis.range[0]" in change) return;
    const bars = place.data.find((trace) => trace.type === "candlestick");
    const [first, last] = place.layout.xaxis.range.map((time) => String(time).replace(" ", "T"));
    const seen = bars.x.map((time, i) => i).filter((i) => bars.x[i] >= first && bars.x[i] <= last);
    if (!seen.length) return;
    const low = Math.min(...seen.map((i) => bars.low[i]));
    const high = Math.max(...seen.map((i) => bars.high[i]));
    const room = 0.05 * (high - low) || 0.01 * high;
    Plotly.relayout(place, { "yaxis.range": [low - room, high + room] });
  }

  for (const details of document.querySelectorAll("details"))
    details.addEventListener("toggle", () => details.querySelectorAll("[data-figure]").forEach(draw));

  const places = [...document.querySelectorAll("[data-figure]")];
  const drawAll = () => places.forEach(draw);

  for (const select of document.querySelectorAll("[data-shows]"))
    select.addEventListener("change", () => {
      for (const panel of document.querySelectorAll(`[data-group="${select.dataset.shows}"]`)) {
        panel.hidden = panel.dataset.panel !== select.value;
        if (!panel.hidden) panel.querySelectorAll("[data-figure]").forEach(draw);
      }
    });

  for (const box of document.querySelectorAll("[data-log]"))
    box.addEventListener("change", () => {
      const figure = figures[box.dataset.log];
      figure.layout.yaxis = { ...figure.layout.yaxis, type: box.checked ? "log" : "linear" };
      draw(document.getElementById(box.dataset.log));
    });

  for (const table of document.querySelectorAll("table.sortable"))
    table.tHead.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      const head = button.parentElement;
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const value = (row) => row.cells[button.dataset.column].dataset.value;
      const numeric = [...table.tBodies[0].rows].every((row) => value(row) !== "" && !Number.isNaN(Number(value(row))));
      const compare = (a, b) => (numeric ? Number(value(a)) - Number(value(b)) : value(a).localeCompare(value(b)));
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort((a, b) => (up ? compare(a, b) : compare(b, a))));
    });

  dark.addEventListener("change", drawAll);
  narrow.addEventListener("change", drawAll);
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.print = "";
    document.querySelectorAll("details").forEach((d) => { d.dataset.was = d.open; d.open = true; });
    drawAll();
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.print;
    document.querySelectorAll("details").forEach((d) => { d.open = d.dataset.was === "true"; });
    drawAll();
  });
  drawAll();
})();
