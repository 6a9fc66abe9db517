// What the pages do beyond plain HTML: a theme toggle, j and k between pairs, and word on whether pictures loaded.
// Everything works without it.

const root = document.documentElement;

// The theme lives in a cookie, so that the server can draw the page in it from the first pixel.
const toggle = document.getElementById("theme");
if (toggle) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const current = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const tell = () => toggle.setAttribute("aria-label", `Switch to ${current() === "dark" ? "light" : "dark"} colours`);
  toggle.hidden = false;
  tell();
  dark.addEventListener("change", tell);
  toggle.addEventListener("click", () => {
    root.dataset.theme = current() === "dark" ? "light" : "dark";
    document.cookie = `pairsieve-theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
    tell();
  });
}

// j and k step through pairs, Enter opens the one in focus, f goes to its flags, n and p turn the page.
const stops = [...document.querySelectorAll("[data-stop]")];
const typing = (target) => target.closest("input, select, textarea, [contenteditable]") !== null;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  if ((event.key === "j" || event.key === "k") && stops.length) {
    const here = stops.findIndex((stop) => stop.contains(document.activeElement));
    const next = event.key === "j" ? here + 1 : Math.max(here, 1) - 1;
    const stop = stops[Math.min(next, stops.length - 1)];
    stop.focus({ preventScroll: true });
    stop.scrollIntoView({ block: "start" });
    event.preventDefault();
  } else if (event.key === "Enter" && stops.includes(document.activeElement)) {
    document.activeElement.querySelector("a[data-open]")?.click();
  } else if (event.key === "f") {
    const button = document.querySelector("[data-flag]");
    const link = document.activeElement?.querySelector?.('a[href$="#flags"]');
    if (button) {
      button.focus();
      button.scrollIntoView({ block: "center" });
    } else if (link) link.click();
  } else if (event.key === "n" || event.key === "p") {
    document.querySelector(`a[rel="${event.key === "n" ? "next" : "prev"}"]`)?.click();
  }
});

// For tests and for people with the inspector open: how many pictures arrived so far, how many
// failed, and by how much the page is wider than its window.
const count = () => {
  const tried = [...document.querySelectorAll(".frame img")].filter((picture) => picture.complete);
  root.dataset.pictures = String(tried.filter((picture) => picture.naturalWidth > 0).length);
  root.dataset.overflow = String(Math.max(0, root.scrollWidth - root.clientWidth));
  root.dataset.broken = String(tried.filter((picture) => picture.naturalWidth === 0).length);
};
for (const event of ["load", "error"]) addEventListener(event, count, true);
count();
