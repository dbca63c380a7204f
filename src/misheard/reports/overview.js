"use strict";
// Takes over what has changed, node by node: where one reads, scrolls or selects, nothing moves.
(() => {
  const EVERY_MS = 10000;
  const lost = document.getElementById("lost");

  const attributes = (now, then) => {
    for (const { name } of [...now.attributes]) if (!then.hasAttribute(name)) now.removeAttribute(name);
    for (const { name, value } of then.attributes) if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  };

  const take = (now, then) => {
    if (now.isEqualNode(then)) return;
    const alike = now.nodeName === then.nodeName && now.childNodes.length === then.childNodes.length;
    if (!alike || now.nodeType !== Node.ELEMENT_NODE) {
      now.replaceWith(document.importNode(then, true));
      return;
    }
    attributes(now, then);
    [...now.childNodes].forEach((node, index) => take(node, then.childNodes[index]));
  };

  const refresh = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.href, { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const then = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const name of ["header", "main", "footer"]) {
        take(document.querySelector(name), then.querySelector(name));
      }
      document.title = then.title;
      lost.hidden = true;
    } catch {
      lost.hidden = false;
    }
  };

  setInterval(refresh, EVERY_MS);
  document.addEventListener("visibilitychange", refresh);
})();
