def loss(lr):
    return lr
