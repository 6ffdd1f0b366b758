from analysis import registry

registry.run('mean_iou')
