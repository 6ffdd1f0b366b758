from analysis import registry

registry.run('confusion')
