from analysis import registry

registry.run('associations')
