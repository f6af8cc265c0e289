"""What the step runs on: the mesh, the compiled programs, stacked seeds, several processes.

`environment` pins what decides roundings before JAX starts."""
