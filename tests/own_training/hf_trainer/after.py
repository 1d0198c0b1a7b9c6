"""A small vision transformer from a configuration, trained by the Hugging Face Trainer on the 8x8 digits."""

import torch
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset, random_split
from transformers import Trainer, TrainerCallback, TrainingArguments, ViTConfig, ViTForImageClassification


def collate(examples):
    images, labels = zip(*examples, strict=True)
    return {"pixel_values": torch.stack(images), "labels": torch.stack(labels)}


def compute_metrics(eval_pred):
    logits, labels = eval_pred
    return {"accuracy": float((logits.argmax(-1) == labels).mean())}


def make_trainer(model_args, **training_args):
    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images / 16, dtype=torch.float32).view(-1, 1, 8, 8)
    dataset = TensorDataset(images, torch.tensor(labels))
    splits = random_split(dataset, [600, 400, 797], torch.Generator().manual_seed(0))
    args = TrainingArguments(
        per_device_train_batch_size=32,
        per_device_eval_batch_size=256,
        eval_strategy="epoch",
        save_strategy="no",
        report_to="none",
        **training_args,
    )
    config = ViTConfig(image_size=8, patch_size=2, num_channels=1, num_labels=10, **model_args)
    trainer = Trainer(
        model_init=lambda: ViTForImageClassification(config),
        args=args,
        train_dataset=splits[0],
        eval_dataset=splits[1],
        data_collator=collate,
        compute_metrics=compute_metrics,
    )
    return trainer, splits[2]


def train(config, run):
    class Report(TrainerCallback):
        def on_evaluate(self, args, state, control, metrics, **kwargs):
            run.report(round(state.epoch), acc=metrics["eval_accuracy"])

    common = {"output_dir": run.folder, "seed": run.seed % 2**32}
    trainer, test = make_trainer(config["model"], **common, **config["args"])
    trainer.add_callback(Report)
    trainer.train()
    run.test(acc=trainer.predict(test).metrics["test_accuracy"])


if __name__ == "__main__":
    model_args = {
        "hidden_size": 32,
        "num_attention_heads": 2,
        "num_hidden_layers": 2,
        "intermediate_size": 64,
    }
    trainer, test = make_trainer(model_args, output_dir="out", learning_rate=3e-3, num_train_epochs=5)
    trainer.train()
    print(trainer.predict(test).metrics)
