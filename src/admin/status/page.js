"use strict";
// Keeps the figures current: takes the page again, and puts what differs in place of what is there.
// Whatever stays is left alone, and with it focus, selection and scroll positions.
(() => {
  const EVERY = 5000;
  const PATIENCE = 15000;
  const note = document.getElementById("note");
  const box = document.getElementById("live");
  const page = `${location.origin}/`;

  // A screen reader tells what is said here; so only what somebody should know, and once.
  const say = (text) => {
    if (note.textContent !== text) note.textContent = text;
  };

  const follow = (old, fresh) => {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) {
      old.replaceWith(document.importNode(fresh, true));
      return;
    }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!fresh.hasAttribute(name)) old.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    const [mine, theirs] = [[...old.childNodes], [...fresh.childNodes]];
    theirs.forEach((node, index) => {
      if (index < mine.length) follow(mine[index], node);
      else old.append(document.importNode(node, true));
    });
    mine.slice(theirs.length).forEach((node) => node.remove());
  };

  const state = () => document.getElementById("state").textContent;

  const refresh = async () => {
    const answer = await fetch(page, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) {
      box.checked = false;
      say("The credential has changed. Reload the page.");
      return;
    }
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const before = state();
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = fresh.getElementById(old.id);
      if (next) follow(old, next);
    }
    if (!location.search) document.title = fresh.title;
    const now = state();
    say(now === before ? "" : now);
  };

  const tick = async () => {
    if (box.checked && !document.hidden) {
      try {
        await refresh();
      } catch {
        say("The gateway does not answer. The figures are those of the time above.");
      }
    }
    setTimeout(tick, EVERY);
  };

  box.closest("label").hidden = false;
  setTimeout(tick, EVERY);
})();
