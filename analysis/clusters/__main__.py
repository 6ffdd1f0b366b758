from analysis import registry

registry.run('clusters')
