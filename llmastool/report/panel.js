
// Press a mark of the lineage graph: a panel under the graph shows what the candidate's row in the table holds.
const graph = document.querySelector("svg.lineage");
const panel = document.getElementById("panel");
const marks = [...graph.querySelectorAll("[data-c]")].sort((a, b) => a.dataset.c - b.dataset.c);
const make = (tag, ...children) => {
  const element = document.createElement(tag);
  element.append(...children);
  return element;
};
const copies = (nodes) => [...nodes].map((node) => node.cloneNode(true));
const choose = (mark, ...shown) => {
  for (const old of graph.querySelectorAll("[aria-current]")) old.removeAttribute("aria-current");
  mark?.setAttribute("aria-current", "true");
  panel.replaceChildren(...shown);
  panel.scrollTop = 0;
};
const HINT = "Press a mark to see what changed in its tree. Arrow keys go from mark to mark.";

const facts = (cells) => {
  const pairs = [...cells].map((cell) => {
    const name = table.tHead.rows[0].cells[cell.cellIndex].textContent;
    return make("div", make("dt", name), make("dd", ...copies(cell.childNodes)));
  });
  return make("dl", ...pairs);
};
const show = (mark) => {
  const row = document.getElementById(`c${mark.dataset.c}`);
  const [name, ...cells] = row.cells;
  const change = cells.pop();
  const details = change.querySelector("details");
  const said = make("p", make("b", (details?.firstElementChild ?? change).textContent));
  const link = make("a", "Its row in the table");
  link.href = `#${row.id}`;
  link.addEventListener("click", unfilter);
  const close = make("button", "close");
  close.type = "button";
  close.addEventListener("click", () => {
    choose(null, HINT);
    mark.focus();
  });
  const more = details ? copies(details.children).slice(1) : [];
  choose(mark, close, make("h3", ...copies(name.childNodes)), facts(cells), said, ...more, make("p", link));
};

// One mark of all can be reached with the tabulator, and the others from it: a page with hundreds of stops is no use.
for (const mark of marks) {
  mark.setAttribute("role", "button");
  mark.tabIndex = mark === marks[0] ? 0 : -1;
}
graph.setAttribute("role", "group");
graph.addEventListener("focusin", (event) => {
  for (const mark of marks) mark.tabIndex = mark === event.target ? 0 : -1;
});
graph.addEventListener("keydown", (event) => {
  const at = marks.indexOf(event.target);
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (event.key === "Enter" || event.key === " ") show(marks[at]);
  else if (step) marks[at + step]?.focus();
  else return;
  event.preventDefault();
});
graph.addEventListener("click", (event) => {
  const mark = event.target.closest("[data-c]");
  if (mark) show(mark);
});
if (marks.length) {
  panel.textContent = HINT;
  panel.hidden = false;
}
