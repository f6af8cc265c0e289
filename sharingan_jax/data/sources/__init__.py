"""One module a source of images; `load` picks it from the settings.

A new source is a module here and a case in `load`."""
