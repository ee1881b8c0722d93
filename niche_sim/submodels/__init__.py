"""Parts of the model that run alone, each from its own YAML file and against closed forms."""
