from analysis import registry

registry.run('check')
