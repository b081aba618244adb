// What scrolls can be reached by the keyboard, and the search has a name.
addEventListener("load", () => setTimeout(() => {
  for (const each of document.querySelectorAll("pre > code, .md-typeset__scrollwrap"))
    if (each.scrollWidth > each.clientWidth) each.tabIndex = 0;
}));
for (const each of document.querySelectorAll(".md-search")) each.setAttribute("aria-label", "Search");
