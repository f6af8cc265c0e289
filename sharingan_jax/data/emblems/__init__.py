"""The 100 embedded images, drawn by our own code.

`draw` fills polygons in integer arithmetic; `motifs` has the shapes."""
