"""Where two networks look: saliency maps of a multiscale DEQ and of a residual network."""
