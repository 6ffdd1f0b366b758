"""Every field of an experiment, with its default and what else it may be.

The defaults are the published person/car protocol on COCO 2014, apart from the deviations that are
marked `published:`; set a field to that value to get the published behaviour back. Other configs
start from this one and change a handful of lines. Any field can be overridden on the command line:

    python scripts/train.py --config configs/person_car.py --workdir runs/person_car \
        --config.optimizer.learning_rate=3e-4

A run of before there was a field is read as having its default here. So the default of a new field
is what was done before, and a field whose meaning changes gets another name.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the default experiment; fields are locked by whoever loads it."""
    config = ConfigDict()

    # Seed of the parameters, of the order of the examples, of augmentation and of dropout.
    config.seed = 0

    data = config.data = ConfigDict()
    # '2014': the official COCO 2014 zip files, downloaded on first use (19 GB).
    # 'scenes': scenes drawn by this project (see `data.scenes`).
    # Anything else: a folder in COCO's layout, <split>/*.jpg + annotations/instances_<split>.json.
    data.source = '2014'
    # Where the prepared data set (tfds, array_record) is kept; downloads too.
    data.data_dir = '~/tensorflow_datasets'
    # How many scenes to draw, and their seed. Read only by source 'scenes'.
    data.scenes = ConfigDict({'train': 800, 'val': 200, 'seed': 0})
    # Scenes with planted truth (configs/planted.py), and the share of images with each of the six
    # kinds of label error in them.
    data.scenes.planted = False
    data.scenes.error_rate = 0.02
    # Folder sources: categories or super-categories that are completely annotated in each split, as
    # 'train: person, vehicle; val: person, vehicle'. Images known to be incompletely annotated for
    # a class of the label space are left out. Empty: what the annotation file says, if anything.
    data.complete = ''
    # A space named in segmentation/data/label_spaces.py or one written here:
    # 'person: person; two wheels: bicycle, motorcycle'. Background is always class 0.
    data.label_space = 'person_car'
    # Splits of the prepared data set that are merged into the training pool / the reporting set.
    data.train_splits = ('train',)
    data.val_splits = ('val',)
    # Which images count: 'every_class', 'any_class' (of the label space) or 'nothing' (all images).
    data.require = 'every_class'
    # Categories that `require` speaks of, when they are not the label space's classes. (The vehicle
    # experiment keeps the person-and-car image list.)
    data.require_of = ()
    # Which instance is seen where two overlap: 'annotation' (later ones cover earlier ones),
    # 'class' (classes in label-space order, last on top) or 'area' (small on top).
    data.overlap = 'annotation'
    # Categories drawn after, and so over, everything else.
    data.draw_last = ()
    # Crowd regions: 'label' (drawn like instances) or 'ignore' (left out of loss and metric).
    data.crowd = 'label'
    # At most so many images, first in image-id order; 0 for all of them.
    data.max_train = 6000
    data.max_val = 2800
    # Share of the training images (those kept aside to choose the checkpoint too) that is used, by
    # image id, so that a smaller share is part of a larger one: for learning curves.
    data.fraction = 1.0
    # A file of image ids that are never used: JSON list, {"ids": [...]} (as analysis.label_issues
    # writes), or one id per line.
    data.exclude = ''
    # folds > 1: the training pool is divided by image id, `val` is its fold number `fold`
    # (0 … folds - 1) and the rest is trained on; val_splits is not used.
    data.folds = 0
    data.fold = 0
    # Share of the training images, by image id, kept aside to choose the best checkpoint.
    # published: 0 (the best checkpoint was chosen on the training data themselves).
    data.selection_fraction = 0.1
    # Side of the square network input, pixels. The aspect ratio is not kept, as published.
    data.image_size = 128
    # 'imagenet': pixels in [-1, 1], what the ImageNet weights were trained with.
    # published: 'unit' ([0, 1]).
    data.input_range = 'imagenet'
    # Average over the pixels that shrink into one (JPEG files are then decoded at a reduced scale
    # where that is enough). published: False (bilinear interpolation between four pixels).
    data.antialias = True
    # Augmentation of training images; off as published.
    data.flip = False  # mirror every second image, at random
    data.min_crop = 1.0  # crop to a random share of the area between this and 1, e.g. 0.5
    data.color_jitter = 0.0  # brightness, contrast and saturation times 1 ± this, e.g. 0.3
    # Threads that read, decode and draw, and batches they may be ahead.
    data.threads = 4
    data.prefetch = 8
    # Processes that do this for training, each with so many threads; 0: threads of this one. Python
    # lets one process prepare about 1,000 images per second, which an accelerator can outrun.
    data.workers = 0

    model = config.model = ConfigDict()
    # Width multiplier of MobileNetV2. Keras has ImageNet weights for 0.35, 0.5, 0.75, 1, 1.3, 1.4.
    model.width = 1.0
    # 'imagenet': Keras' official file, downloaded at first use; the path of an .h5 file in the same
    # layout; or '' for random initialisation.
    model.pretrained = 'imagenet'
    # Resolution the ImageNet weights were trained at: 96, 128, 160, 192 or 224.
    model.pretrained_resolution = 128
    # The published text says frozen, the published code trained the encoder.
    model.encoder_trainable = False
    # BatchNorm of a trainable encoder: 'batch' statistics, or 'fixed' to the pretrained ones.
    model.encoder_statistics = 'batch'
    # Decoder: norm 'batch' or 'instance', dropout rate, 'transposed' convolutions or 'nearest_conv'
    # (enlarge twofold, then convolve).
    model.norm = 'batch'
    model.dropout = 0.0
    model.upsampling = 'transposed'
    # Share of the old value that a running BatchNorm statistic keeps at each step.
    model.encoder_bn_momentum = 0.999
    model.decoder_bn_momentum = 0.99
    # 'float32', or 'bfloat16' for convolutions in mixed precision (parameters stay float32).
    model.dtype = 'float32'

    loss = config.loss = ConfigDict()
    # One weight per class, background first; empty for equal weights.
    loss.class_weights = ()
    loss.label_smoothing = 0.0
    # Weight of a soft Dice term beside the cross-entropy.
    loss.dice_weight = 0.0

    optimizer = config.optimizer = ConfigDict()
    # 'adam' or 'adamw' (with `weight_decay`).
    optimizer.name = 'adam'
    optimizer.learning_rate = 1e-3
    # 'constant', or 'cosine' (to zero at the last step), after `warmup_steps` of linear rise.
    optimizer.schedule = 'constant'
    optimizer.warmup_steps = 0
    optimizer.weight_decay = 0.0
    # Largest global gradient norm; 0 for no limit.
    optimizer.clip_norm = 0.0
    # Steps in a row whose loss or gradient is NaN or infinite that may be skipped (nothing of the
    # state changes, they are reported); one more stops the run. 0: the first one stops it.
    optimizer.skip_nonfinite = 0

    train = config.train = ConfigDict()
    # Global batch size: examples per step over all devices of all processes together.
    train.batch_size = 10
    # Length of the training: `num_steps` if it is not 0, or else `num_epochs`.
    train.num_epochs = 200
    train.num_steps = 0
    # Steps between two lines of metrics, and between two evaluations on the selection split.
    # Each evaluation saves a checkpoint.
    train.log_every = 20
    train.eval_every = 500
    # Steps between checkpoints in addition to those of evaluations; 0 for none.
    train.checkpoint_every = 0
    # Checkpoints at multiples of this many steps are kept for ever (beside the best and the
    # latest); 0 for none.
    train.keep_every = 0
    # Training batches from which BatchNorm statistics are measured anew before each evaluation, as
    # running averages of a short run are stale; 0 to keep the running averages.
    # published: 0.
    train.recalibrate_batches = 32
    # Pictures of predictions written at each evaluation.
    train.num_pictures = 8

    # Examples per evaluation step, over this process' devices.
    config.eval_batch_size = 32
    return config
