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

// Samples by step: a slider that flips through them. The table below it shows the same without a script.
const flips = () => {
  for (const flip of document.querySelectorAll(".flip")) {
    const slider = flip.querySelector("input");
    const steps = flip.dataset.steps.split(" ");
    if (steps.length < 2) continue;
    flip.hidden = false;
    slider.addEventListener("input", () => {
      const step = steps[slider.value];
      flip.querySelector("output").textContent = Number(step).toLocaleString("en");
      for (const picture of flip.querySelectorAll("img")) picture.src = `${flip.dataset.address}${step}/${picture.dataset.index}`;
    });
  }
};
flips();

// A page about something that goes on asks for itself every five seconds and puts in what has changed. What somebody has
// the focus in stays as it is.
const regions = (page) => [...page.querySelectorAll("[data-live]")];
const seen = new Map(regions(document).map((region) => [region.id, null]));
const refresh = async () => {
  if (document.hidden) return true;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return true;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const going = regions(page).length > 0; // before its regions move over here
  for (const id of seen.keys()) {
    const [old, fresh] = [document.getElementById(id), page.getElementById(id)];
    if (!old || !fresh || old.contains(document.activeElement) || seen.get(id) === fresh.innerHTML) continue;
    seen.set(id, fresh.innerHTML);
    old.replaceWith(document.adoptNode(fresh));
    flips();
  }
  return going;
};
const watch = () => setTimeout(async () => ((await refresh().catch(() => true)) ? watch() : location.reload()), 5000);
if (seen.size) watch();

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
