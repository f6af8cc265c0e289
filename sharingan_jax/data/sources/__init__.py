"""One module per source of images; `load` chooses the source.

To add a source, write a module here and a case in `load`."""
