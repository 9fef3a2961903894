"""The systems by name. Each is one file: settings, networks, objectives, presets."""

#: name -> "module:Class", resolved when a system is used
SYSTEMS: dict[str, str] = {
    "progressive_gan_sr": "ganforge.systems.progressive_gan_sr:ProgressiveGANSR",
}
