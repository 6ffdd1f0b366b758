from analysis import registry

registry.run('similar')
