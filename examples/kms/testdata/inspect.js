(() => {
  const problems = [];
  const name = (e) => e.tagName.toLowerCase() + (e.id ? "#" + e.id : "") + (e.className.baseVal ?? e.className ? "." + (e.className.baseVal ?? e.className) : "");

  // Contrast (WCAG 2.1, 1.4.3): of each text with the first ground behind it.
  const rgba = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = rgba(color).map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if ((rgba(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (texts.nextNode()) {
    const text = texts.currentNode.textContent.trim(), e = texts.currentNode.parentElement;
    if (!text || e.closest("script, title, option") || !e.getClientRects().length) continue;
    const style = getComputedStyle(e), size = parseFloat(style.fontSize);
    const color = e.closest("svg") ? style.fill : style.color;
    const [low, high] = [luminance(color), luminance(ground(e))].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    const least = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
    if (ratio < least) problems.push(`contrast ${ratio.toFixed(2)} of ${name(e)} "${text}"`);
    if (size < 12) problems.push(`${name(e)} has letters of ${size} px`);
    seen++;
  }
  if (seen < 5) problems.push(`only ${seen} texts`);

  // Structure.
  if (!document.documentElement.lang) problems.push("no lang");
  if (!document.title) problems.push("no title");
  for (const tag of ["main", "h1", "header"]) {
    if (document.querySelectorAll(tag).length !== 1) problems.push(`not one ${tag}`);
  }
  let level = 0;
  for (const heading of document.querySelectorAll("h1, h2, h3, h4")) {
    const next = Number(heading.tagName[1]);
    if (next > level + 1) problems.push(`${name(heading)} comes after level ${level}`);
    level = next;
  }
  const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
  for (const id of new Set(ids)) {
    if (ids.filter((other) => other === id).length > 1) problems.push(`two elements are #${id}`);
  }
  for (const e of document.querySelectorAll("[aria-labelledby], [aria-describedby]")) {
    for (const id of `${e.getAttribute("aria-labelledby") ?? ""} ${e.getAttribute("aria-describedby") ?? ""}`.trim().split(/\s+/)) {
      if (!document.getElementById(id)) problems.push(`${name(e)} is labelled by #${id}, which is not there`);
    }
  }
  for (const e of document.querySelectorAll("input:not([type=hidden]), select")) {
    if (!e.labels.length) problems.push(`${name(e)} has no label`);
  }
  for (const e of document.querySelectorAll("button, a, summary")) {
    if (!e.textContent.trim()) problems.push(`${name(e)} has no text`);
  }
  for (const e of document.querySelectorAll("svg")) {
    if (!e.getAttribute("aria-hidden") && !(e.getAttribute("role") === "img" && e.getAttribute("aria-labelledby"))) problems.push("a drawing without a text");
  }
  // What fingers press must be 24 px or more (WCAG 2.2, 2.5.8).
  for (const e of document.querySelectorAll("button, input:not([type=hidden]), select, .button")) {
    if (e.getBoundingClientRect().height < 24) problems.push(`${name(e)} is small`);
  }

  if (document.documentElement.scrollWidth > document.documentElement.clientWidth) {
    problems.push(`the page is ${document.documentElement.scrollWidth} px wide, the screen ${document.documentElement.clientWidth}`);
    for (const e of document.querySelectorAll("main *")) {
      if (e.getBoundingClientRect().right > document.documentElement.clientWidth + 1) problems.push(`${name(e)} is too wide`);
    }
  }
  return problems;
})()
