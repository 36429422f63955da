"""Networks: images to features, features to what is learnt from them.

`encoders` are ResNets and a small network for 8 x 8 pixels, `autoencoder` works on flattened
pixels, `perceptron` makes projectors and heads, `batchnorm` normalises over all processes, and
`compiled` has passes of an encoder compiled for a GPU. Imports `compute`.
"""
