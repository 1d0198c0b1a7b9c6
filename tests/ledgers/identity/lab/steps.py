def step(lr):
    return lr / 2
