from analysis import registry

registry.run('duplicates')
