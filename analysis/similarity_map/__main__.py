from analysis import registry

registry.run('similarity_map')
