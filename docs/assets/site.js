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

// Keyboards can scroll wide code, and screen readers tell its buttons apart.
document$.subscribe(() => {
  document.querySelectorAll("pre > code").forEach((code, number) => {
    code.tabIndex = 0;
    code.parentElement
      .querySelector(".md-code__nav")
      ?.setAttribute("aria-label", `Code ${number + 1}`);
  });
});
