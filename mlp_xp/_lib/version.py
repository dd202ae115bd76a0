"""The version of mlp_xp. Checkpoints and models name the version that wrote them."""

__version__ = "0.1.0"
