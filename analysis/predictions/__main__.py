from analysis import registry

registry.run('predictions')
