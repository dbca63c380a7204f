"use strict";
(() => {
  const filters = document.getElementById("filters");
  if (!filters) return;

  const plain = (text) => text.normalize("NFKC").toLowerCase().replace(/\s+/gu, " ");
  const clips = [...document.querySelectorAll(".clip")].map((node) => ({
    node,
    turn: node.dataset.turn,
    parts: node.dataset.parts,
    text: plain(
      [...node.querySelectorAll("h4, .heard, .about")].map((part) => part.textContent).join(" "),
    ),
  }));
  const groups = [...document.querySelectorAll(".turn")].map((node) => {
    const count = node.querySelector(".count");
    return { node, count, all: count.textContent };
  });
  const part = document.getElementById("part");
  const search = document.getElementById("search");
  const shown = document.getElementById("shown");
  const amount = (count) => `${count.toLocaleString("en")} clip${count === 1 ? "" : "s"}`;

  const apply = () => {
    const turn = filters.querySelector("input[name=turn]:checked").value;
    const words = plain(search.value.trim());
    const filtered = Boolean(turn || part.value || words);
    let count = 0;
    for (const clip of clips) {
      const fits =
        (!turn || clip.turn === turn) &&
        (!part.value || clip.parts.includes(` ${part.value} `)) &&
        clip.text.includes(words);
      clip.node.hidden = !fits;
      count += fits;
      if (!fits) clip.node.querySelector("audio")?.pause();
    }
    for (const group of groups) {
      const found = group.node.querySelectorAll(".clip:not([hidden])").length;
      group.node.hidden = !found;
      group.count.textContent = filtered ? `${found.toLocaleString("en")} of ${group.all}` : group.all;
      const details = group.node.querySelector("details");
      if (details) {
        details.open = filtered;
        details.hidden = !details.querySelector(".clip:not([hidden])");
      }
    }
    shown.textContent = filtered
      ? `${count.toLocaleString("en")} of ${amount(clips.length)}`
      : amount(clips.length);
  };

  filters.addEventListener("input", apply);
  // A browser may have kept what was chosen before the page was loaded again.
  filters.hidden = false;
  apply();

  document.addEventListener(
    "play",
    (event) => {
      for (const other of document.querySelectorAll("audio")) {
        if (other !== event.target) other.pause();
      }
    },
    true,
  );
})();
