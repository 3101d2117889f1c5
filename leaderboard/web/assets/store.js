// What the page knows. Data come as scripts, since a page opened from disk may load nothing else.
"use strict";

window.splitsec = (() => {
  const taken = new Map();
  const script = document.documentElement;
  script.classList.add("js");

  return {
    // Called by data.js and by cells/*.js.
    take(name, value) {
      taken.set(name, value);
    },

    get page() {
      return taken.get("page");
    },

    // Resolves to the details of a cell.
    cell(id) {
      if (taken.has(id)) return Promise.resolve(taken.get(id));
      return new Promise((resolve, reject) => {
        const source = document.createElement("script");
        source.src = `cells/${id}.js`;
        source.onload = () => resolve(taken.get(id));
        source.onerror = () => reject(new Error(`${source.src} cannot be read`));
        document.head.append(source);
      });
    },

    // An element with attributes and children; text is always text, never markup.
    element(tag, attributes = {}, ...children) {
      const made = document.createElement(tag);
      for (const [name, value] of Object.entries(attributes)) {
        if (value !== null && value !== undefined) made.setAttribute(name, value);
      }
      made.append(...children.filter((child) => child !== null));
      return made;
    },

    // The chosen values of a form of selects, without those that are left at "all".
    chosen(form) {
      return Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
    },

    // Chooses what the address says, so that a link shows what its sender saw.
    fromAddress(form) {
      const asked = new URLSearchParams(location.hash.slice(1));
      for (const select of form.querySelectorAll("select")) {
        const known = [...select.options].some((option) => option.value === asked.get(select.name));
        select.value = known ? asked.get(select.name) : "";
      }
    },

    toAddress(...forms) {
      const chosen = new URLSearchParams(Object.assign({}, ...forms.map((form) => this.chosen(form))));
      history.replaceState(null, "", `#${chosen}`);
    },

    plural(count, noun) {
      return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
    },
  };
})();
