from analysis import registry

registry.run('samples')
