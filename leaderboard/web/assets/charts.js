// Scatters and curves, drawn by Plotly in the page's own colours, anew when these change.
"use strict";

splitsec.charts = (() => {
  const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "triangle-down", "star", "hexagon"];
  const SETTINGS = { displayModeBar: false, responsive: true, scrollZoom: false };
  const drawn = new Map(); // element -> the function that draws it again

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  // Plotly reads a little markup in texts; names are none.
  function plain(text) {
    return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  function layout(changes) {
    const axis = {
      gridcolor: colour("grid"), linecolor: colour("line"), zerolinecolor: colour("line"),
      ticks: "outside", tickcolor: colour("line"), automargin: true, fixedrange: true,
    };
    return {
      paper_bgcolor: colour("paper"), plot_bgcolor: colour("paper"),
      font: { family: "system-ui, sans-serif", size: 13, color: colour("ink") },
      hoverlabel: {
        bgcolor: colour("paper"), bordercolor: colour("line"), align: "left",
        font: { color: colour("ink"), size: 13 },
      },
      margin: { l: 56, r: 16, t: 16, b: 48 }, dragmode: false, ...changes,
      xaxis: { ...axis, ...changes.xaxis }, yaxis: { ...axis, ...changes.yaxis },
    };
  }

  function whiskers(points, axis, tint) {
    const ends = (place, sign) =>
      points.map((point) => (point[axis][1] === null ? 0 : sign * (point[axis][place] - point[axis][0])));
    return {
      type: "data", symmetric: false, array: ends(2, 1), arrayminus: ends(1, -1),
      color: tint, thickness: 1.2, width: 4,
    };
  }

  function range(points, axis, low, high) {
    const values = points.flatMap((point) => point[axis].filter((value) => value !== null));
    return [Math.min(low, ...values) - 0.03, Math.max(high, ...values) + 0.03];
  }

  // One trace per method: the strengths of one are joined, single rows stand alone.
  function methods(chart) {
    const joined = new Set(chart.curves.flat());
    const single = chart.points.map((_, place) => place).filter((place) => !joined.has(place));
    return [...single.map((place) => [place]), ...chart.curves].sort((one, other) => one[0] - other[0]);
  }

  function scatter(place, chart) {
    const traces = methods(chart).map((places, number) => {
      const points = places.map((one) => chart.points[one]);
      const undefended = points.length === 1 && points[0].name === "none";
      const tint = undefended ? colour("ink") : colour(`series-${number % 6}`);
      const symbol = undefended ? "x-thin" : SYMBOLS[number % SYMBOLS.length];
      const first = points[0].name;
      return {
        name: plain(points.length > 1 ? `${first.replace(/[: ][^:]*$/, "")}, ${points.length} strengths` : first),
        mode: points.length === 1 ? "markers" : chart.marked ? "lines+markers" : "lines+markers+text",
        x: points.map((point) => point.x[0]), y: points.map((point) => point.y[0]),
        error_x: whiskers(points, "x", tint), error_y: whiskers(points, "y", tint),
        line: { color: tint, width: 1.5 },
        marker: {
          color: tint, size: 10, line: { width: 2, color: tint },
          symbol: points.map((point) => (point.ranked || undefended ? symbol : `${symbol}-open`)),
        },
        customdata: places,
        text: points.map((point) => plain(point.name.replace(/^[^: ]*[: ]/, ""))), // its strength
        textposition: points.map((point) => (point.x[0] > 0.5 ? "top left" : "bottom right")),
        textfont: { size: 11, color: tint },
        hovertext: points.map((point) => [`<b>${plain(point.name)}</b>`, ...point.lines.map(plain)].join("<br>")),
        hovertemplate: "%{hovertext}<extra></extra>",
      };
    });
    if (chart.front.length > 1) {
      const points = chart.front.map((one) => chart.points[one]);
      traces.unshift({
        name: "Pareto front", mode: "lines", hoverinfo: "skip",
        x: points.map((point) => point.x[0]), y: points.map((point) => point.y[0]),
        line: { color: colour("muted"), width: 1.5, dash: "dash" },
      });
    }
    const narrow = place.clientWidth < 560;
    return Plotly.react(place, traces, layout({
      height: narrow ? 400 + 22 * traces.length : Math.max(400, 80 + 20 * traces.length), // the legend's
      showlegend: true,
      legend: narrow
        ? { orientation: "h", x: 0, y: -0.22, yanchor: "top" }
        : { x: 1.02, y: 1, yanchor: "top" },
      xaxis: {
        title: { text: plain(chart.across) },
        range: range(chart.points, "x", 0, 1).map((end, last) => (chart.marked && !last ? 0.47 : end)),
      },
      yaxis: { title: { text: "leakage" }, range: range(chart.points, "y", 0, 1) },
      shapes: chart.marked ? [{
        type: "line", x0: chart.marked, x1: chart.marked, yref: "paper", y0: 0, y1: 1,
        line: { color: colour("muted"), width: 1.2, dash: "dash" },
      }] : [],
      hovermode: "closest",
    }), SETTINGS);
  }

  function curve(place, told) {
    const steps = told.values.map((_, index) => (index + 1) * told.step);
    return Plotly.react(place, [{
      mode: told.values.length > 30 ? "lines" : "lines+markers", x: steps, y: told.values,
      line: { color: colour("series-0"), width: 1.5 },
      hovertemplate: `${plain(told.axis)} %{x:.0f}: %{y:.4g}<extra></extra>`,
    }], layout({
      height: 240, margin: { l: 56, r: 12, t: 36, b: 44 },
      title: { text: plain(told.title), font: { size: 13 }, x: 0, xref: "paper" },
      xaxis: { title: { text: plain(told.axis) } }, yaxis: { tickformat: ".3~g" },
    }), SETTINGS);
  }

  function draw(place, how) {
    drawn.set(place, how);
    return how();
  }

  // Scatters are drawn when they come into sight, which a hidden tab's never do.
  const sight = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting || drawn.has(target)) continue;
      draw(target, () => scatter(target, splitsec.page.charts[target.dataset.chart]));
      sight.unobserve(target);
    }
  }, { rootMargin: "400px" });
  document.querySelectorAll("[data-chart]").forEach((place) => sight.observe(place));

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const [place, how] of drawn) {
      if (place.isConnected) how();
      else drawn.delete(place);
    }
  });

  // Shows what hovering over a row's point would, so that a keyboard reaches it too.
  function point(board, name) {
    const place = document.querySelector(`[data-chart="${board}"]`);
    if (!place?.data) return;
    const number = splitsec.page.charts[board].points.findIndex((one) => one.name === name);
    place.data.forEach((trace, curveNumber) => {
      const pointNumber = trace.customdata ? trace.customdata.indexOf(number) : -1;
      if (number >= 0 && pointNumber >= 0) Plotly.Fx.hover(place, [{ curveNumber, pointNumber }]);
    });
  }

  function unpoint(board) {
    const place = document.querySelector(`[data-chart="${board}"]`);
    if (place?.data) Plotly.Fx.unhover(place);
  }

  return {
    point,
    unpoint,
    curves(place, told) {
      const places = told.map((one) => splitsec.element("div", { class: "curve", role: "img",
        "aria-label": `Curve: ${one.title}; ${one.values.length} values, the last ${one.values.at(-1)}.` }));
      place.append(...places); // all of them first: they share the width
      places.forEach((each, number) => draw(each, () => curve(each, told[number])));
    },
  };
})();
