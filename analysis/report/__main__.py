from analysis import registry

registry.run('report')
