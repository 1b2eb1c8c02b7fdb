"use strict";
// Draws every figure in the reader's colours: the specifications carry none for text, axes and grids.
const dark = matchMedia("(prefers-color-scheme: dark)");
const wide = matchMedia("(min-width: 45rem)");
const plots = [];

function themed(layout, light) {
  const [text, quiet, grid] = light ? ["#1c2530", "#65717e", "#e3e7ec"] : ["#e3e8ed", "#98a4b0", "#2b333c"];
  const copy = structuredClone(layout);
  copy.font = { color: text, size: wide.matches ? 13 : 11, family: getComputedStyle(document.body).fontFamily };
  for (const key of Object.keys(copy)) {
    if (!/^[xy]axis\d*$/.test(key)) continue;
    const title = copy[key].title && { ...copy[key].title, font: { size: 12, color: quiet } };
    Object.assign(copy[key], { gridcolor: grid, fixedrange: true, ...(title ? { title } : {}) });
  }
  copy.hoverlabel = { bgcolor: light ? "#fff" : "#1a2027", bordercolor: quiet, font: { color: text, size: 13 } };
  return copy;
}

function draw(light) {
  for (const { node, spec, width } of plots) {
    const layout = themed(spec.layout, light);
    if (width) layout.width = width;
    Plotly.react(node, spec.data, layout, { responsive: !width, displayModeBar: false });
  }
}

for (const script of document.querySelectorAll("script[data-plot]")) {
  const node = document.getElementById(`plot-${script.dataset.plot}`);
  plots.push({ node, spec: JSON.parse(script.textContent) });
}
draw(!dark.matches);
dark.addEventListener("change", () => draw(!dark.matches));

// On paper: light colours, and figures as wide as the printed page lets them be.
addEventListener("beforeprint", () => {
  for (const plot of plots) plot.width = plot.node.closest(".panels") ? 320 : 660;
  draw(true);
});
addEventListener("afterprint", () => {
  for (const plot of plots) delete plot.width;
  draw(!dark.matches);
});

// The numbers behind a figure, a line a point; what only decorates it is left out.
function numbers(spec) {
  const plain = text => String(text ?? "").replaceAll("&lt;", "<").replaceAll("&gt;", ">").replaceAll("&amp;", "&");
  const title = axis => plain(spec.layout[axis]?.title?.text);
  // A spreadsheet takes text that begins like a formula for one.
  const safe = value => (typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : value);
  const cell = value => {
    const text = String(safe(typeof value === "string" ? plain(value) : (value ?? "")));
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const rows = [["series", title("xaxis") || "x", title("yaxis") || "y", "above", "below", "count"]];
  for (const trace of spec.data) {
    if (trace.hoverinfo === "skip") continue;
    const error = trace.error_x ?? trace.error_y;
    trace.x.forEach((x, at) => {
      const y = trace.y[at];
      if (x === null || y === null) return;
      const [above, below] = [error?.array?.[at], (error?.arrayminus ?? error?.array)?.[at]];
      rows.push([trace.name, x, y, above, below, trace.customdata?.[at]]);
    });
  }
  return rows.map(row => row.map(cell).join(",") + "\r\n").join("");
}

for (const button of document.querySelectorAll("button[data-numbers]")) {
  button.addEventListener("click", () => {
    const { spec } = plots.find(plot => plot.node.id === `plot-${button.dataset.numbers}`);
    // The mark at the beginning tells spreadsheets that the letters are UTF-8.
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob(["\ufeff", numbers(spec)], { type: "text/csv" }));
    link.download = `${button.dataset.numbers}.csv`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

// A link to something folded away unfolds it.
function unfold() {
  for (let node = document.getElementById(location.hash.slice(1)); node; node = node.parentElement) {
    if (node.tagName === "DETAILS") node.open = true;
  }
}
addEventListener("hashchange", unfold);
unfold();
