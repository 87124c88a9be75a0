"""Mining: cut every `nn.Module` class of a source out of it, with exactly the code it needs."""
