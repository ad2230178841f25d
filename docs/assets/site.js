// Mathematics: arithmatex marks it, KaTeX draws it; both travel with the site.
document$.subscribe(() => {
  for (const element of document.querySelectorAll(".arithmatex")) {
    renderMathInElement(element, {
      delimiters: [
        { left: "\\(", right: "\\)", display: false },
        { left: "\\[", right: "\\]", display: true },
      ],
    });
  }
});

// Keyboards can scroll wide code and tables, and screen readers tell buttons apart.
document$.subscribe(() => {
  document.querySelectorAll("pre > code").forEach((code, number) => {
    code.tabIndex = 0;
    code.parentElement
      .querySelector(".md-code__nav")
      ?.setAttribute("aria-label", `Code ${number + 1}`);
  });
});

// Tables get their frames from the theme, after the page is there.
document$.subscribe(() => {
  setTimeout(() => {
    for (const frame of document.querySelectorAll(".md-typeset__scrollwrap")) {
      frame.tabIndex = 0;
    }
  }, 300);
});
