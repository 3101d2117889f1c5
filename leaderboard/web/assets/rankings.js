// Tabs, sortable tables, and the filters that rankings and gallery share.
"use strict";

splitsec.rankings = (() => {
  const form = document.getElementById("board-filters");
  const tabs = [...document.querySelectorAll('[role="tab"]')];
  const panels = [...document.querySelectorAll('[role="tabpanel"]')];

  function open(tab) {
    for (const one of tabs) {
      const chosen = one === tab;
      one.setAttribute("aria-selected", chosen);
      one.tabIndex = chosen ? 0 : -1;
      document.getElementById(one.getAttribute("aria-controls")).classList.toggle("closed", !chosen);
    }
    count();
  }

  function move(event) {
    const at = tabs.indexOf(event.currentTarget);
    const to = {
      ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const tab = tabs.at(to % tabs.length);
    open(tab);
    tab.focus();
  }

  // Rows without a value stay last, whichever way the rest is sorted.
  function sort(button) {
    const head = button.closest("th");
    const table = head.closest("table");
    const column = [...head.parentElement.children].indexOf(head);
    const up = head.getAttribute("aria-sort") !== "ascending";
    const numeric = button.dataset.kind === "number";
    const value = (row) => row.children[column].dataset.value;
    const compare = (one, other) => {
      const [a, b] = [value(one), value(other)];
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
      return up ? order : -order;
    };
    for (const one of head.parentElement.children) one.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }

  function fits(data, filter) {
    return Object.entries(filter).every(([name, value]) => !data[name] || data[name] === value);
  }

  function filterBoards() {
    const filter = splitsec.chosen(form);
    for (const board of document.querySelectorAll(".board")) {
      let left = 0;
      const rows = board.querySelectorAll("tbody tr");
      for (const row of rows) {
        row.hidden = !fits(row.dataset, filter);
        left += !row.hidden;
      }
      board.hidden = (rows.length > 0 && left === 0) || !fits(board.dataset, filter);
    }
    for (const group of document.querySelectorAll(".access")) {
      group.hidden = !group.querySelector(".board:not([hidden])");
    }
    count();
  }

  function count() {
    const panel = panels.find((one) => !one.classList.contains("closed"));
    const all = panel.querySelectorAll(".board").length;
    const left = panel.querySelectorAll(".board:not([hidden])").length;
    const shown = left === all ? splitsec.plural(all, "board") : `${left} of ${splitsec.plural(all, "board")}`;
    document.getElementById("board-count").textContent =
      left || !all ? `${shown}, ranked by ${panel.dataset.kind}.` : "No board fits these choices.";
  }

  for (const tab of tabs) {
    tab.addEventListener("click", () => open(tab));
    tab.addEventListener("keydown", move);
  }
  for (const button of document.querySelectorAll("button.sort")) {
    button.addEventListener("click", () => sort(button));
  }
  for (const row of document.querySelectorAll(".board tbody tr")) {
    const board = row.closest(".board").id;
    for (const event of ["mouseenter", "focusin"]) {
      row.addEventListener(event, () => splitsec.charts.point(board, row.dataset.name));
    }
    for (const event of ["mouseleave", "focusout"]) {
      row.addEventListener(event, () => splitsec.charts.unpoint(board));
    }
  }
  form.addEventListener("change", filterBoards);
  form.addEventListener("reset", () => setTimeout(filterBoards)); // once the form is empty
  open(tabs.find((tab) => tab.getAttribute("aria-selected") === "true"));
  splitsec.fromAddress(form); // a browser may also have kept choices over a reload
  filterBoards();

  return { form, fits, filterBoards };
})();
