// The console is complete without this. It tells the server the browser's time zone, and refreshes a page in place.
"use strict";
(() => {
  const cookie = (name) => document.cookie.split("; ").some((one) => one.startsWith(name + "="));
  const every = Number(document.body.dataset.refresh || 0) * 1000;
  const told = document.getElementById("refreshed");
  const announced = document.getElementById("announced");
  let last = Date.now();
  let stale = false;

  const busy = () => {
    const main = document.querySelector("main");
    const focused = document.activeElement;
    const inForm = focused && main.contains(focused) && focused.closest("form, input, select, textarea, [contenteditable]");
    const selection = window.getSelection();
    return document.hidden || inForm || (selection && !selection.isCollapsed && main.contains(selection.anchorNode));
  };

  const swap = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("main");
    const main = document.querySelector("main");
    if (!fresh) return false;
    const open = new Set([...main.querySelectorAll("details[open][id]")].map((one) => one.id));
    const focus = document.activeElement && main.contains(document.activeElement) ? document.activeElement.id : "";
    fresh.querySelectorAll("details[id]").forEach((one) => { one.open = open.has(one.id) || one.open; });
    const scrolled = [...main.querySelectorAll(".wide")].map((one) => one.scrollLeft);
    main.replaceChildren(...fresh.childNodes);
    main.querySelectorAll(".wide").forEach((one, at) => { one.scrollLeft = scrolled[at] || 0; });
    if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
    return true;
  };

  const refresh = async () => {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.redirected) { location.reload(); return; }
      if (answer.ok && !busy() && swap(await answer.text())) { last = Date.now(); stale = false; announced.textContent = ""; }
      else if (!answer.ok) lost();
    } catch { lost(); }
  };

  const lost = () => {
    if (!stale) announced.textContent = told.dataset.stale;
    stale = true;
  };

  const tell = () => {
    told.hidden = false;
    told.classList.toggle("stale", stale);
    told.textContent = (stale ? told.dataset.stale + " " : "") + told.dataset.fresh.replace("{}", Math.round((Date.now() - last) / 1000));
  };

  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const first = zone && !cookie("kuma_sync_zone");
  if (first) document.cookie = "kuma_sync_zone=" + zone + "; path=/; max-age=31536000; samesite=lax" + (location.protocol === "https:" ? "; secure" : "");

  if (every) {
    if (first) refresh();
    setInterval(() => { if (!busy()) refresh(); }, every);
    setInterval(tell, 1000);
  }
})();
