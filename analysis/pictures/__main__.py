from analysis import registry

registry.run('pictures')
