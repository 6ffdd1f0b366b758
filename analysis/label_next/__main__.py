from analysis import registry

registry.run('label_next')
