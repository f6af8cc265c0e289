"""The 100 embedded images, drawn by our own code.

`draw` fills polygons in whole numbers; `motifs` holds the shapes."""
