// @ts-check
// Takes the slash from the end of a page's address: `card/` is the same page as `card`, but its relative URLs would lead elsewhere.

if (location.pathname.endsWith("/")) {
  history.replaceState(null, "", location.pathname.slice(0, -1) + location.search + location.hash);
}
