"""SharinGAN in JAX: a DCGAN with spectral normalisation and gradient clipping for a hundred pictures."""

__version__ = "0.1.0"
