"use strict";
// Everything here is a comfort: without scripts the page shows the same.

// Sort the table of candidates by the column whose name is pressed; empty values go last.
const table = document.getElementById("table");
const body = table.tBodies[0];
const value = (row, i) => row.cells[i].dataset.v ?? row.cells[i].textContent.trim();
for (const head of table.tHead.rows[0].cells) {
  head.firstElementChild.addEventListener("click", () => {
    const i = head.cellIndex;
    const numeric = head.classList.contains("n") || i === 0;
    const up = head.ariaSort ? head.ariaSort !== "ascending" : !numeric || i === 0;
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const order = (a, b) => {
      const [x, y] = [value(a, i), value(b, i)];
      if (x === "" || y === "") return (x === "") - (y === "");
      return (up ? 1 : -1) * (numeric ? x - y : x.localeCompare(y));
    };
    body.append(...[...body.rows].sort(order));
  });
}

// Filter its rows by what is typed. Who goes to a row takes the filter away, lest the row be hidden.
const filter = document.getElementById("filter");
filter.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  let shown = 0;
  for (const row of body.rows) {
    row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
    shown += !row.hidden;
  }
  document.getElementById("shown").textContent = filter.value ? `${shown} of ${body.rows.length}` : "";
});

const unfilter = () => {
  filter.value = "";
  filter.dispatchEvent(new Event("input"));
};

// Point at a mark: say at once what it is, and show the same candidate in every chart. Press it: go to its row; what
// the marks of the lineage graph do instead is in panel.js.
const tip = document.createElement("div");
tip.id = "tip";
tip.setAttribute("role", "status");
document.body.append(tip);
const same = (mark) => document.querySelectorAll(`[data-c="${mark.dataset.c}"]`);
document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest?.("svg.chart path:has(> title)");
  for (const old of document.querySelectorAll(".same")) old.classList.remove("same");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.querySelector("title").textContent;
  if (mark.dataset.c) for (const twin of same(mark)) twin.classList.add("same");
  const box = mark.getBoundingClientRect();
  const left = Math.min(Math.max(8, event.clientX + 14), innerWidth - tip.offsetWidth - 8);
  const above = event.clientY - tip.offsetHeight - 14;
  tip.style.left = `${left + scrollX}px`;
  tip.style.top = `${(above > 60 ? above : Math.max(box.bottom, event.clientY) + 14) + scrollY}px`;
});
document.addEventListener("click", (event) => {
  const mark = event.target.closest?.("svg.chart:not(.lineage) [data-c]");
  if (!mark) return;
  unfilter();
  location.hash = `c${mark.dataset.c}`;
});
