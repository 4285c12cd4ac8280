"""DINO self-distillation: views, loss, schedules and the training loop."""
