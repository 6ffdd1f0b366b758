from analysis import registry

registry.run('saliency')
