"""Pages, plots and pictures of reports, as HTML and SVG."""
