// Keeps the counters on the page fresh. Everything works without it.
"use strict";
(() => {
  const period = 2000;
  const title = document.getElementById("counters-title");
  if (!title) return;
  let live = true;

  const button = document.createElement("button");
  button.type = "button";
  button.className = "quiet live";
  const label = () => { button.textContent = live ? "Live: pause" : "Paused: go on"; };
  button.addEventListener("click", () => { live = !live; label(); });
  label();
  title.after(button);

  const refresh = async () => {
    if (!live || document.hidden) return;
    const response = await fetch("/counters", { redirect: "error" });
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    document.getElementById("counters").replaceWith(page.getElementById("counters"));
  };
  const loop = () => {
    refresh().then(() => setTimeout(loop, period), () => { button.disabled = true; button.textContent = "No longer live"; });
  };
  setTimeout(loop, period);
})();
