from analysis import registry

registry.run('drift')
