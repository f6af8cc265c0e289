"""Run SharinGAN from a checkout: `python main.py` is the command `sharingan-jax`. `python main.py --help` lists the commands."""

import sys

from sharingan_jax.__main__ import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
