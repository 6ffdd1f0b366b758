from analysis import registry

registry.run('slices')
