from analysis import registry

registry.run('compare')
