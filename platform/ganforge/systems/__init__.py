"""The systems by name. Each is one file: settings, networks, objectives, presets."""

#: name -> "module:Class", resolved when a system is used
SYSTEMS: dict[str, str] = {
    "simple_gan": "ganforge.systems.simple_gan:SimpleGAN",
    "dcgan": "ganforge.systems.dcgan:DCGAN",
    "wgan": "ganforge.systems.wgan:WGAN",
    "wgan_gp": "ganforge.systems.wgan_gp:WGANGP",
    "conditional_gan": "ganforge.systems.conditional_gan:ConditionalGAN",
    "progan_a": "ganforge.systems.progan:ProGANA",
    "progan_t": "ganforge.systems.progan:ProGANT",
    "progressive_gan_sr": "ganforge.systems.progressive_gan_sr:ProgressiveGANSR",
    "superresgan_unet": "ganforge.systems.superresgan_unet:SuperResGANUnet",
    "pix2pix": "ganforge.systems.pix2pix:Pix2Pix",
    "cyclegan": "ganforge.systems.cyclegan:CycleGAN",
    "srgan": "ganforge.systems.srgan:SRGAN",
    "esrgan": "ganforge.systems.esrgan:ESRGAN",
}
