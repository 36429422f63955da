"""Images on a device, and the random views of them that are trained on.

`images` holds the images of a dataset; `pictures` says how pictures of any size lie in its squares;
`view` says what a view is; `clean`, `weak`, `strong`, `contrastive` and `randaugment` are the
views; `steps` says what they do to a picture, by `crops`, `resampling`, `operations` and `colour`.
`taps` and `levels` carry that out for large pictures on a CPU, `programs` for small ones on a GPU.
Imports PyTorch, NumPy, numba and Triton and no other room.

A view is two steps. ``draw`` makes all random choices of a batch, ``apply`` uses them:

    view = Weak(32)
    draws = view.draw(n, generator)
    x = view.apply(images.take(index), draws, mean, std)      # float32 (n, 3, 32, 32), normalised

A row of the result depends on its own image and its own draws and on nothing else, bit for bit. So
several processes draw for the global batch, and each applies its own rows of images and draws.

Hand in a generator on the CPU, also when the images are on a GPU. Then the host knows which sample
gets which operation, groups the samples by operation without asking the device, and the same seed
draws the same views on every kind of device. (Draws made on a GPU work; ``Strong`` and
``Contrastive`` then wait for the device once in each ``apply``.)

The operations are those of Pillow, which the papers' pipelines run on one image at a time: 8-bit
levels between operations and its rounding. Three deliberate differences:

- Resampling weights are multiples of 1/1024. With 8-bit pixels each product and each partial sum is
  then exact, in float32 as in TF32, in any order of summation: rows stay independent of the batch
  whichever matrix kernel runs. Pillow's own weights are finer; the outcome differs by one level in
  a few per cent of the pixels.
- Blur is one Gaussian of Pillow's variance, where Pillow applies three box filters.
- Hue is turned without steps, where Pillow's HSV has 8 bits for hue, saturation and value: 0.4
  levels apart on average over photographs, 16 at most.
"""
