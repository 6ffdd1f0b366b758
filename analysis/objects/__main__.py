from analysis import registry

registry.run('objects')
