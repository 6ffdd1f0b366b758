from analysis import registry

registry.run('embeddings')
