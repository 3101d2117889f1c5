// The gallery: one card per cell, so many at a time; what a card opens is loaded when it is opened.
"use strict";

splitsec.gallery = (() => {
  const AT_ONCE = 12;
  const { element, plural } = splitsec;
  const { cells, flags, members } = splitsec.page;
  const form = document.getElementById("cell-filters");
  const boardForm = splitsec.rankings.form;
  const list = document.getElementById("cells");
  const more = document.getElementById("more");
  const allRows = document.getElementById("all-rows");
  let row = null; // the row of a board whose cells alone are shown: their places and its name
  let fitting = [];

  function choose() {
    const { flag, order, ...filter } = splitsec.chosen(form);
    Object.assign(filter, splitsec.chosen(boardForm));
    fitting = (row ? row.places.map((place) => cells[place]) : cells).filter(
      (cell) => splitsec.rankings.fits(cell, filter) && (!flag || cell.flags.includes(flag)),
    );
    if (order) {
      const sign = order === "most" ? -1 : 1;
      const known = (cell) => cell.leakage !== null; // those without a number stay last
      fitting = [...fitting].sort((one, other) =>
        known(one) && known(other) ? sign * (one.leakage - other.leakage) : known(other) - known(one));
    }
    list.replaceChildren();
    allRows.hidden = row === null;
    show();
  }

  function show() {
    const next = fitting.slice(list.children.length, list.children.length + AT_ONCE);
    list.append(...next.map(card));
    const left = fitting.length - list.children.length;
    more.hidden = left === 0;
    more.textContent = `Show ${Math.min(AT_ONCE, left)} more of ${left.toLocaleString("en")}`;
    const of = row ? ` of ${row.name}` : "";
    document.getElementById("cell-count").textContent = fitting.length
      ? `${list.children.length} of ${plural(fitting.length, "cell")}${of} shown.`
      : `No cell${of} fits these choices.`;
    return next.length;
  }

  function card(cell) {
    const details = element("details", {}, element("summary", {}, "Measures, curves, how to repeat it"));
    details.addEventListener("toggle", () => details.open && fill(details, cell), { once: true });
    const marks = cell.flags.map((flag) =>
      element("li", { class: flags[flag].invalid ? "invalid" : null },
        element("strong", {}, flag), `: ${cell.marks[flag] ?? flags[flag].words}`));
    return element("li", { class: "cell" }, element("article", {},
      element("h3", {}, cell.title),
      element("p", { class: "setting" }, cell.setting),
      picture(cell),
      element("p", {}, cell.says),
      cell.evidence ? element("p", { class: "evidence" }, cell.evidence) : null,
      marks.length ? element("ul", { class: "marks" }, ...marks) : null,
      details,
    ));
  }

  function picture(cell) {
    if (!cell.picture) return element("p", { class: "missing" }, cell.missing);
    const { file, alt, width, height, columns } = cell.picture;
    const image = element("img", { src: file, alt, loading: "lazy", decoding: "async", width, height });
    // Before the image is in the page, so that no error is missed.
    image.addEventListener("error", () =>
      image.closest(".picture").replaceWith(element("p", { class: "missing" }, `${file} cannot be read.`)));
    if (!columns.length) return element("a", { class: "picture", href: file }, image);
    return element("div", { class: "picture ranked" }, // the image's text says the same as its labels
      ...columns.map(([name, leakage]) => element("div", { class: "column", "aria-hidden": "true" },
        name, element("span", {}, leakage === null ? "" : `leakage ${leakage.toFixed(2)}`))),
      ...["original", "recovered", "blind guess"].map((name) => element("div", { class: "line", "aria-hidden": "true" }, name)),
      image);
  }

  async function fill(details, cell) {
    let told;
    try {
      told = await splitsec.cell(cell.id);
    } catch (error) {
      details.append(element("p", { class: "missing" }, `${error.message}.`));
      return;
    }
    const curves = element("div", { class: "curves" });
    details.append(
      told.threat ? element("p", {}, told.threat) : "",
      ...told.victims.map((victims) =>
        numbers(`Measured on ${victims.name}`, ["", "attack", "sees nothing", "skill"], victims.rows)),
      told.utility.length
        ? numbers("Utility, from an honest session", ["", "this model", "ignores the image"], told.utility)
        : "",
      told.notes.length
        ? element("ul", { class: "notes" }, ...told.notes.map((note) => element("li", {}, note)))
        : "",
      curves,
      told.command ? element("p", {}, "To run this cell again:") : "",
      told.command ? element("pre", { tabindex: 0 }, element("code", {}, told.command)) : "",
      element("p", { class: "ran" }, `Ran ${told.ran}.`),
      element("p", {}, "Among the records that this page was made of it is cell ", element("code", {}, cell.id.slice(0, 10)), "."),
    );
    splitsec.charts.curves(curves, told.curves);
  }

  function numbers(caption, heads, rows) {
    const line = (row) => element("tr", {},
      ...row.map((text, place) => element(place ? "td" : "th", place ? { class: "number" } : { scope: "row" }, text)));
    return element("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": caption },
      element("table", {}, element("caption", {}, caption),
        element("thead", {}, element("tr", {},
          ...heads.map((text, place) => element(text ? "th" : "td", { scope: text ? "col" : null, class: place ? "number" : null }, text)))),
        element("tbody", {}, ...rows.map(line))));
  }

  for (const button of document.querySelectorAll("button.members")) {
    button.addEventListener("click", () => {
      const { board, row: place } = button.dataset;
      row = { places: members[board][place], name: button.closest("tr").dataset.name };
      form.reset();
      choose();
      document.getElementById("gallery-title").focus();
    });
  }
  allRows.addEventListener("click", () => {
    row = null;
    choose();
    document.getElementById("gallery-title").focus();
  });
  more.addEventListener("click", () => {
    const before = list.children.length;
    if (show()) list.children[before].querySelector("a, summary").focus({ preventScroll: true });
  });
  function chosenAnew() {
    splitsec.toAddress(boardForm, form);
    choose();
  }

  for (const each of [form, boardForm]) {
    each.addEventListener("change", chosenAnew);
    each.addEventListener("reset", () => setTimeout(chosenAnew)); // once the form is empty
  }
  window.addEventListener("hashchange", () => {
    if (location.hash && !location.hash.includes("=")) return; // a place on the page
    splitsec.fromAddress(boardForm);
    splitsec.fromAddress(form);
    splitsec.rankings.filterBoards();
    choose();
  });
  splitsec.fromAddress(form);
  choose();
})();
