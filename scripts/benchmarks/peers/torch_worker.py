"""PyTorch in training_speed.py: the project's network by hand, Pillow in a DataLoader."""

import numpy as np
import torch
from architecture import BLOCKS, DECODER, EPSILON, EXPANSION, MOMENTUM, TAPS
from coco_classes import CocoClasses
from PIL import Image
from protocol import random_batch, repeat, serve
from torch import nn
from torch.nn import functional


def _conv_bn(inputs, outputs, kernel=1, stride=1, groups=1, relu=True):
    # Padding is symmetric, as usual in PyTorch; ours pads strided convolutions on one side. The
    # number of operations is the same.
    layers = [
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs, EPSILON, 1 - MOMENTUM[0]),
    ]
    return [*layers, nn.ReLU6(inplace=True)] if relu else layers


def _up(inputs, outputs, **options):
    return nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, **options)


class _Block(nn.Module):
    def __init__(self, inputs, outputs, stride, expand, last):
        super().__init__()
        hidden = EXPANSION * inputs if expand else inputs
        self.expand = nn.Sequential(*(_conv_bn(inputs, hidden) if expand else []))
        self.rest = nn.Sequential(
            *_conv_bn(hidden, hidden, 3, stride, groups=hidden),
            *_conv_bn(hidden, outputs, relu=False)[: 1 if last else 2],
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        expanded = self.expand(x)
        y = self.rest(expanded)
        return expanded, x + y if self.residual else y


class _Up(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = _up(inputs, outputs, bias=False)
        nn.init.normal_(self.conv.weight, std=0.02)
        self.norm = nn.BatchNorm2d(outputs, EPSILON, 1 - MOMENTUM[1])

    def forward(self, x, skip):
        return torch.cat([functional.relu(self.norm(self.conv(x)), inplace=True), skip], 1)


class Network(nn.Module):
    """[B, 3, H, W] to logits [B, classes, H, W]."""

    def __init__(self, classes):
        super().__init__()
        self.stem = nn.Sequential(*_conv_bn(3, 32, 3, 2))
        inputs, skips, blocks = 32, [], []
        for i, (outputs, stride) in enumerate(BLOCKS):
            blocks.append(_Block(inputs, outputs, stride, i > 0, i + 1 == len(BLOCKS)))
            if i in TAPS:
                skips.append(EXPANSION * inputs)
            inputs = outputs
        self.blocks = nn.ModuleList(blocks)
        ups = []
        for filters, skip in zip(DECODER, reversed(skips), strict=True):
            ups.append(_Up(inputs, filters))
            inputs = filters + skip
        self.ups = nn.ModuleList(ups)
        self.logits = _up(inputs, classes)

    def forward(self, x):
        x = self.stem(x)
        skips = []
        for i, block in enumerate(self.blocks):
            expanded, x = block(x)
            if i in TAPS:
                skips.append(expanded)
        for up, skip in zip(self.ups, reversed(skips), strict=True):
            x = up(x, skip)
        return self.logits(x)


def _setup(spec):
    torch.set_num_threads(spec['threads'])
    torch.manual_seed(0)
    narrow = spec.get('precision') == 'tf32'  # of float32 products on a GPU
    torch.set_float32_matmul_precision('high' if narrow else 'highest')
    torch.backends.cudnn.allow_tf32 = narrow
    return {'versions': {'torch': torch.__version__.split('+')[0]}}


def _device(spec):
    return torch.device(spec.get('device', 'cpu'))


def _repeat(spec, step):
    """`protocol.repeat`, which waits for the device."""
    run = repeat(step)
    if _device(spec).type == 'cpu':
        return run

    def finish(steps):
        run(steps)
        torch.cuda.synchronize()

    return finish


def _network(spec):
    network = Network(spec['classes']).to(_device(spec), memory_format=torch.channels_last)
    if spec.get('frozen'):
        for part in (network.stem, network.blocks):
            part.requires_grad_(False)
    about = {'parameters': sum(p.numel() for p in network.parameters() if p.requires_grad)}
    return network, torch.compile(network) if spec['form'] == 'compile' else network, about


def _images(array, device):
    images = torch.from_numpy(array).to(device, non_blocking=True)
    images = images.permute(0, 3, 1, 2)  # already channels_last in memory
    return images.to(torch.float32).div_(127.5).sub_(1)


def training(spec):
    network, forward, about = _network(spec)
    network.train()
    if spec.get('frozen'):
        network.stem.eval()  # BatchNorm in inference form
        network.blocks.eval()
    trained = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=1e-3, fused=True)
    images, labels = random_batch(spec)
    device, narrow = _device(spec), spec.get('precision') == 'bfloat16'

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=narrow):
            logits = forward(_images(images, device))
        wanted = torch.from_numpy(labels).to(device, non_blocking=True).long()
        functional.cross_entropy(logits.float(), wanted).backward()
        optimizer.step()

    return _repeat(spec, step), about


def inference(spec):
    network, forward, about = _network(spec)
    network.eval()
    images, _ = random_batch(spec)
    predict = torch.inference_mode()(lambda: forward(_images(images, 'cpu')).numpy())
    return repeat(predict), about


class _Photos(torch.utils.data.Dataset):
    def __init__(self, spec):
        self._coco = CocoClasses(spec['folder'], spec['split'])
        self._size = spec['image_size']
        self._decoded = {} if spec['cached'] else None

    def __len__(self):
        return len(self._coco.files)

    def __getitem__(self, index):
        if self._decoded is None:
            return self._read(index)
        if index not in self._decoded:
            self._decoded[index] = self._read(index)
        return self._decoded[index]

    def _read(self, index):
        size = self._size
        with Image.open(self._coco.files[index]) as image:
            image.draft('RGB', (size, size))  # decodes JPEG at reduced size, as ours does
            image = image.convert('RGB').resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(image), self._coco.draw(index, size)


def _endless(count):
    while True:
        yield from torch.randperm(count).tolist()


def pipeline(spec):
    photos = _Photos(spec)
    batches = iter(
        torch.utils.data.DataLoader(
            photos,
            spec['batch_size'],
            sampler=_endless(len(photos)),
            num_workers=spec['workers'],
            # Worker processes copy the arrays to shared memory.
            collate_fn=lambda examples: tuple(
                torch.from_numpy(np.stack(part)) for part in zip(*examples, strict=True)
            ),
        )
    )
    return repeat(lambda: next(batches)), {'images': len(photos)}


def gemm(spec):
    dtype = torch.bfloat16 if spec.get('precision') == 'bfloat16' else torch.float32
    a, b = torch.rand(2, spec['size'], spec['size'], device=_device(spec)).to(dtype)
    return _repeat(spec, lambda: a @ b), {}


if __name__ == '__main__':
    TASKS = {'training': training, 'inference': inference, 'pipeline': pipeline, 'gemm': gemm}
    serve(TASKS, _setup)
