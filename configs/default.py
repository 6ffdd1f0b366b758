"""Every field of an experiment, with its default and its other values.

The defaults are the published person/car protocol on COCO 2014. Deviations are marked `published:`;
set a field to that value to restore the published behavior. Other configs start from this one and
change a few fields. Any field can be overridden on the command line:

    python scripts/train.py --config configs/person_car.py --workdir runs/person_car \
        --config.optimizer.learning_rate=3e-4

Older runs without a field are read with its default here. So the default of a new field is the
previous behavior, and a field whose meaning changes gets another name.
"""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    """Returns the default experiment; `segmentation.config.load_config` locks the fields."""
    config = ConfigDict()

    # Seed of the initial parameters, the order of the examples, augmentation and dropout.
    config.seed = 0

    data = config.data = ConfigDict()
    # '2014': the official COCO 2014 zip files, downloaded on first use (20 GB).
    # 'scenes': scenes drawn by this project (see `data.scenes`).
    # Anything else: a folder with your own data (segmentation/data/README.md lists the layouts), or
    # the path of a prepared data set, which scripts/prepare_coco.py prints.
    data.source = '2014'
    # Folder of the prepared data set (tfds, array_record) and of downloads.
    data.data_dir = '~/tensorflow_datasets'
    # Number of scenes to draw, and their seed. Only for source 'scenes'.
    data.scenes = ConfigDict({'train': 800, 'val': 200, 'seed': 0})
    # Draw scenes with planted truth (configs/planted.py), and the fraction of images that get each
    # of the six kinds of label error.
    data.scenes.planted = False
    data.scenes.error_rate = 0.02
    # Folder sources: categories or super-categories that are completely annotated in each split, as
    # 'train: person, vehicle; val: person, vehicle'. Images whose annotations are incomplete for a
    # class of the label space are left out. Empty: as marked in the annotation file, if at all.
    data.complete = ''
    # A name in segmentation/data/label_spaces.py, or a label space such as
    # 'person: person; two wheels: bicycle, motorcycle'. Background is always class 0.
    data.label_space = 'person_car'
    # Splits of the prepared data set that form the training pool and the validation set.
    data.train_splits = ('train',)
    data.val_splits = ('val',)
    # Classes that an image must show to be used: 'every_class' or 'any_class' of the label space,
    # or 'nothing' (all images are used).
    data.require = 'every_class'
    # Categories that `require` refers to, if not those of the label space. (The vehicle experiment
    # uses the images with a person and a car.)
    data.require_of = ()
    # Which instance is visible where two overlap: 'annotation' (later ones cover earlier ones),
    # 'class' (classes in the order of the label space, the last on top) or 'area' (small on top).
    data.overlap = 'annotation'
    # Categories that are drawn last, on top of all others.
    data.draw_last = ()
    # Crowd regions: 'label' (drawn like instances) or 'ignore' (left out of loss and metric).
    data.crowd = 'label'
    # Maximum number of images, before any are held out: the first ones by split and id. 0 for all.
    data.max_train = 6000
    data.max_val = 2800
    # Fraction of the training images that is used, including those held out to choose the
    # checkpoint. Chosen by image id, so that a smaller fraction is a subset of a larger one. For
    # learning curves.
    data.fraction = 1.0
    # File of image ids to leave out: a JSON list, {"ids": [...]} (as analysis.label_issues writes),
    # or one id per line. FILE#NAME is a view that was saved in the report. Only training images are
    # excluded, so that scores with and without it are comparable. `exclude_from` can also name
    # 'selection' (chooses the checkpoint) and 'val'.
    data.exclude = ''
    data.exclude_from = ('train',)
    # folds > 1: cross-validation. The training pool is divided by image id; fold number `fold`
    # (0 … folds - 1) is the validation set, the others are trained on. val_splits is ignored.
    data.folds = 0
    data.fold = 0
    # File with groups of image ids, {"groups": [[17, 25], ...]}, as analysis.duplicates writes.
    # Each group stays in one fold, and all or none of it is held out to choose the checkpoint.
    data.groups = ''
    # Fraction of the training images, by image id, that is held out to choose the best checkpoint:
    # that with the highest mean IoU over the foreground classes that these images show.
    # published: 0 (the best checkpoint was chosen on the training data).
    data.selection_fraction = 0.1
    # Side of the square network input in pixels. The aspect ratio is not preserved, as published.
    data.image_size = 128
    # 'imagenet': pixels in [-1, 1], the range that the ImageNet weights were trained with.
    # published: 'unit' ([0, 1]).
    data.input_range = 'imagenet'
    # Antialiased downscaling: average over all source pixels. JPEG files are decoded at a reduced
    # scale where that suffices. published: False (bilinear interpolation between four pixels).
    data.antialias = True
    # Augmentation of training images; off as published.
    data.flip = False  # mirror each image with probability 1/2
    data.min_crop = 1.0  # crop to a random fraction of the area between this and 1, e.g. 0.5
    # Above 1: the fraction is drawn between `min_crop` and this. Where it exceeds 1, the image is
    # shrunk onto a gray square, whose border is ignored (scale jitter).
    data.max_crop = 1.0
    # Probability that some instances of another training image are pasted onto an image
    # (copy-paste, Ghiasi et al. 2021).
    data.paste = 0.0
    # Above 0: if fewer than this fraction of the training images show a class, its images are
    # repeated √(fraction / share of these images) times per pass (repeat-factor sampling, Gupta et
    # al. 2019).
    data.repeat = 0.0
    data.color_jitter = 0.0  # scale brightness, contrast, saturation by up to 1 ± this, e.g. 0.3
    # Threads that read, decode and draw, and the number of batches to prefetch.
    data.threads = 4
    data.prefetch = 8
    # Worker processes of the training input, each with `threads` threads; 0: threads of this
    # process. One process prepares about 1,000 images per second, too few for an accelerator.
    data.workers = 0

    model = config.model = ConfigDict()
    # Width multiplier of MobileNetV2. ImageNet weights exist for 0.35, 0.5, 0.75, 1, 1.3, 1.4.
    model.width = 1.0
    # 'imagenet': Keras' official file, downloaded at first use; the path of an .h5 file in the same
    # layout; or '' for random initialization.
    model.pretrained = 'imagenet'
    # Resolution the ImageNet weights were trained at: 96, 128, 160, 192 or 224.
    model.pretrained_resolution = 128
    # Whether to train the encoder. published: True in the code; the text says frozen.
    model.encoder_trainable = False
    # BatchNorm of a trainable encoder: 'batch' statistics, or the pretrained ones ('fixed').
    model.encoder_statistics = 'batch'
    # Multiplier of the decoder's 512, 256, 128 and 64 channels.
    model.decoder_width = 1.0
    # Decoder: 'batch' or 'instance' norm, dropout rate, 'transposed' convolutions or 'nearest_conv'
    # (nearest-neighbor upsampling by 2, then convolution).
    model.norm = 'batch'
    model.dropout = 0.0
    model.upsampling = 'transposed'
    # Momentum: the fraction of its old value that a running BatchNorm statistic keeps per step.
    model.encoder_bn_momentum = 0.999
    model.decoder_bn_momentum = 0.99
    # 'float32', or 'bfloat16' for mixed precision (parameters stay float32).
    model.dtype = 'float32'

    loss = config.loss = ConfigDict()
    # One weight per class, background first; empty for equal weights.
    loss.class_weights = ()
    loss.label_smoothing = 0.0
    # Weight of a soft Dice loss that is added to the cross-entropy.
    loss.dice_weight = 0.0

    optimizer = config.optimizer = ConfigDict()
    # 'adam' or 'adamw' (with `weight_decay`).
    optimizer.name = 'adam'
    optimizer.learning_rate = 1e-3
    # 'constant', or 'cosine' decay to zero at the last step, after `warmup_steps` linear warm-up.
    optimizer.schedule = 'constant'
    optimizer.warmup_steps = 0
    optimizer.weight_decay = 0.0
    # Of a trainable encoder: its learning rate as a multiple of the decoder's, and the number of
    # steps at the beginning for which it is frozen (needs model.encoder_statistics='fixed').
    optimizer.encoder_rate = 1.0
    optimizer.encoder_after = 0
    # Above 0: evaluation and inference use an exponential moving average of the parameters, which
    # keeps this fraction of its old value per step t, or (1 + t) / (10 + t) if that is less.
    optimizer.average = 0.0
    # Gradients are clipped to this global norm; 0 for no clipping.
    optimizer.clip_norm = 0.0
    # Maximum number of consecutive steps that are skipped because loss or gradient are not finite.
    # Skipped steps are reported and do not change the state. One more such step stops the run.
    optimizer.skip_nonfinite = 0

    train = config.train = ConfigDict()
    # Global batch size: examples per step over all devices of all processes.
    train.batch_size = 10
    # Length of the training: `num_steps`, or, if it is 0, `num_epochs`. An epoch has as many steps
    # as the images need once, whatever `data.repeat` is.
    train.num_epochs = 200
    train.num_steps = 0
    # Steps between two lines of metrics, and between two evaluations on the held-out images. Each
    # evaluation saves a checkpoint. published: every epoch.
    train.log_every = 20
    train.eval_every = 500
    # Steps between checkpoints in addition to those of evaluations; 0 for none.
    train.checkpoint_every = 0
    # Checkpoints at multiples of this number of steps are never deleted; 0: only the best and the
    # two latest are kept.
    train.keep_every = 0
    # Number of training batches from which BatchNorm statistics are recomputed before each
    # evaluation, because running averages of a short run lag behind; 0 uses running averages.
    # published: 0.
    train.recalibrate_batches = 32
    # Number of images whose predictions are drawn at each evaluation.
    train.num_pictures = 8

    # Examples per evaluation step over the devices of this process; in the analysis, per device.
    config.eval_batch_size = 32
    return config
